/** bench/results/motion.md from the newest result. */

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { latestResults } from './results.mjs'

const OUT = fileURLToPath(new URL('../results/motion.md', import.meta.url))
const percent = (value) => (value === undefined ? '—' : value.toFixed(1))

export function writeMotionReport() {
  const { name, date, commit, machine, protocol, data } = latestResults().get('motion')
  const rows = Object.entries(data.rows).map(
    ([what, row]) =>
      `| ${what} | ${percent(row.accuracy)} ± ${percent(row.standardError)} | ${percent(row.macroF1)} | ${row.n} | ${percent(row.confidentShare)} | ${percent(row.confidentAccuracy)} |`,
  )
  const counts = Object.entries(data.counts).map(([label, count]) => `${label} ${count}`)
  const text = `# Motion in the space of texts

${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; ${date}, commit ${commit}; \`node bench/motion.mjs\`, seed ${protocol.seed}; numbers in ${name}.
Data: sp-sw-har, recordings of ${data.devices.map((device) => ({ sp: 'the phone', sw: 'the watch' })[device]).join(' and ')}${data.devices.includes('sw') ? '' : ' (those of the watch are not at hand, so nothing is said of it)'}; windows of 100 samples, 0.98 s, every 50, labels by majority;
subjects s04, s08, s12, s16 and s20, of whom neither the encoder nor the heads saw anything: ${counts.join(', ')}.
Through the runtime of an image with the modules TXT and IMU of \`lite\`. ± is one standard error over windows; windows overlap by half
and people differ, so the true one is larger. Heads are trained with \`m4fm adapter train\` on the other 18 subjects.
Confident: probability at least ${data.confidence.threshold.toFixed(3)}, where ${100 * data.confidence.precision} % were right on three subjects that training looked at.

| how | accuracy, % | macro F1, % | n | confident, % | right of these, % |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`
  writeFileSync(OUT, text)
}

/** The table of all runs, and the plot of ranks. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const percent = (score) => (score ? `${(100 * score.value).toFixed(1)} ± ${(100 * score.stderr).toFixed(1)}` : '—')

function table(done) {
  const rows = Object.entries(done.runs).map(([name, run]) => [
    name,
    run.about,
    run.samples,
    percent(run.zeroShot),
    percent(run.adapter),
    run.adapter?.count ?? '',
    run.seconds,
    run.tokensPerSecond,
    `${(run.peakMemoryBytes / 1e9).toFixed(1)}`,
    `${(run.adapterBytes / 1e6).toFixed(2)}`,
  ])
  const head = [
    'run',
    'what',
    'training samples',
    'base, %',
    'adapter, %',
    'n',
    'training s',
    'tokens/s',
    'peak GB',
    'adapter MB',
  ]
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function servedTable(done) {
  const runs = Object.entries(done.runs).filter(([, run]) => run.served)
  if (!runs.length) return ''
  const images = [...new Set(runs.flatMap(([, { served }]) => Object.keys(served)))]
  const head = ['trained on', ...images.map((name) => `served on ${name}`)]
  const rows = runs.map(([name, { served }]) => [
    name.replace('base-', ''),
    ...images.map((image) => (served[image] ? percent(served[image]) : '—')),
  ])
  return `\n## Trained on one form of the weights, served on the others\n\n${[head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`
}

function rankPlot(done) {
  const points = Object.entries(done.runs).flatMap(([name, run]) => {
    const rank = /^rank-(\d+)$/.exec(name)?.[1]
    return rank && run.adapter ? [{ rank: Number(rank), ...run.adapter }] : []
  })
  if (points.length < 2) return undefined
  points.sort((a, b) => a.rank - b.rank)
  const [width, height, left, right, top, bottom] = [640, 380, 60, 620, 50, 330]
  const x = (rank) => left + (Math.log2(rank) / 5) * (right - left)
  const low = Math.floor(10 * Math.min(...points.map(({ value, stderr }) => value - stderr))) / 10
  const y = (value) => bottom - ((value - low) / (1 - low)) * (bottom - top)
  const grid = Array.from({ length: Math.round((1 - low) * 10) + 1 }, (_, i) => low + i / 10).map(
    (value) =>
      `<line x1="${left}" x2="${right}" y1="${y(value)}" y2="${y(value)}" stroke="#e3e3e3"/><text x="${left - 8}" y="${y(value) + 4}" text-anchor="end">${Math.round(value * 100)} %</text>`,
  )
  const marks = points.map(
    ({ rank, value, stderr }) =>
      `<line x1="${x(rank)}" x2="${x(rank)}" y1="${y(value - stderr)}" y2="${y(Math.min(1, value + stderr))}" stroke="#1f5fbf"/><circle cx="${x(rank)}" cy="${y(value)}" r="5" fill="#1f5fbf"/><text x="${x(rank)}" y="${bottom + 20}" text-anchor="middle">${rank}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}"><style>svg{background:#fff;font:13px system-ui,sans-serif;fill:#333}</style><text x="${left}" y="24" style="font-size:16px;font-weight:600">Accuracy over LoRA rank, SST-2, n ${points[0].count} (one standard error)</text>${grid.join('')}<polyline points="${points.map(({ rank, value }) => `${x(rank)},${y(value)}`).join(' ')}" fill="none" stroke="#1f5fbf" stroke-width="2"/>${marks.join('')}<text x="${right}" y="${bottom + 40}" text-anchor="end">rank</text></svg>\n`
}

export function writeReport(done, folder) {
  const { machine } = done
  if (!machine) return
  const where = `${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 1e9)} GB, Node ${machine.node}`
  const dates = Object.values(done.runs).map(({ date }) => date.slice(0, 10))
  const text = `# Adapters on real data

${where}; ${[...new Set(dates)].sort().join(', ')}. TinyLlama 1.1B of the recipe \`lite\`; \`node bench/adapters.mjs\`, every run in a
process of its own; seed 7; other load ran beside some of them, so seconds and tokens/s are lower bounds. Accuracy is measured
through the runtime on samples that were not trained on, with one standard error; "base" is the image without an adapter, same
prompt, same samples, no calibration.

${table(done)}
${servedTable(done)}`
  writeFileSync(join(folder, 'adapters.md'), text)
  const plot = rankPlot(done)
  if (plot) writeFileSync(join(folder, 'adapters-ranks.svg'), plot)
}

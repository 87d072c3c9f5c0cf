/** Command line of the benchmark of training: `npm run bench:train -- [parts] [options]`. */

import { benchArguments } from './lib/arguments.mjs'
import { openResult } from './lib/results.mjs'
import { report } from './report.mjs'
import { FULL_PROTOCOL, full } from './train/full.mjs'
import { GRADIENTS_PROTOCOL, gradients } from './train/gradients.mjs'
import { LORA_PROTOCOL, lora } from './train/lora.mjs'
import { START_PROTOCOL, start } from './train/start.mjs'

const PARTS = Object.freeze({
  full: { protocol: FULL_PROTOCOL, run: full },
  lora: { protocol: LORA_PROTOCOL, run: lora },
  start: { protocol: START_PROTOCOL, run: start },
  gradients: { protocol: GRADIENTS_PROTOCOL, run: gradients },
})

const HELP = `npm run bench:train -- [parts] [options]

parts: ${Object.keys(PARTS).join(', ')}; default: all of them, then the report. What was stopped goes on where it was.
       Some of them: a result of their own, and no report.
  full        a LLaMA of 15 M weights: our trainer, PyTorch (where Python has it), TensorFlow.js (where npm can be reached)
  lora        a LoRA on TinyLlama: int8, as the image is, float32; tokens per second and peak memory
  start       from \`m4fm adapter train\` to the first loss
  gradients   int8 and 4-bit gradients against those of float32
  --rounds <n>    rounds of each part (default 5)
  --threads <n>   threads of every contender (default 2)
  --only <names>  of lora: variants; of gradients: forms; comma-separated
  --no-peers      full: our trainer alone
  --fresh         forget what was measured today

The image lite must be there (\`m4fm build lite\`). Float32 matrices (8 GB) are written below M4FM_HOME/bench when they are missing: minutes, once.
`

const { named, parts, rounds, threads, only, fresh, ...values } = benchArguments({
  help: HELP,
  partNames: Object.keys(PARTS),
  flags: ['no-peers'],
  texts: ['only'],
})

// A part, or some of a part, must not take the place of the whole.
const partial = only !== undefined || values['no-peers']
const name = ['train', ...named, ...(partial ? ['some'] : [])].join('-')
const protocol = {
  threads,
  rounds,
  ...(partial ? { only, peers: !values['no-peers'] } : {}),
  parts: Object.fromEntries(parts.map((part) => [part, PARTS[part].protocol])),
}
const { data, save } = openResult(name, protocol, { fresh })
for (const part of parts) {
  data[part] ??= {}
  if (data[part].done) continue
  await PARTS[part].run({ threads, rounds, data: data[part], save, only, peers: !values['no-peers'] })
  data[part].done = true
  save()
}
save(true)
if (named.length === 0 && !partial) report()
process.exit(0)

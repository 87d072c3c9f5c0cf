/** Command line of the benchmark: `npm run bench:engine -- [speed|memory|perplexity|accuracy|report|all] [options]`. */

import { existsSync } from 'node:fs'
import { benchArguments } from './lib/arguments.mjs'
import { say } from './lib/say.mjs'

const PARTS = Object.freeze({
  speed: async (options) => (await import('./speed.mjs')).speed(options),
  memory: async (options) => (await import('./load.mjs')).memory(options),
  perplexity: async (options) => (await import('./perplexity.mjs')).measurePerplexity(options),
  accuracy: async (options) => (await import('./accuracy.mjs')).accuracy(options),
  report: async () => (await import('./report.mjs')).report(),
})

const HELP = `npm run bench:engine -- [parts] [options]

parts: ${Object.keys(PARTS).join(', ')}; default: all of them. Each can be stopped and run again: it goes on where it was.
  --rounds <n>    rounds of speed and memory (default 5)
  --threads <n>   threads of every contender (default 2)
  --only <names>  some models only, comma-separated: int4, int4-b128, int8, int8-b128, w8a8, q4, q4mix, q8, iq2
  --windows <n>   windows of 511 tokens for perplexity (default 12)
  --samples <n>   texts of each set for accuracy (default 200)
  --rebuild       build the images again first: those of an older recipe are not noticed
  --fresh         forget what was measured today
  --install       install what only the benchmarks need (llama.cpp, Transformers.js, a FLAC decoder; 1.3 GB on disk) in bench/node_modules

Images and re-encoded GGUF files are made below M4FM_HOME when they are missing (about 12 GB in all).
`

const { parts, rebuild, ...values } = benchArguments({
  help: HELP,
  partNames: Object.keys(PARTS),
  flags: ['rebuild', 'install'],
  texts: ['only'],
  numbers: { windows: '12', samples: '200' },
})
const options = { ...values, llama: hasLlama() }
if (!options.llama && parts.some((part) => part !== 'report' && part !== 'accuracy'))
  say('llama.cpp is not installed: M4 is measured alone. Install it with `npm run bench:engine -- --install`.')

if (rebuild) {
  const { imageOf } = await import('./lib/prepare.mjs')
  const { QUANTISATIONS } = await import('./lib/contenders.mjs')
  for (const quantisation of Object.keys(QUANTISATIONS))
    if (!options.only || options.only.includes(quantisation)) await imageOf(quantisation, { rebuild: true })
}
for (const part of parts) await PARTS[part](options)
process.exit(0)

function hasLlama() {
  return existsSync(new URL('node_modules/node-llama-cpp/package.json', import.meta.url))
}

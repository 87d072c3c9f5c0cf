/** Command line of the benchmark: `npm run bench:engine -- [speed|memory|perplexity|accuracy|report|all] [options]`. */

import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
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

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        rounds: { type: 'string', default: '5' },
        threads: { type: 'string', default: '2' },
        windows: { type: 'string', default: '12' },
        samples: { type: 'string', default: '200' },
        only: { type: 'string' },
        fresh: { type: 'boolean', default: false },
        rebuild: { type: 'boolean', default: false },
        install: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    return fail(error.message)
  }
}

function fail(message) {
  process.stderr.write(`bench: ${message}\n\n${HELP}`)
  process.exit(2)
}

function whole(name, text) {
  const value = Number(text)
  return Number.isInteger(value) && value > 0
    ? value
    : fail(`--${name}: expected a whole number above 0, got "${text}".`)
}

const { values, positionals } = parse()
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
const parts = positionals.length && !positionals.includes('all') ? positionals : Object.keys(PARTS)
const unknown = parts.find((part) => !Object.hasOwn(PARTS, part))
if (unknown) fail(`unknown part "${unknown}".`)

const options = {
  rounds: whole('rounds', values.rounds),
  threads: whole('threads', values.threads),
  windows: whole('windows', values.windows),
  samples: whole('samples', values.samples),
  only: values.only?.split(','),
  fresh: values.fresh,
  llama: hasLlama(),
}
if (!options.llama && parts.some((part) => part !== 'report' && part !== 'accuracy'))
  say('llama.cpp is not installed: M4 is measured alone. Install it with `npm run bench:engine -- --install`.')
if (options.threads > availableParallelism())
  say(`${options.threads} threads on ${availableParallelism()} cores: speeds will not mean much.`)

if (values.rebuild) {
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

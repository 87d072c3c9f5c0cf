/** One contender in a process of its own: memory is counted per process, and no runtime disturbs another. Forked by `child.mjs`. */

import { readFileSync } from 'node:fs'
import { memoryMb } from './memory.mjs'
import { timed } from './timed.mjs'

const MODULES = Object.freeze({
  m4: './m4.mjs',
  'llama.cpp': './llama-cpp.mjs',
  'm4-speech': './m4-speech.mjs',
  'transformers.js': './transformers-js.mjs',
})

const { runtime, ...options } = JSON.parse(process.argv[2])
let contender

/** Ids that differ in every run, so that no cache can help; 3 … 2999 are ordinary pieces. */
const promptOf = (count, seed) => [
  1,
  ...Array.from({ length: count - 1 }, (_, i) => 3 + ((i * 7919 + seed * 104_729) % 2997)),
]

const OPERATIONS = Object.freeze({
  async load() {
    const before = memoryMb()
    contender = await (await import(MODULES[runtime])).openContender(options)
    const { runtimeMs, loadMs, version, digest, weightBytes } = contender
    return { runtimeMs, loadMs, version, digest, weightBytes, before, memory: memoryMb() }
  },
  prefill: ({ tokens, seed }) => timed(() => contender.prefill(promptOf(tokens, seed))),
  async decode({ context, tokens, seed }) {
    await contender.prefill(promptOf(context, seed))
    return timed(() => contender.decode(tokens))
  },
  /** Raw 16 kHz samples in a file, text and time out. */
  transcribe({ path, ...args }) {
    const bytes = readFileSync(path)
    const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
    return timed(() => contender.transcribe(samples, args))
  },
  memory: () => memoryMb() ?? null,
  tokenize: ({ text }) => contender.tokenize(text),
  perplexity: ({ windows }) =>
    contender.perplexity(windows, (done, total) => process.send({ progress: { done, total } })),
})

process.on('message', async ({ operation, args }) => {
  try {
    process.send({ result: (await OPERATIONS[operation](args ?? {})) ?? null })
  } catch (error) {
    process.send({ error: error.stack ?? String(error) })
  }
})
process.on('disconnect', () => process.exit(0))

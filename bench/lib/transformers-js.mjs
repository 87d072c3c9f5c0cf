/** Contender `transformers.js`: the pipeline as its documentation has it, on the CPU with as many threads as M4. */

import { performance } from 'node:perf_hooks'

const { pipeline, env } = await import('@huggingface/transformers')

/** @param options `folder` and `model` below it, `dtype` (which files), `threads`, `generate` (what a multilingual model must be told) */
export async function openContender({ folder, model, dtype, threads, generate = {} }) {
  env.allowRemoteModels = false
  env.localModelPath = folder
  const start = performance.now()
  const transcriber = await pipeline('automatic-speech-recognition', model, {
    device: 'cpu',
    dtype,
    session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
  })
  return {
    loadMs: performance.now() - start,
    version: `@huggingface/transformers ${env.version}`,
    transcribe: async (samples) => (await transcriber(samples, generate)).text.trim(),
  }
}

/** Contender `llama.cpp`: node-llama-cpp's prebuilt binary for this CPU, no GPU. */

import { statSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

export async function openContender({ gguf, threads, contextTokens, flashAttention }) {
  const start = performance.now()
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads })
  const loaded = performance.now()
  const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 })
  const context = await model.createContext({
    contextSize: contextTokens,
    batchSize: 512,
    threads,
    ...(flashAttention === undefined ? {} : { flashAttention }),
  })
  const sequence = context.getSequence()
  const ended = performance.now()
  return {
    runtimeMs: loaded - start,
    loadMs: ended - loaded,
    weightBytes: statSync(gguf).size,
    version: `node-llama-cpp 3.21.1, llama.cpp ${llama.llamaCppRelease.release}`,
    async prefill(ids) {
      await sequence.clearHistory()
      // The logits of the last token are computed, as on our side.
      for await (const _ of sequence.evaluate(ids, { temperature: 0 })) break
    },
    async decode(count) {
      let left = count
      for await (const _ of sequence.evaluate([FIRST], { temperature: 0, yieldEogToken: true })) if (--left === 0) break
    },
    /** Sum over the tokens of every window but its first, from the full distribution at temperature 1. */
    async perplexity(windows, onWindow) {
      let sum = 0
      let tokens = 0
      for (const [done, ids] of windows.entries()) {
        await sequence.clearHistory()
        const wanted = { generateNext: { probabilities: true, options: PLAIN } }
        const outputs = await sequence.controlledEvaluate(ids.slice(0, -1).map((id) => [id, wanted]))
        for (const [i, output] of outputs.entries()) sum += Math.log(output.next.probabilities.get(ids[i + 1]))
        tokens += ids.length - 1
        onWindow?.(done + 1, windows.length)
      }
      return { perplexity: Math.exp(-sum / tokens), logProbability: sum, tokens }
    },
    tokenize: (text) => [...model.tokenize(text)],
  }
}

const FIRST = 263
/** No truncation of the distribution. */
const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0 }

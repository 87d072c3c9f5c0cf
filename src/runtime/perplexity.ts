/** Perplexity of the backbone over windows of token ids: each a begin-of-text id and n more, the n scored. */

import { M4Error } from '../core/errors.js'
import type { Backbone } from './backbone.js'
import { logProbability } from './logits.js'

export interface Perplexity {
  /** exp(-logProbability / tokens) */
  readonly perplexity: number
  /** Sum over all scored tokens, nats, in float64. */
  readonly logProbability: number
  readonly tokens: number
}

/**
 * @param windows ids, the first of each given and the rest scored
 * @throws M4Error `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `ABORTED`
 */
export async function perplexity(
  backbone: Backbone,
  windows: readonly (readonly number[])[],
  options: {
    readonly signal?: AbortSignal | undefined
    readonly onWindow?: (done: number, total: number) => void
    /** Rows of logits held at once are this many times the vocabulary. Default 128. */
    readonly chunkTokens?: number
  } = {},
): Promise<Perplexity> {
  if (windows.length === 0 || windows.some(({ length }) => length < 2))
    throw new M4Error('EMPTY_INPUT', 'Perplexity needs windows of at least two tokens, the first of them given.')
  const { vocabulary } = backbone.facts
  const context = backbone.createContext({ chunkTokens: options.chunkTokens ?? 128 })
  try {
    let sum = 0
    let tokens = 0
    for (const [done, ids] of windows.entries()) {
      context.rewind(0)
      const add = (logits: Float32Array, from: number) => {
        for (let row = 0; row < logits.length / vocabulary; row++)
          sum += logProbability(logits, row * vocabulary, vocabulary, ids[from + row + 1]!)
      }
      await context.evaluateAll(ids.slice(0, -1), add, options)
      tokens += ids.length - 1
      options.onWindow?.(done + 1, windows.length)
    }
    return { perplexity: Math.exp(-sum / tokens), logProbability: sum, tokens }
  } finally {
    context.dispose()
  }
}

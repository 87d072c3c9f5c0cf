/** Prompt in, tokens out one by one, as an async generator: reading slowly slows the model down, leaving stops it. */

import { M4Error } from '../core/errors.js'
import type { Backbone } from './backbone.js'
import type { Context, Prefilled } from './context.js'
import type { Segment } from './prompt-plan.js'
import type { FinishReason } from './requests.js'
import { createSampler, type SamplingOptions } from './sampling.js'
import { createStopFilter } from './stop.js'

export interface GenerateOptions {
  /** Default: `DEFAULT_MAX_TOKENS`, or what the context still holds where that is less. */
  readonly maxTokens?: number | undefined
  readonly sampling?: SamplingOptions | undefined
  readonly stop?: readonly string[] | undefined
  /** Leaves out white space before the first character: answers behind `A:` begin with a space. */
  readonly trimStart?: boolean
  readonly signal?: AbortSignal | undefined
  /** Called once, when the prompt has been read. */
  readonly onPrefilled?: (prefilled: Prefilled) => void
}

export interface GeneratedToken {
  readonly id: number
  /** What became certain with this token; empty while a character or a stop text may still be incomplete. */
  readonly text: string
}

export interface Generated {
  /** All tokens' texts, joined. */
  readonly text: string
  readonly finishReason: FinishReason
  /** Tokens generated, the one that ended the text included. */
  readonly tokens: number
}

export const DEFAULT_MAX_TOKENS = 256

/**
 * @throws M4Error `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `INVALID_REQUEST`, `ABORTED` (within one chunk of the prompt or one token)
 */
export async function* generateTokens(
  backbone: Backbone,
  context: Context,
  segments: readonly Segment[],
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken, Generated> {
  const { signal } = options
  const { tokenizer, facts } = backbone
  const sampler = createSampler(tokenizer.vocabularySize, options.sampling)
  const stops = createStopFilter(options.stop ?? [])
  const stream = tokenizer.decodeStream({ continuing: true })
  const maxTokens = options.maxTokens ?? defaultMaxTokens(context, segments)
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new M4Error('INVALID_REQUEST', `maxTokens: expected a whole number, 1 or more, got ${maxTokens}.`)
  context.assertFits(segments, maxTokens)
  for (const { ids } of segments) if (ids) for (const id of ids) sampler.saw(id)

  const prefilled = await context.prefill(segments, { signal })
  options.onPrefilled?.(prefilled)
  const writer = textWriter(options.trimStart ?? false)
  let { logits } = prefilled
  for (let tokens = 1; ; tokens++) {
    const id = sampler.choose(logits)
    if (facts.eosIds.includes(id)) {
      const text = writer.take(stops.push(stream.end()).text + stops.end())
      if (text !== '') yield { id, text }
      return { text: writer.text, finishReason: 'eos', tokens }
    }
    sampler.saw(id)
    const last = tokens === maxTokens
    const found = stops.push(stream.push(id) + (last ? stream.end() : ''))
    const text = writer.take(found.text + (last && !found.stopped ? stops.end() : ''))
    yield { id, text }
    if (found.stopped) return { text: writer.text, finishReason: 'stop', tokens }
    if (last) return { text: writer.text, finishReason: 'length', tokens }
    logits = await context.step(id, { signal })
  }
}

/** Never 0: a prompt that fills the context is told so by `assertFits`. */
function defaultMaxTokens(context: Context, segments: readonly Segment[]): number {
  const promptTokens = context.assertFits(segments, 1)
  return Math.min(DEFAULT_MAX_TOKENS, context.contextLength - context.adapterTokens - promptTokens)
}

/** Joins what is given out. */
function textWriter(trimStart: boolean) {
  const state = { text: '' }
  return {
    get text() {
      return state.text
    },
    take(piece: string): string {
      const text = trimStart && state.text === '' ? piece.trimStart() : piece
      state.text += text
      return text
    },
  }
}

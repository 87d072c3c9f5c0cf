/**
 * PandaGPT's conversation: one soft token in the place of a picture or a sound, and where an answer ends.
 *
 *   <s> │ ### Human: <Img> │ soft token │ </Img> question⏎### Assistant: │ answer⏎###
 *
 * Every stretch of text is encoded by itself, as the reference's tokenizer does, so each begins with a space of its own.
 *
 * @paper arXiv:2305.16355 · @reference yxuansu/PandaGPT@9b77e04 code/model/openllama.py `prepare_generation_embedding`
 */

import type { Tokenizer } from '../tokenizers/index.js'
import type { Segment } from './prompt-plan.js'

/** The next turn of the conversation begins with it. */
export const PANDA_END = '###'

export interface PandaTurn {
  readonly question: string
  readonly answer: string
}

/** The text in front of the soft token, and behind it. */
export function pandaFragments(question: string, history: readonly PandaTurn[] = []): readonly [string, string] {
  const turns = history.map(({ question: asked, answer }) => `${asked}\n### Assistant: ${answer}\n###`)
  return ['### Human: <Img>', `</Img> ${[...turns, question].join(' Human: ')}\n### Assistant:`]
}

/** Ids of a prompt around its soft token. */
export interface PandaIds {
  readonly bos: number | undefined
  readonly before: readonly number[]
  readonly after: readonly number[]
}

export function pandaIds(tokenizer: Tokenizer, fragments: readonly [string, string]): PandaIds {
  const [before, after] = fragments.map((text) => tokenizer.encode(text)) as [number[], number[]]
  return { bos: tokenizer.bosId, before, after }
}

/** @param softToken [n·C]; all zero where a transcript stands for the sound (the paper's speech path) */
export function pandaSegments({ bos, before, after }: PandaIds, softToken: Float32Array): Segment[] {
  return [{ ids: [...(bos === undefined ? [] : [bos]), ...before] }, { embeddings: softToken }, { ids: after }]
}

/** Soft tokens of several inputs: their sum. @param tokens [n·C] each, at least one */
export function addSoftTokens(tokens: readonly Float32Array[]): Float32Array {
  const sum = tokens[0]!.slice()
  for (const token of tokens.slice(1)) for (let i = 0; i < sum.length; i++) sum[i]! += token[i]!
  return sum
}

/**
 * What the reference keeps of an answer: all but the last two tokens, which are the line end and "##" when it stopped by itself.
 * An answer that was cut at its longest loses two tokens of text there too.
 */
export const keptAnswer = (ids: readonly number[]): number[] => ids.slice(0, -2)

/** A speech generator: one sentence in, samples out. VITS and foreign graphs stand behind the same interface. */

import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'

/** What every sentence of a request shares. */
export interface Manner {
  /** Which of several voices: a number, or a name where voices have names. */
  readonly voice: string | number | undefined
  /** 1: as fast as the voice was published. */
  readonly speed: number
  /** Standard normal numbers, one after the other. */
  readonly normal: () => number
  /** Factors on the deviations that the voice was published with; 0 takes all chance out. */
  readonly variation: number
  readonly signal: AbortSignal
  readonly onStage: (name: 'encode' | 'synthesise', ms: number) => void
}

export interface Utterance {
  /** Full scale [-1, 1]. [N] */
  readonly samples: Float32Array
  /** Ids that were read. */
  readonly symbols: number
}

export interface Voice extends Disposable {
  readonly sampleRateHz: number
  /** False for letters and digits that are left out. @param character one code point */
  hasSound(character: string): boolean
  /** Fails for a voice that is not there, before anything is said. @throws M4Error `INVALID_REQUEST`, `UNKNOWN_NAME` */
  check(voice: string | number | undefined): void
  /** Undefined when nothing in the sentence has a sound. @throws M4Error `CONTEXT_OVERFLOW`, `ABORTED`, `ENGINE` */
  say(sentence: string, manner: Manner): Promise<Utterance | undefined>
  dispose(): void
}

/** Samples one after the other. */
export function joinSamples(parts: readonly Float32Array[]): DataOf<'float32'> {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** A sentence that becomes longer than this is no sentence: the durations ran away. */
export const LONGEST_SENTENCE_S = 60

export function tooLong(sentence: string, seconds: number): M4Error {
  return new M4Error(
    'CONTEXT_OVERFLOW',
    `The sentence "${sentence.slice(0, 40)}…" would last ${seconds.toFixed(1)} s, at most ${LONGEST_SENTENCE_S} s are made.`,
    { hint: 'Put full stops into the text, or speak faster.', details: { seconds, limit: LONGEST_SENTENCE_S } },
  )
}

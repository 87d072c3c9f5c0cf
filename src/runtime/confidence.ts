/**
 * How sure an answer by closeness is. Cosines of one encoder lie in a narrow range, so a module says at which scale a softmax over
 * them gives shares that come true, and below which share an answer is no better than a guess; both were measured on data that
 * training never saw, and stand in the module's configuration.
 *
 * @paper arXiv:1706.04599 §4.2 (temperature scaling)
 */

import { M4Error } from '../core/errors.js'
import type { ModuleEntry } from '../firmware/manifest.js'

export interface Confidence {
  /** Cosines are multiplied with it before the softmax. */
  readonly logitScale: number
  /** Answers whose probability is below it are not confident. */
  readonly threshold: number
  /**
   * Answers whose cosine is below it are not confident either: what is alike nothing that was learned has one label more probable than
   * the others all the same.
   */
  readonly leastCosine?: number
}

/** Whether the best label of an answer is to be believed. */
export const isConfident = ({ threshold, leastCosine = -1 }: Confidence, probability: number, similarity: number) =>
  probability >= threshold && similarity >= leastCosine

/** Undefined where nothing was measured. @throws M4Error `IMAGE_INVALID` */
export function confidenceOf({ config, architecture }: ModuleEntry): Confidence | undefined {
  if (config.confidence == null) return undefined
  const { logitScale, threshold, leastCosine = -1 } = config.confidence as Partial<Confidence>
  const isSound = Number.isFinite(logitScale) && logitScale! > 0 && threshold! >= 0 && threshold! <= 1
  if (isSound && Math.abs(leastCosine) <= 1) return { logitScale: logitScale!, threshold: threshold!, leastCosine }
  throw new M4Error(
    'IMAGE_INVALID',
    `Module of architecture ${architecture}: config.confidence: expected a logitScale above 0, a threshold of 0 to 1 and perhaps a leastCosine, got ${JSON.stringify(config.confidence)}.`,
    { hint: 'Correct the recipe, then build the image again.' },
  )
}

/** Reading logits: the best id, and log-probabilities in float64. */

import { M4Error } from '../core/errors.js'

/** Index of the largest of the first `limit` values, the lowest of equals. @throws M4Error `ENGINE` when none is a number */
export function argmax(values: Float32Array, limit = values.length): number {
  let best = -1
  let most = Number.NEGATIVE_INFINITY
  const count = Math.min(limit, values.length)
  for (let i = 0; i < count; i++) {
    const value = values[i]!
    if (value > most) {
      most = value
      best = i
    }
  }
  if (best < 0 || most === Number.POSITIVE_INFINITY) throw notFinite()
  return best
}

export const notFinite = () =>
  new M4Error('ENGINE', 'The model gave logits that are not finite numbers.', {
    hint: 'Verify the image, and the adapter if there is one.',
  })

/** log Σ exp of `count` values at `offset`. @throws M4Error `ENGINE` when that is not a number */
export function logSumExp(values: Float32Array, offset: number, count: number): number {
  let most = Number.NEGATIVE_INFINITY
  for (let i = offset; i < offset + count; i++) if (values[i]! > most) most = values[i]!
  let sum = 0
  for (let i = offset; i < offset + count; i++) sum += Math.exp(values[i]! - most)
  if (!Number.isFinite(sum)) throw notFinite()
  return most + Math.log(sum)
}

/** Natural log of softmax(logits[offset … offset + count])[id]. */
export function logProbability(logits: Float32Array, offset: number, count: number, id: number): number {
  return logits[offset + id]! - logSumExp(logits, offset, count)
}

/** How sure a score of a set is, where it is no mean over its items. */

import { randomSource } from '../../core/random.js'

/**
 * Standard error of a score: its deviation over sets of the same size, drawn from the items with replacement. Draws on which the score
 * is not a number are left out; 0 for one item.
 * @paper Efron, Bootstrap methods (1979) · same seed, same number
 */
export function bootstrapError<T>(
  items: readonly T[],
  score: (drawn: readonly T[]) => number,
  { draws = 100, seed = 0 }: { readonly draws?: number; readonly seed?: number } = {},
): number {
  if (items.length < 2) return 0
  const uniform = randomSource(seed)
  const scores = Array.from({ length: draws }, () =>
    score(items.map(() => items[Math.floor(uniform() * items.length)]!)),
  ).filter(Number.isFinite)
  if (scores.length < 2) return 0
  const mean = scores.reduce((sum, each) => sum + each, 0) / scores.length
  return Math.sqrt(scores.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (scores.length - 1))
}

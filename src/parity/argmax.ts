/** The choice of greedy decoding. */

/** Index of the largest value that is not suppressed; the first one on a tie. */
export function argmax(values: Float32Array, suppressed: ReadonlySet<number> = new Set()): number {
  let best = -1
  for (let i = 0; i < values.length; i++)
    if (!suppressed.has(i) && (best < 0 || values[i]! > values[best]!)) best = i
  return best
}

/** Order statistics of a few rounds: on a shared machine the median says what to expect, the best what is possible. */

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const minimum = (values) => Math.min(...values)

/** Half-width of the 95 % interval of a share (Wald), in points. */
export const sharePoints = (share, n) => 196 * Math.sqrt((share * (1 - share)) / n)

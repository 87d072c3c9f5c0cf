/** Points of things of any kind, whose joints have no published spread: how many lie near enough. */

/** Found points that lie within a share of the thing's size of where they should be, of those that are labelled. */
export interface PointCounts {
  readonly right: number
  readonly labelled: number
}

/**
 * PCK of one thing. Points without a truth are not labelled and do not count.
 * @param size what distances are shares of: the longer side of the thing's box
 * @param share a tenth is PCK@0.1
 * @paper arXiv:1211.2164 (Yang and Ramanan) §7
 */
export function correctPoints(
  truth: readonly (readonly [x: number, y: number] | undefined)[],
  found: readonly (readonly [x: number, y: number])[],
  { size, share }: { readonly size: number; readonly share: number },
): PointCounts {
  const labelled = truth.flatMap((point, k) => (point ? [{ point, got: found[k] }] : []))
  const right = labelled.filter(
    ({ point: [x, y], got }) => got !== undefined && Math.hypot(got[0] - x, got[1] - y) <= share * size,
  )
  return { right: right.length, labelled: labelled.length }
}

/** Over a whole set; NaN where nothing is labelled. */
export const shareOfCorrectPoints = (things: readonly PointCounts[]): number =>
  things.reduce((sum, { right }) => sum + right, 0) / things.reduce((sum, { labelled }) => sum + labelled, 0)

/** Boxes as shares of the picture: overlap, anchors, offsets between them, and the choice among those that overlap. */

/** x, y of the top left corner, width, height; 1 is the whole picture. */
export type Box = readonly [x: number, y: number, width: number, height: number]

/** Intersection over union. */
export function overlap(a: Box, b: Box): number {
  const across = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0])
  const down = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1])
  if (across <= 0 || down <= 0) return 0
  const both = across * down
  return both / (a[2] * a[3] + b[2] * b[3] - both)
}

/** Every anchor shape at the centre of every patch: patches row by row, shapes within a patch. */
export function anchorBoxes(
  rows: number,
  columns: number,
  shapes: readonly (readonly [width: number, height: number])[],
): Box[] {
  return Array.from({ length: rows * columns }, (_, patch) => {
    const [x, y] = [((patch % columns) + 0.5) / columns, (Math.floor(patch / columns) + 0.5) / rows]
    return shapes.map(([width, height]): Box => [x - width / 2, y - height / 2, width, height])
  }).flat()
}

/** Offsets are this much larger than they are, so that their errors weigh as much as those of classes. */
const SCALES = [10, 10, 5, 5] as const
/** A side grows at most 16 times: what an untrained head gives must not overflow. */
const LARGEST_GROWTH = Math.log(16)

/**
 * What leads from an anchor to a box: shift of the centre in anchor sizes, logarithms of growth.
 * @paper R-CNN, arXiv:1311.2524 app. C; scales as in Faster R-CNN's code
 */
export function offsetsOf(anchor: Box, [x, y, width, height]: Box): [number, number, number, number] {
  return [
    (SCALES[0] * (x + width / 2 - anchor[0] - anchor[2] / 2)) / anchor[2],
    (SCALES[1] * (y + height / 2 - anchor[1] - anchor[3] / 2)) / anchor[3],
    SCALES[2] * Math.log(width / anchor[2]),
    SCALES[3] * Math.log(height / anchor[3]),
  ]
}

/** The way back. */
export function boxAt(anchor: Box, offsets: ArrayLike<number>): Box {
  const grown = (i: 2 | 3) => anchor[i] * Math.exp(Math.min(offsets[i]! / SCALES[i], LARGEST_GROWTH))
  const [width, height] = [grown(2), grown(3)]
  const x = anchor[0] + anchor[2] / 2 + (offsets[0]! / SCALES[0]) * anchor[2]
  const y = anchor[1] + anchor[3] / 2 + (offsets[1]! / SCALES[1]) * anchor[3]
  return [x - width / 2, y - height / 2, width, height]
}

/** What of a box lies in the picture. */
export function inPicture([x, y, width, height]: Box): Box {
  const cut = (at: number) => Math.min(Math.max(at, 0), 1)
  const [left, top] = [cut(x), cut(y)]
  return [left, top, cut(x + width) - left, cut(y + height) - top]
}

/** The best, without those that overlap a better one of the same label. Equal scores keep their order. */
export function withoutOverlaps<D extends { readonly box: Box; readonly label: number; readonly score: number }>(
  found: readonly D[],
  limit: { readonly overlap: number; readonly count: number },
): D[] {
  const kept: D[] = []
  for (const each of found.toSorted((a, b) => b.score - a.score)) {
    if (kept.length >= limit.count) break
    const hidden = kept.some(({ label, box }) => label === each.label && overlap(box, each.box) > limit.overlap)
    if (!hidden) kept.push(each)
  }
  return kept
}

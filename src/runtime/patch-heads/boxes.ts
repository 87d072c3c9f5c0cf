/** Scores and offsets of anchors → boxes. */

import { anchorBoxes, type Box, boxAt, inPicture, withoutOverlaps } from './box-geometry.js'
import type { PatchGrid } from './types.js'

export interface Anchored extends PatchGrid {
  readonly classes: number
  /** Shapes at every patch, shares of the square. */
  readonly anchors: readonly (readonly [width: number, height: number])[]
}

export interface DecodeLimits {
  /** Default 0.3. */
  readonly score?: number | undefined
  /** Of two boxes of a class that overlap more, the better one stays. Default 0.5. */
  readonly overlap?: number | undefined
  /** Default 100. */
  readonly count?: number | undefined
}

export interface LabelledBox {
  readonly label: number
  readonly box: Box
}

export interface FoundBox extends LabelledBox {
  readonly score: number
}

/**
 * @param scores logits, [P·A, K]
 * @param offsets [P·A, 4], see `offsetsOf`
 */
export function foundBoxes(
  { rows, columns, classes, anchors }: Anchored,
  scores: Float32Array,
  offsets: Float32Array,
  { score: least = 0.3, overlap: most = 0.5, count = 100 }: DecodeLimits = {},
): FoundBox[] {
  const found = anchorBoxes(rows, columns, anchors).flatMap((anchor, n) =>
    Array.from({ length: classes }, (_, label) => label).flatMap((label): FoundBox[] => {
      const score = 1 / (1 + Math.exp(-scores[n * classes + label]!))
      if (!(score >= least)) return []
      return [{ label, score, box: inPicture(boxAt(anchor, offsets.subarray(4 * n, 4 * n + 4))) }]
    }),
  )
  return withoutOverlaps(found, { overlap: most, count })
}

/**
 * Pictures made smaller as PIL's `resize(…, BILINEAR)` does: triangles as wide as the step, rows first, each pass rounded to whole
 * levels.
 *
 * @reference python-pillow/Pillow src/libImaging/Resample.c `precompute_coeffs`
 */

import type { Picture } from './image.js'

/**
 * The picture itself where it fits, else the largest of its shape that does; a side is cut to whole dots, 1 at least.
 * @param largest dots
 */
export function shrinkToFit(picture: Picture, largest: { readonly width: number; readonly height: number }): Picture {
  const { width, height } = picture
  if (width <= largest.width && height <= largest.height) return picture
  const scale = Math.min(largest.height / height, largest.width / width)
  const whole = (size: number) => Math.max(1, Math.trunc(size * scale))
  const narrow = turned(picture, whole(width))
  return turned(narrow, whole(height))
}

/** To `size` columns, and rows and columns exchanged: twice gives both sides their size. */
function turned({ data, width, height }: Picture, size: number): Picture {
  const out = new Uint8Array(size * height * 3)
  for (const [x, { from, shares }] of spans(width, size).entries())
    for (let y = 0; y < height; y++)
      for (let c = 0; c < 3; c++) {
        let sum = 0
        for (let k = 0; k < shares.length; k++) sum += shares[k]! * data[(y * width + from + k) * 3 + c]!
        out[(x * height + y) * 3 + c] = Math.round(sum)
      }
  return { data: out, width: height, height: size }
}

interface Span {
  readonly from: number
  /** Of each dot from there on; together 1. */
  readonly shares: Float64Array
}

function spans(width: number, size: number): Span[] {
  const step = width / size
  return Array.from({ length: size }, (_, x) => {
    const centre = (x + 0.5) * step
    const from = Math.max(0, Math.trunc(centre - step + 0.5))
    const to = Math.min(width, Math.trunc(centre + step + 0.5))
    const weights = Float64Array.from({ length: to - from }, (__, k) =>
      Math.max(0, 1 - Math.abs(from + k + 0.5 - centre) / step),
    )
    const sum = weights.reduce((a, b) => a + b, 0)
    return { from, shares: weights.map((weight) => weight / sum) }
  })
}

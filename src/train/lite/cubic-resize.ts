/**
 * A plane resized with the cubic kernel, stretched where it gets smaller (antialiasing): MATLAB's `imresize`, by which
 * super-resolution is measured. Edges repeat their last dot.
 */

import { cubicKernel } from '../../models/index.js'

export interface Plane {
  readonly data: Float32Array
  readonly width: number
  readonly height: number
}

export function cubicResize(
  { data, width, height }: Plane,
  to: { readonly width: number; readonly height: number },
): Plane {
  const columns = spans(width, to.width)
  const narrow = new Float32Array(height * to.width)
  for (let y = 0; y < height; y++)
    for (const [x, span] of columns.entries())
      for (const [at, share] of span) narrow[y * to.width + x]! += share * data[y * width + at]!
  const out = new Float32Array(to.height * to.width)
  for (const [y, span] of spans(height, to.height).entries())
    for (const [at, share] of span)
      for (let x = 0; x < to.width; x++) out[y * to.width + x]! += share * narrow[at * to.width + x]!
  return { data: out, ...to }
}

/** For each new dot: the old ones that it is made of, and their shares, together 1. */
function spans(size: number, wanted: number): (readonly (readonly [at: number, share: number])[])[] {
  const scale = wanted / size
  const stretch = Math.min(1, scale)
  return Array.from({ length: wanted }, (_, i) => {
    const centre = (i + 0.5) / scale - 0.5
    const reach = 2 / stretch
    const taps: [number, number][] = []
    for (let at = Math.ceil(centre - reach); at <= Math.floor(centre + reach); at++)
      taps.push([Math.min(size - 1, Math.max(0, at)), cubicKernel((at - centre) * stretch)])
    const sum = taps.reduce((total, [, share]) => total + share, 0)
    return taps.map(([at, share]) => [at, share / sum] as const)
  })
}

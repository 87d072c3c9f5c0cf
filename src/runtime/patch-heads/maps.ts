/** What a head gives for every patch → points, pixels and counts. `maps` is [P, K]: patches row by row, K numbers of each. */

import type { Region } from './square.js'
import type { PatchGrid } from './types.js'

export interface FoundPoint {
  /** Shares of the square, from its top left corner. */
  readonly x: number
  readonly y: number
  /** Largest weight of its map: 1 where all of it is in one patch. */
  readonly confidence: number
}

/** Where the weights of each map balance, softmax over patches. @paper arXiv:1801.07372 (DSNT) §4 */
export function balancePoints(maps: Float32Array, { rows, columns }: PatchGrid): FoundPoint[] {
  const patches = rows * columns
  const count = maps.length / patches
  return Array.from({ length: count }, (_, k) => {
    let largest = Number.NEGATIVE_INFINITY
    for (let p = 0; p < patches; p++) largest = Math.max(largest, maps[p * count + k]!)
    let [sum, x, y] = [0, 0, 0]
    for (let p = 0; p < patches; p++) {
      const weight = Math.exp(maps[p * count + k]! - largest)
      sum += weight
      x += (weight * ((p % columns) + 0.5)) / columns
      y += (weight * (Math.floor(p / columns) + 0.5)) / rows
    }
    return { x: x / sum, y: y / sum, confidence: 1 / sum }
  })
}

/**
 * Map k at every dot of the region: linear between the centres of patches, the outer ones continued to the border.
 * → [height, width]
 */
export function mapAtDots(maps: Float32Array, k: number, { rows, columns }: PatchGrid, region: Region): Float32Array {
  const { width, height, side } = region
  const count = maps.length / (rows * columns)
  const across = placesOf(width, side, columns)
  const down = placesOf(height, side, rows)
  const out = new Float32Array(width * height)
  const at = (row: number, column: number) => maps[(row * columns + column) * count + k]!
  for (const [y, { from: top, to: bottom, share: lower }] of down.entries()) {
    const line = Float64Array.from({ length: columns }, (_, column) => mix(at(top, column), at(bottom, column), lower))
    for (let x = 0; x < width; x++) {
      const { from, to, share } = across[x]!
      out[y * width + x] = mix(line[from]!, line[to]!, share)
    }
  }
  return out
}

const mix = (a: number, b: number, share: number) => a + (b - a) * share

/** Between which patches a dot's centre lies, and how near to the second. */
function placesOf(dots: number, side: number, patches: number) {
  return Array.from({ length: dots }, (_, dot) => {
    const at = Math.min(Math.max(((dot + 0.5) * patches) / side - 0.5, 0), patches - 1)
    const from = Math.floor(at)
    return { from, to: Math.min(from + 1, patches - 1), share: at - from }
  })
}

/** The map that is largest at each dot of the region. → [height, width] */
export function largestAtDots(maps: Float32Array, grid: PatchGrid, region: Region): Uint16Array {
  const count = maps.length / (grid.rows * grid.columns)
  const best = mapAtDots(maps, 0, grid, region)
  const labels = new Uint16Array(best.length)
  for (let k = 1; k < count; k++) {
    const other = mapAtDots(maps, k, grid, region)
    for (let i = 0; i < best.length; i++)
      if (other[i]! > best[i]!) {
        best[i] = other[i]!
        labels[i] = k
      }
  }
  return labels
}

/** log(1 + eˣ), without overflow. */
export const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/** A quantised weight W [N, K] again in int8, for the products of training. */

import type { QuantisedRows } from './dequantise.js'

export interface Int8Matrix {
  readonly codes: Int8Array
  readonly scales: Float32Array
}

/** W [N, K] in float32: some tens of MB for the largest matrix of a decoder layer. */
export function floatMatrix({ rows, columns, row }: QuantisedRows): Float32Array {
  const values = new Float32Array(rows * columns)
  for (let n = 0; n < rows; n++) row(n, values.subarray(n * columns, (n + 1) * columns))
  return values
}

/** For dy·W: codes [N, K] in W's own order, one scale per column k. */
export function backwardMatrix(values: Float32Array, rows: number, columns: number): Int8Matrix {
  const largest = new Float32Array(columns)
  for (let n = 0, i = 0; n < rows; n++)
    for (let k = 0; k < columns; k++, i++) {
      const size = Math.abs(values[i]!)
      if (size > largest[k]!) largest[k] = size
    }
  const scales = largest.map((size) => size / 127)
  const inverse = scales.map((scale) => (scale > 0 ? 1 / scale : 0))
  const codes = new Int8Array(rows * columns)
  for (let n = 0, i = 0; n < rows; n++)
    for (let k = 0; k < columns; k++, i++) codes[i] = ((values[i]! * inverse[k]! + 128.5) | 0) - 128
  return { codes, scales }
}

/** Side of the squares that are turned at a time: both sides of a copy stay in the cache. */
const SIDE = 64

/** For x·Wᵀ: codes [K, N], one scale per output n. */
export function forwardMatrix(values: Float32Array, rows: number, columns: number): Int8Matrix {
  const scales = new Float32Array(rows)
  const inverse = new Float32Array(rows)
  for (let n = 0, i = 0; n < rows; n++) {
    let largest = 0
    for (let k = 0; k < columns; k++, i++) {
      const size = Math.abs(values[i]!)
      if (size > largest) largest = size
    }
    scales[n] = largest / 127
    inverse[n] = largest > 0 ? 127 / largest : 0
  }
  const codes = new Int8Array(rows * columns)
  for (let n0 = 0; n0 < rows; n0 += SIDE)
    for (let k0 = 0; k0 < columns; k0 += SIDE) {
      const [nEnd, kEnd] = [Math.min(n0 + SIDE, rows), Math.min(k0 + SIDE, columns)]
      for (let n = n0; n < nEnd; n++) {
        const by = inverse[n]!
        // A shift into the positive makes truncation round.
        for (let k = k0; k < kEnd; k++) codes[k * rows + n] = ((values[n * columns + k]! * by + 128.5) | 0) - 128
      }
    }
  return { codes, scales }
}

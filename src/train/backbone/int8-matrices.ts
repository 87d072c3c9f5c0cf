/**
 * A quantised weight again in int8, for the products of training: twice over its rows, once for the largest sizes, once for the
 * codes. Rows are unpacked both times, a few at once, so that what is between never leaves the cache.
 *
 * scale = largest / 127 in float32; code = value · inverse in float64, rounded: the same bytes on every machine.
 */

import type { QuantisedRows } from './dequantise.js'
import { LANES, TURNED_ROWS } from './simd/kernels.js'
import { type Scratch, scratch } from './simd/scratch.js'

export interface Int8Matrix {
  readonly codes: Int8Array
  readonly scales: Float32Array
}

/** Rows of W [N, K] in float32. */
export function floatMatrix({ rows, columns, row }: QuantisedRows, first = 0, count = rows): Float32Array {
  const values = new Float32Array(count * columns)
  for (let n = 0; n < count; n++) row(first + n, values.subarray(n * columns, (n + 1) * columns))
  return values
}

/** The largest size of what shares a scale → 1 / scale. */
type Inverse = (largest: number) => number

const ofScale: Inverse = (largest) => 1 / Math.fround(largest / 127)
const ofSize: Inverse = (largest) => 127 / largest

/** For dy·W: codes [N, K] in W's own order, one scale per column k. @param codes where to write them, if there is a place */
export const backwardMatrix = (weight: QuantisedRows, codes = room(weight)): Int8Matrix =>
  weight.turned ? turnedMatrix(weight.turned, ofScale, codes) : keptMatrix(weight, ofScale, codes)

/** For x·Wᵀ: codes [K, N], one scale per output n. @param codes as above */
export const forwardMatrix = (weight: QuantisedRows, codes = room(weight)): Int8Matrix =>
  weight.turned ? keptMatrix(weight.turned, ofSize, codes) : turnedMatrix(weight, ofSize, codes)

const room = ({ rows, columns }: QuantisedRows) => new Int8Array(rows * columns)

/** Codes [rows, columns], a scale per column. */
function keptMatrix(weight: QuantisedRows, inverse: Inverse, codes: Int8Array): Int8Matrix {
  const { rows, columns } = weight
  const width = padded(columns)
  const space = scratch({ ...rowSizes(weight), largest: 4 * width, inverse: 8 * width, codes: width })
  const { kernels, at, uint8, float32, float64 } = space
  const unpack = unpacking(weight, space)
  const { values } = at
  const end = values + 4 * width
  for (let n = 0; n < rows; n++) {
    unpack(n, values)
    kernels.largestOfColumns(values, end, at.largest)
  }
  const largest = float32.slice(at.largest / 4, at.largest / 4 + columns)
  float64.set(inverses(largest, inverse), at.inverse / 8)
  for (let n = 0; n < rows; n++) {
    unpack(n, values)
    kernels.keep(values, end, at.inverse, at.codes)
    codes.set(uint8.subarray(at.codes, at.codes + columns), n * columns)
  }
  return { codes, scales: largest.map((size) => size / 127) }
}

/** Rows that are gathered before they are written: lines of some length, and few enough to stay in the cache. */
const TILE_ROWS = 256
/** Not a power of two, or all lines would compete for the same places of the cache. */
const LINE_BYTES = TILE_ROWS + 64

/** Codes [columns, rows], a scale per row. */
function turnedMatrix(weight: QuantisedRows, inverse: Inverse, codes: Int8Array): Int8Matrix {
  const { rows, columns } = weight
  const rowBytes = 4 * padded(columns)
  const sizes = rowSizes(weight, TURNED_ROWS)
  const space = scratch({ ...sizes, largest: 16, inverse: 8 * TURNED_ROWS, tile: padded(columns) * LINE_BYTES })
  const { kernels, at, uint8, float32, float64 } = space
  const unpack = unpacking(weight, space)
  const four = float32.subarray(at.largest / 4, at.largest / 4 + 4)
  const largest = new Float32Array(rows)
  for (let first = 0; first < rows; first += TURNED_ROWS) {
    const next = Math.min(first + TURNED_ROWS, rows)
    for (let n = first; n < next; n++) {
      const values = at.values + (n - first) * rowBytes
      unpack(n, values)
      kernels.largestOfRow(values, values + rowBytes, at.largest)
      largest[n] = Math.max(...four)
    }
    float64.set(inverses(largest.subarray(first, next), inverse), at.inverse / 8)
    const column = first % TILE_ROWS
    kernels.turn(at.values, at.values + rowBytes, rowBytes, at.inverse, at.tile + column, LINE_BYTES)
    const gathered = column + next - first
    if (gathered < TILE_ROWS && next < rows) continue
    for (let k = 0, line = at.tile; k < columns; k++, line += LINE_BYTES)
      codes.set(uint8.subarray(line, line + gathered), k * rows + next - gathered)
  }
  return { codes, scales: largest.map((size) => size / 127) }
}

const padded = (columns: number) => Math.ceil(columns / LANES) * LANES

/** In float32; zero where all is zero, or too small to have an inverse. */
const inverses = (largest: Float32Array, inverse: Inverse) =>
  largest.map((size) => (Number.isFinite(Math.fround(inverse(size))) ? inverse(size) : 0))

type RowRegion = 'row' | 'rowScales' | 'values'

/** What unpacking needs, with `count` rows in float32. */
function rowSizes({ columns, blocks }: QuantisedRows, count = 1): Record<RowRegion, number> {
  const perRow = blocks ? Math.ceil(columns / blocks.size) : 0
  return { row: perRow * (blocks?.bytes ?? 0), rowScales: 4 * perRow, values: 4 * padded(columns) * count }
}

/** Writes row `n` in float32 to an address: many weights at once where blocks are of a common size. */
function unpacking(
  weight: QuantisedRows,
  { kernels, at, uint8, float32 }: Scratch<RowRegion>,
): (n: number, values: number) => void {
  const { columns, blocks } = weight
  if (!blocks || blocks.bytes % 16 > 0 || columns % blocks.size > 0)
    return (n, values) => weight.row(n, float32.subarray(values / 4, values / 4 + columns))
  const { bytes: blockBytes, codes, scales } = blocks
  const perRow = columns / blocks.size
  const rowBytes = perRow * blockBytes
  const unpack = blockBytes === blocks.size ? kernels.unpack8 : kernels.unpack4
  return (n, values) => {
    uint8.set(codes.subarray(n * rowBytes, (n + 1) * rowBytes), at.row)
    float32.set(scales.subarray(n * perRow, (n + 1) * perRow), at.rowScales / 4)
    unpack(at.row, at.row + rowBytes, blockBytes, at.rowScales, values)
  }
}

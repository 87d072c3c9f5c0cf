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

/** Both, from rows that are unpacked twice and not three times. */
export function bothMatrices(
  weight: QuantisedRows,
  backward = room(weight),
  forward = room(weight),
): { readonly backward: Int8Matrix; readonly forward: Int8Matrix } {
  const source = weight.turned ?? weight
  const [keptInverse, turnedInverse] = weight.turned ? [ofSize, ofScale] : [ofScale, ofSize]
  const [keptCodes, turnedCodes] = weight.turned ? [forward, backward] : [backward, forward]
  const space = scratch({ ...rowSizes(source, TURNED_ROWS), ...keptSizes(source), ...turnedSizes(source) })
  const unpack = unpacking(source, space)
  const keep = keeping(source, keptInverse, keptCodes, space)
  const turn = turning(source, turnedInverse, turnedCodes, space)
  const rowBytes = 4 * padded(source.columns)
  for (let n = 0; n < source.rows; n++) {
    unpack(n, space.at.values)
    keep.look()
  }
  keep.begin()
  inGroups(source, (first, next) => {
    for (let n = first; n < next; n++) {
      const values = space.at.values + (n - first) * rowBytes
      unpack(n, values)
      keep.put(n, values)
    }
    turn.put(first, next)
  })
  const [kept, turned] = [keep.done(), turn.done()]
  return weight.turned ? { backward: turned, forward: kept } : { backward: kept, forward: turned }
}

const room = ({ rows, columns }: QuantisedRows) => new Int8Array(rows * columns)

/** Codes [rows, columns], a scale per column. */
function keptMatrix(weight: QuantisedRows, inverse: Inverse, codes: Int8Array): Int8Matrix {
  const space = scratch({ ...rowSizes(weight), ...keptSizes(weight) })
  const unpack = unpacking(weight, space)
  const keep = keeping(weight, inverse, codes, space)
  const { values } = space.at
  for (let n = 0; n < weight.rows; n++) {
    unpack(n, values)
    keep.look()
  }
  keep.begin()
  for (let n = 0; n < weight.rows; n++) {
    unpack(n, values)
    keep.put(n, values)
  }
  return keep.done()
}

/** Codes [columns, rows], a scale per row. */
function turnedMatrix(weight: QuantisedRows, inverse: Inverse, codes: Int8Array): Int8Matrix {
  const space = scratch({ ...rowSizes(weight, TURNED_ROWS), ...turnedSizes(weight) })
  const unpack = unpacking(weight, space)
  const turn = turning(weight, inverse, codes, space)
  const rowBytes = 4 * padded(weight.columns)
  inGroups(weight, (first, next) => {
    for (let n = first; n < next; n++) unpack(n, space.at.values + (n - first) * rowBytes)
    turn.put(first, next)
  })
  return turn.done()
}

function inGroups({ rows }: QuantisedRows, group: (first: number, next: number) => void): void {
  for (let first = 0; first < rows; first += TURNED_ROWS) group(first, Math.min(first + TURNED_ROWS, rows))
}

type KeptRegion = 'largest' | 'inverse' | 'codes'

const keptSizes = ({ columns }: QuantisedRows): Record<KeptRegion, number> => ({
  largest: 4 * padded(columns),
  inverse: 8 * padded(columns),
  codes: padded(columns),
})

/** Rows are looked at once for the largest of each column, then put. */
function keeping(
  { columns }: QuantisedRows,
  inverse: Inverse,
  codes: Int8Array,
  { kernels, at, uint8, float32, float64 }: Scratch<RowRegion | KeptRegion>,
) {
  const rowBytes = 4 * padded(columns)
  let largest = new Float32Array()
  return {
    /** At the first unpacked row. */
    look: () => kernels.largestOfColumns(at.values, at.values + rowBytes, at.largest),
    begin: () => {
      largest = float32.slice(at.largest / 4, at.largest / 4 + columns)
      float64.set(inverses(largest, inverse), at.inverse / 8)
    },
    put: (n: number, values: number) => {
      kernels.keep(values, values + rowBytes, at.inverse, at.codes)
      codes.set(uint8.subarray(at.codes, at.codes + columns), n * columns)
    },
    done: (): Int8Matrix => ({ codes, scales: largest.map((size) => size / 127) }),
  }
}

/** Rows that are gathered before they are written: lines of some length, and few enough to stay in the cache. */
const TILE_ROWS = 256
/** Not a power of two, or all lines would compete for the same places of the cache. */
const LINE_BYTES = TILE_ROWS + 64

type TurnedRegion = 'largestOfRow' | 'rowInverse' | 'tile'

const turnedSizes = ({ columns }: QuantisedRows): Record<TurnedRegion, number> => ({
  largestOfRow: 16,
  rowInverse: 8 * TURNED_ROWS,
  tile: padded(columns) * LINE_BYTES,
})

/** A few unpacked rows at a time, each with a scale of its own, become columns. */
function turning(
  { rows, columns }: QuantisedRows,
  inverse: Inverse,
  codes: Int8Array,
  { kernels, at, uint8, float32, float64 }: Scratch<RowRegion | TurnedRegion>,
) {
  const rowBytes = 4 * padded(columns)
  const four = float32.subarray(at.largestOfRow / 4, at.largestOfRow / 4 + 4)
  const largest = new Float32Array(rows)
  return {
    put: (first: number, next: number) => {
      for (let n = first; n < next; n++) {
        const values = at.values + (n - first) * rowBytes
        kernels.largestOfRow(values, values + rowBytes, at.largestOfRow)
        largest[n] = Math.max(...four)
      }
      float64.set(inverses(largest.subarray(first, next), inverse), at.rowInverse / 8)
      const column = first % TILE_ROWS
      kernels.turn(at.values, at.values + rowBytes, rowBytes, at.rowInverse, at.tile + column, LINE_BYTES)
      const gathered = column + next - first
      if (gathered < TILE_ROWS && next < rows) return
      for (let k = 0, line = at.tile; k < columns; k++, line += LINE_BYTES)
        codes.set(uint8.subarray(line, line + gathered), k * rows + next - gathered)
    },
    done: (): Int8Matrix => ({ codes, scales: largest.map((size) => size / 127) }),
  }
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

/** Several tensors as one, joined along a dimension, still read lazily. */

import { elementCount, formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { allocateBytes } from './byte-source.js'
import { STORAGE } from './storage.js'
import { makeTensor, type Rows, type StoredTensor } from './tensor.js'
import type { CheckpointTensor } from './types.js'

/**
 * `parts` joined along `axis` (0 or 1), in order.
 * @throws M4Error `SHAPE_MISMATCH` when they differ in storage, rank or another dimension, or when blocks would be cut
 */
export function joinTensors(name: string, parts: readonly StoredTensor[], axis: 0 | 1): StoredTensor {
  const first = parts[0]!
  const alike = parts.every(
    (part) =>
      part.storage === first.storage &&
      part.dims.length === first.dims.length &&
      part.dims.every((dim, i) => i === axis || dim === first.dims[i]),
  )
  if (!alike || first.dims.length <= axis)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `The shards of "${name}" do not join along dimension ${axis}: ${parts.map(describe).join(', ')}.`,
      {
        hint: 'All shards must come from one download.',
      },
    )
  const dims = first.dims.map((dim, i) => (i === axis ? parts.reduce((sum, part) => sum + part.dims[axis]!, 0) : dim))
  const readRows =
    axis === 0
      ? (from: number, to: number) => stackRows(parts, from, to)
      : (from: number, to: number) => interleaveRows(parts, from, to)
  return makeTensor({ name, dims, storage: first.storage, readRows })
}

const describe = (part: CheckpointTensor) => `${part.storage}${formatDims(part.dims)}`

/** Rows of parts that lie below one another. */
function stackRows(parts: readonly StoredTensor[], from: number, to: number): Uint8Array {
  const pieces: Uint8Array[] = []
  let start = 0
  for (const part of parts) {
    const rows: Rows = { from: Math.max(from - start, 0), to: Math.min(to - start, part.dims[0]!) }
    if (rows.from < rows.to) pieces.push(part.storedRows(rows))
    start += part.dims[0]!
  }
  const byteLength = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
  const out = allocateBytes(byteLength, byteLength, 'joining shards')
  let at = 0
  for (const piece of pieces) {
    out.set(piece, at)
    at += piece.byteLength
  }
  return out
}

/** Rows of parts that lie side by side. */
function interleaveRows(parts: readonly StoredTensor[], from: number, to: number): Uint8Array {
  const widths = parts.map(
    ({ dims, storage }) => (elementCount(dims.slice(1)) / STORAGE[storage].blockSize) * STORAGE[storage].blockBytes,
  )
  const rowBytes = widths.reduce((sum, width) => sum + width, 0)
  const out = allocateBytes(
    rowBytes * (to - from),
    parts.reduce((sum, part) => sum + part.storedBytes, 0),
    'joining shards',
  )
  let column = 0
  for (const [i, part] of parts.entries()) {
    const width = widths[i]!
    const piece = part.storedRows({ from, to })
    for (let row = 0; row < to - from; row++)
      out.set(piece.subarray(row * width, (row + 1) * width), row * rowBytes + column)
    column += width
  }
  return out
}

/** Weights and constants of a graph: host data, or bytes that are read only when the graph is written. */

import { elementCount, formatDims } from '../core/dims.js'
import { type DataOf, DTYPES, type DType } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { bytesOf, viewAs } from '../core/tensor.js'
import type { GraphTensor } from './types.js'

/**
 * A graph tensor over `data`, which is not copied and must not change afterwards.
 * @throws M4Error `SHAPE_MISMATCH` when the element count differs from the shape.
 */
export function tensorFrom<T extends DType>(dtype: T, dims: readonly number[], data: DataOf<T>): GraphTensor {
  const count = countOf(dtype, dims)
  if (data.length !== count)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Graph tensor ${dtype}${formatDims(dims)}: expected ${count} elements, got ${data.length}.`,
    )
  const bytes = bytesOf(data)
  return { dtype, dims, byteLength: bytes.byteLength, bytes: () => bytes }
}

/**
 * A graph tensor whose bytes (little-endian, row-major) are made when the graph is written, and forgotten after.
 * `read` may be called more than once and must give the same bytes each time.
 */
export function lazyTensor(dtype: DType, dims: readonly number[], read: () => Uint8Array): GraphTensor {
  return { dtype, dims, byteLength: countOf(dtype, dims) * DTYPES[dtype].bytes, bytes: read }
}

/** The bytes of `tensor`, checked. @throws M4Error `SHAPE_MISMATCH` when a lazy tensor gives another number of bytes. */
export function readTensor(name: string, tensor: GraphTensor): Uint8Array {
  const bytes = tensor.bytes()
  if (bytes.byteLength !== tensor.byteLength)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Graph tensor ${name} ${tensor.dtype}${formatDims(tensor.dims)}: expected ${tensor.byteLength} bytes, got ${bytes.byteLength}.`,
      { hint: 'Check what its reader returns.', details: { name } },
    )
  return bytes
}

/** Bytes up to which integer tensors are taken for shapes, axes and the like, and followed by the shape rules. */
const TRACKED_BYTES = 512

/** Elements of a small integer tensor; undefined for all others. */
export function smallIntegers(name: string, tensor: GraphTensor): readonly number[] | undefined {
  const small = (tensor.dtype === 'int64' || tensor.dtype === 'int32') && tensor.byteLength <= TRACKED_BYTES
  return small ? Array.from(viewAs(tensor.dtype, readTensor(name, tensor)), Number) : undefined
}

function countOf(dtype: DType, dims: readonly number[]): number {
  if (dims.some((dim) => !Number.isSafeInteger(dim) || dim < 0))
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Graph tensor ${dtype}${formatDims(dims)}: expected sizes that are integers, 0 or more.`,
    )
  return elementCount(dims)
}

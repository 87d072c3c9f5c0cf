/** A tensor in host memory: plain data, row-major, no lifetime. Device tensors belong to `engine/`. */

import { elementCount, formatDims } from './dims.js'
import { allocate, type DataOf, DTYPES, type DType } from './dtypes.js'
import { M4Error } from './errors.js'

export interface HostTensor<T extends DType = DType> {
  readonly dtype: T
  readonly dims: readonly number[]
  readonly data: DataOf<T>
}

/**
 * Wraps `data` (not copied) as a tensor; without data the tensor is zero-filled.
 * @throws M4Error `SHAPE_MISMATCH` when the element count differs from the shape.
 */
export function hostTensor<T extends DType>(dtype: T, dims: readonly number[], data?: DataOf<T>): HostTensor<T> {
  const count = elementCount(dims)
  if (data && data.length !== count)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `tensor ${dtype}${formatDims(dims)} needs ${count} elements, got ${data.length}.`,
    )
  return { dtype, dims, data: data ?? allocate(dtype, count) }
}

/** int64 tensor from plain numbers. */
export function int64Tensor(dims: readonly number[], values: ArrayLike<number>): HostTensor<'int64'> {
  const data = allocate('int64', values.length)
  for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i]!)
  return hostTensor('int64', dims, data)
}

/** The bytes of a tensor's data, as a view. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

/** Little-endian bytes as typed elements; copies only when the address is not aligned. */
export function viewAs<T extends DType>(dtype: T, bytes: Uint8Array): DataOf<T> {
  const { array, bytes: size } = DTYPES[dtype]
  // Not `slice`: of a Buffer that is a view, as little aligned as before.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes)
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size) as DataOf<T>
}

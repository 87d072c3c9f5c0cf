/** Strided windows on torch storages, made contiguous row by row when they are read. */

import { elementCount } from '../core/dims.js'
import { allocateBytes, type ByteSource, invalid } from './byte-source.js'
import type { TensorRef } from './pickle-values.js'
import { STORAGE } from './storage.js'
import { contiguousTensor, makeTensor, type StoredTensor } from './tensor.js'
import type { StoragePlaces } from './torch.js'

const MAX_DIMS = 64

/** @throws M4Error `FORMAT_INVALID` when the window reaches outside its storage or unfolds to more than the file holds */
export function stridedTensor(source: ByteSource, places: StoragePlaces, name: string, ref: TensorRef): StoredTensor {
  const { dims, strides, storage, place } = ref
  const bytesEach = STORAGE[storage].blockBytes
  const available = place.storage === 'untyped' ? place.count / bytesEach : place.count
  const count = elementCount(dims)
  if (
    dims.length > MAX_DIMS ||
    !Number.isSafeInteger(count * bytesEach) ||
    ref.offset + span(dims, strides) > available
  )
    throw invalid(
      source.name,
      0,
      `tensor "${name}" of shape [${dims}] and strides [${strides}] at element ${ref.offset} leaves its storage of ${available}`,
    )
  if (count * bytesEach > source.size)
    throw invalid(
      source.name,
      0,
      `tensor "${name}" repeats its storage to ${count * bytesEach} bytes, more than the file's ${source.size}`,
    )
  const start = places.get(place.key)!.offset + (place.viewOffset + ref.offset) * bytesEach
  if (count === 0 || isContiguous(dims, strides)) return contiguousTensor(source, start, { name, dims, storage })
  const [, ...innerDims] = dims
  const [rowStride = 0, ...innerStrides] = strides
  return makeTensor({
    name,
    dims,
    storage,
    readRows: (from, to) => {
      const rowDims = [to - from, ...innerDims]
      const window = source.read(start + from * rowStride * bytesEach, span(rowDims, strides) * bytesEach)
      const out = allocateBytes(elementCount(rowDims) * bytesEach, source.size, `tensor "${name}"`)
      gather(window, out, bytesEach, rowDims, [rowStride, ...innerStrides])
      return out
    },
  })
}

/** Elements from the first to the last of a window, both included; 0 for an empty one. */
function span(dims: readonly number[], strides: readonly number[]): number {
  let last = 0
  for (const [axis, dim] of dims.entries()) {
    if (dim === 0) return 0
    last += (dim - 1) * strides[axis]!
  }
  return last + 1
}

function isContiguous(dims: readonly number[], strides: readonly number[]): boolean {
  let expected = 1
  for (let axis = dims.length - 1; axis >= 0; axis--) {
    if (dims[axis] !== 1 && strides[axis] !== expected) return false
    expected *= dims[axis]!
  }
  return true
}

const UNITS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const

/** Copies elements in row-major order of `dims`; both buffers begin at their first element. */
function gather(
  window: Uint8Array,
  out: Uint8Array,
  bytesEach: number,
  dims: readonly number[],
  strides: readonly number[],
): void {
  const unit = UNITS[bytesEach as keyof typeof UNITS]
  const from = new unit(window.buffer as ArrayBuffer, window.byteOffset, window.byteLength / bytesEach)
  const to = new unit(out.buffer as ArrayBuffer, out.byteOffset, out.byteLength / bytesEach)
  const last = dims.length - 1
  const width = dims[last]!
  const step = strides[last]!
  const index = new Array<number>(last).fill(0)
  let base = 0
  for (let at = 0; at < to.length; ) {
    for (let j = 0, source = base; j < width; j++, source += step) to[at++] = from[source]!
    for (let axis = last - 1; axis >= 0; axis--) {
      base += strides[axis]!
      if (++index[axis]! < dims[axis]!) break
      base -= strides[axis]! * dims[axis]!
      index[axis] = 0
    }
  }
}

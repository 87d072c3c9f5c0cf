/** Memory of tensors: typed arrays whose address native code may keep. */

import { elementCount, formatDims } from '../core/dims.js'
import { allocate, type DataOf, DTYPES, type DType } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'

/**
 * Data that may back a tensor: `data` itself where its address is stable, else a copy.
 * Small typed arrays live on the JavaScript heap until someone asks for their `buffer`; V8 then moves them off it for good, so
 * asking is enough. A resizable buffer may shrink under a running graph, so it is copied.
 * @throws M4Error `SHAPE_MISMATCH` when count or element type do not fit
 */
export function backing<T extends DType>(dtype: T, dims: readonly number[], data?: DataOf<T>): DataOf<T> {
  const count = elementCount(dims)
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw new M4Error('SHAPE_MISMATCH', `A tensor needs whole sizes of 0 or more, got ${formatDims(dims)}.`)
  if (!data) return allocate(dtype, count)
  if (data.length !== count || data.constructor !== DTYPES[dtype].array)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Tensor ${dtype}${formatDims(dims)} needs ${count} elements in a ${DTYPES[dtype].array.name}, got ${data.length} in a ${data.constructor.name}.`,
    )
  const { resizable, growable } = data.buffer as { resizable?: boolean; growable?: boolean }
  if (!resizable && !growable) return data
  const copy = allocate(dtype, count)
  copy.set(data as never)
  return copy
}

/** True when the buffer behind `data` was transferred to a worker or grown away: its old address is no longer ours. */
export function isDetached(data: DataOf, count: number): boolean {
  return data.length !== count
}

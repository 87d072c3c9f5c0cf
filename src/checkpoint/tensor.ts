/** From "where the bytes are" to a `CheckpointTensor`; and the `Checkpoint` around them. */

import { elementCount, formatDims } from '../core/dims.js'
import { Handle } from '../core/disposal.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { type ByteSource, invalid } from './byte-source.js'
import { decodeFloat32, STORAGE } from './storage.js'
import type { Checkpoint, CheckpointFormat, CheckpointTensor, StorageType } from './types.js'

export interface Rows {
  readonly from: number
  readonly to: number
}

/** A tensor that can also give the stored bytes of some of its rows. All readers of this room make these. */
export interface StoredTensor extends CheckpointTensor {
  /** Stored bytes of rows `[from, to)` of the first dimension; a scalar has one row. */
  storedRows(rows: Rows): Uint8Array
}

export interface TensorSource {
  readonly name: string
  readonly dims: readonly number[]
  readonly storage: StorageType
  /** Contiguous, row-major stored bytes of rows `[from, to)`. */
  readonly readRows: (from: number, to: number) => Uint8Array
}

/** Makes the tensor; `dims` must already fit the block size (`storedByteLength`). */
export function makeTensor({ name, dims, storage, readRows }: TensorSource): StoredTensor {
  const rowCount = dims[0] ?? 1
  const storedRows = (rows: Rows) => {
    assertRows(name, rowCount, rows)
    return readRows(rows.from, rows.to)
  }
  const bytes = () => readRows(0, rowCount)
  return Object.freeze({
    name,
    dims: Object.freeze([...dims]),
    storage,
    storedBytes: storedByteLength(name, storage, dims),
    bytes,
    storedRows,
    read: (): HostTensor => {
      const { dtype, decode } = STORAGE[storage]
      return hostTensor(dtype, dims, decode(bytes()))
    },
    float32: (rows: Rows = { from: 0, to: rowCount }) => decodeFloat32(storage, storedRows(rows)),
  })
}

/** A tensor whose bytes lie in one piece at `offset`. */
export function contiguousTensor(
  source: ByteSource,
  offset: number,
  tensor: Pick<TensorSource, 'name' | 'dims' | 'storage'>,
): StoredTensor {
  const byteLength = storedByteLength(tensor.name, tensor.storage, tensor.dims)
  if (offset + byteLength > source.size)
    throw invalid(
      source.name,
      offset,
      `tensor "${tensor.name}" needs ${byteLength} bytes, the file ends at ${source.size}`,
    )
  const rowBytes = byteLength / Math.max(1, tensor.dims[0] ?? 1)
  return makeTensor({
    ...tensor,
    readRows: (from, to) => source.read(offset + from * rowBytes, (to - from) * rowBytes),
  })
}

/**
 * Bytes that a tensor of this shape takes.
 * @throws M4Error `FORMAT_INVALID` when a dimension is not a whole number, when the size is beyond any file, or when the
 *   innermost dimension is not a multiple of the block.
 */
export function storedByteLength(name: string, storage: StorageType, dims: readonly number[]): number {
  const { blockSize, blockBytes } = STORAGE[storage]
  const inner = dims.at(-1) ?? 1
  const count = elementCount(dims)
  const whole = dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)
  if (!whole || inner % blockSize !== 0 || !Number.isSafeInteger(count * blockBytes))
    throw new M4Error(
      'FORMAT_INVALID',
      `Tensor "${name}": ${storage} cannot have the shape ${formatDims(dims)} (innermost dimension in blocks of ${blockSize}).`,
      { hint: 'Fetch the file again.', details: { name, storage, dims } },
    )
  return (count / blockSize) * blockBytes
}

function assertRows(name: string, rowCount: number, { from, to }: Rows): void {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from > to || to > rowCount)
    throw new M4Error(
      'INVALID_REQUEST',
      `Tensor "${name}" has ${rowCount} rows, rows [${from}, ${to}) were asked for.`,
      {
        details: { name, rowCount, from, to },
      },
    )
}

class OpenCheckpoint extends Handle implements Checkpoint {
  constructor(
    readonly format: CheckpointFormat,
    readonly tensors: ReadonlyMap<string, CheckpointTensor>,
    readonly metadata: Readonly<Record<string, unknown>>,
    readonly parts: readonly { dispose(): void }[],
  ) {
    super('checkpoint')
  }

  protected release(): void {
    for (const part of this.parts) part.dispose()
  }
}

/**
 * An open checkpoint that owns `parts` (its files or the checkpoints that it joins).
 * @throws M4Error `FORMAT_INVALID` when two tensors have one name.
 */
export function makeCheckpoint(
  format: CheckpointFormat,
  fileName: string,
  tensors: Iterable<CheckpointTensor>,
  metadata: Readonly<Record<string, unknown>>,
  parts: readonly { dispose(): void }[],
): Checkpoint {
  const byName = new Map<string, CheckpointTensor>()
  for (const tensor of tensors) {
    if (byName.has(tensor.name)) throw invalid(fileName, 0, `two tensors are named "${tensor.name}"`)
    byName.set(tensor.name, tensor)
  }
  return new OpenCheckpoint(format, byName, metadata, parts)
}

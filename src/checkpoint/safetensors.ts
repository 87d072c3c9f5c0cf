/** safetensors, one file: u64 header length, JSON header, data. As strict as the format's own reader (huggingface/safetensors). */

import { elementCount } from '../core/dims.js'
import { type ByteSource, invalid, unsupported } from './byte-source.js'
import { Cursor } from './cursor.js'
import { type JsonObject, parseJson } from './json.js'
import { STORAGE } from './storage.js'
import { contiguousTensor, makeCheckpoint } from './tensor.js'
import type { Checkpoint, StorageType } from './types.js'

/** The limit of the official reader. */
export const MAX_HEADER_BYTES = 100_000_000

/** dtype names of the format that M4 reads. */
const DTYPE_NAMES: Readonly<Record<string, StorageType>> = Object.freeze({
  F64: 'F64',
  F32: 'F32',
  F16: 'F16',
  BF16: 'BF16',
  I64: 'I64',
  I32: 'I32',
  I16: 'I16',
  I8: 'I8',
  U8: 'U8',
  U16: 'U16',
  U32: 'U32',
  U64: 'U64',
  BOOL: 'BOOL',
  F8_E4M3: 'F8_E4M3',
  F8_E5M2: 'F8_E5M2',
})

const UNREAD_DTYPES = new Set(['F4', 'F6_E2M3', 'F6_E3M2', 'F8_E8M0', 'C64'])

interface Entry {
  readonly name: string
  readonly storage: StorageType
  readonly dims: readonly number[]
  readonly begin: number
  readonly end: number
}

/**
 * Opens one safetensors file. The checkpoint owns `source`.
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for dtypes that M4 has no use for
 */
export function openSafetensors(source: ByteSource): Checkpoint {
  const cursor = new Cursor(source)
  const headerBytes = cursor.size64('the header length')
  if (headerBytes > MAX_HEADER_BYTES)
    throw invalid(source.name, 0, `a header of ${headerBytes} bytes, at most ${MAX_HEADER_BYTES} are allowed`)
  if (headerBytes > cursor.remaining)
    throw invalid(source.name, 0, `a header of ${headerBytes} bytes, the file has ${source.size}`)
  const header = parseJson(source.name, cursor.text(headerBytes))
  const dataStart = 8 + headerBytes
  const dataBytes = source.size - dataStart
  const metadata = header.__metadata__ === undefined ? {} : readMetadata(source, header.__metadata__)
  const entries = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => readEntry(source, name, value))
  assertCovered(source, entries, dataBytes)
  const tensors = entries.map((entry) => contiguousTensor(source, dataStart + entry.begin, entry))
  return makeCheckpoint('safetensors', source.name, tensors, metadata, [source])
}

function readMetadata(source: ByteSource, value: unknown): JsonObject {
  const fine = isObject(value) && Object.values(value).every((entry) => typeof entry === 'string')
  if (!fine) throw invalid(source.name, 8, '__metadata__ is not a map of strings to strings')
  return value
}

function readEntry(source: ByteSource, name: string, value: unknown): Entry {
  if (!isObject(value)) throw invalid(source.name, 8, `the entry "${name}" is not an object`)
  const { dtype, shape, data_offsets: offsets, ...rest } = value
  const unknown = Object.keys(rest)
  if (unknown.length) throw invalid(source.name, 8, `the entry "${name}" has unknown fields ${unknown.join(', ')}`)
  if (typeof dtype === 'string' && UNREAD_DTYPES.has(dtype))
    throw unsupported(source.name, `tensor "${name}" has the dtype ${dtype}`, 'Convert it to F16 or F32.')
  const storage = typeof dtype === 'string' && Object.hasOwn(DTYPE_NAMES, dtype) ? DTYPE_NAMES[dtype] : undefined
  if (!storage) throw invalid(source.name, 8, `tensor "${name}" has the unknown dtype ${JSON.stringify(dtype)}`)
  if (!isSizes(shape)) throw invalid(source.name, 8, `tensor "${name}" has no valid shape`)
  if (!isSizes(offsets) || offsets.length !== 2)
    throw invalid(source.name, 8, `tensor "${name}" has no valid data_offsets`)
  const [begin, end] = offsets as [number, number]
  const expected = elementCount(shape) * STORAGE[storage].blockBytes
  if (end - begin !== expected)
    throw invalid(source.name, 8, `tensor "${name}" takes ${end - begin} bytes, its dtype and shape need ${expected}`)
  return { name, storage, dims: shape, begin, end }
}

/** Sorted by place, the tensors follow one another without holes or overlaps from the first byte of the data to the last. */
function assertCovered(source: ByteSource, entries: readonly Entry[], dataBytes: number): void {
  let at = 0
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at)
      throw invalid(
        source.name,
        8,
        `tensor "${name}" begins at ${begin}, expected ${at}: ${begin < at ? 'overlap' : 'hole'}`,
      )
    at = end
  }
  if (at !== dataBytes) throw invalid(source.name, 8, `the tensors take ${at} bytes, the data has ${dataBytes}`)
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0)

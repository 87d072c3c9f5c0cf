/** GGUF v2 and v3: key/values, tensor table, aligned data (ggml-org/ggml docs/gguf.md). Dimensions are turned to row-major. */

import type { ByteSource } from './byte-source.js'
import { unsupported } from './byte-source.js'
import { Cursor } from './cursor.js'
import { GGML_TYPES, GGML_UNREAD_TYPES } from './gguf-types.js'
import { readValue } from './gguf-values.js'
import { contiguousTensor, makeCheckpoint, type StoredTensor } from './tensor.js'
import type { Checkpoint, StorageType } from './types.js'

const DEFAULT_ALIGNMENT = 32
const MAX_DIMS = 4
const MAX_NAME_BYTES = 1 << 16
/** The shortest key/value: empty key, type, one byte. The shortest table entry: empty name, no dimension, type, offset. */
const MIN_PAIR_BYTES = 13
const MIN_ENTRY_BYTES = 24

interface Entry {
  readonly name: string
  readonly dims: readonly number[]
  readonly storage: StorageType
  /** From the start of the data. */
  readonly offset: number
}

/**
 * Opens a GGUF file. Metadata: one entry a key; 64-bit integers are numbers where they fit, else bigints; arrays of numbers
 * are typed arrays; strings that are not UTF-8 come as their bytes. The checkpoint owns `source`.
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function openGguf(source: ByteSource): Checkpoint {
  const cursor = new Cursor(source)
  if (cursor.u32() !== 0x46554747) throw cursor.fail('no GGUF magic')
  assertVersion(source, cursor.u32())
  const tensorCount = cursor.size64('the tensor count')
  const pairCount = cursor.size64('the key count')
  const metadata = readMetadata(cursor, pairCount)
  if (Number(metadata['split.count'] ?? 1) > 1)
    throw unsupported(
      source.name,
      `part of a file split in ${metadata['split.count']}`,
      'Join the parts with `gguf-split --merge`.',
    )
  cursor.assertRoom(tensorCount, MIN_ENTRY_BYTES, 'tensors')
  const entries: Entry[] = []
  for (let i = 0; i < tensorCount; i++) entries.push(readEntry(cursor))
  const alignment = readAlignment(cursor, metadata['general.alignment'])
  const dataStart = Math.ceil(cursor.offset / alignment) * alignment
  const tensors = entries.map((entry) => contiguousTensor(source, dataStart + entry.offset, entry))
  assertPlaces(cursor, entries, tensors, alignment)
  return makeCheckpoint('gguf', source.name, tensors, metadata, [source])
}

function assertVersion(source: ByteSource, version: number): void {
  if (version === 2 || version === 3) return
  const bigEndian = version !== 0 && (version & 0xffff) === 0
  throw unsupported(
    source.name,
    bigEndian ? 'a big-endian GGUF file' : `GGUF version ${version}, versions 2 and 3 are read`,
    'Convert it with a current llama.cpp.',
  )
}

function readMetadata(cursor: Cursor, count: number): Record<string, unknown> {
  cursor.assertRoom(count, MIN_PAIR_BYTES, 'key/values')
  const pairs = new Map<string, unknown>()
  for (let i = 0; i < count; i++) {
    const key = cursor.text(nameLength(cursor))
    if (pairs.has(key)) throw cursor.fail(`the key "${key}" stands twice`)
    pairs.set(key, readValue(cursor, cursor.u32()))
  }
  return Object.fromEntries(pairs)
}

function readEntry(cursor: Cursor): Entry {
  const name = cursor.text(nameLength(cursor))
  const dimCount = cursor.u32()
  if (dimCount > MAX_DIMS)
    throw cursor.fail(`tensor "${name}" has ${dimCount} dimensions, at most ${MAX_DIMS} are possible`)
  const dims: number[] = []
  for (let i = 0; i < dimCount; i++) dims.unshift(cursor.size64(`a dimension of "${name}"`))
  const type = cursor.u32()
  const storage = GGML_TYPES[type]
  if (!storage) throw unreadType(cursor, name, type)
  return { name, dims, storage, offset: cursor.size64(`the offset of "${name}"`) }
}

/** The error for a tensor whose ggml type has no reader. */
export function unreadType(cursor: Cursor, name: string, type: number) {
  const known = GGML_UNREAD_TYPES[type]
  return unsupported(
    cursor.source.name,
    `tensor "${name}" has ${known ? `the type ${known}` : `the unknown type number ${type}`}`,
    'Requantise the model to a type such as Q4_K or Q8_0.',
  )
}

function nameLength(cursor: Cursor): number {
  const length = cursor.size64('a name length')
  if (length > MAX_NAME_BYTES) throw cursor.fail(`a name of ${length} bytes`)
  return length
}

function readAlignment(cursor: Cursor, value: unknown): number {
  if (value === undefined) return DEFAULT_ALIGNMENT
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && (value & (value - 1)) === 0) return value
  throw cursor.fail(`general.alignment is ${String(value)}, expected a power of two`)
}

/** Every tensor begins at a multiple of the alignment, and none overlaps another. */
function assertPlaces(
  cursor: Cursor,
  entries: readonly Entry[],
  tensors: readonly StoredTensor[],
  alignment: number,
): void {
  const places = entries.map(({ name, offset }, i) => ({ name, offset, end: offset + tensors[i]!.storedBytes }))
  places.sort((a, b) => a.offset - b.offset || a.end - b.end)
  let end = 0
  for (const place of places) {
    if (place.offset % alignment) throw cursor.fail(`tensor "${place.name}" is not aligned to ${alignment}`)
    if (place.offset < end) throw cursor.fail(`tensor "${place.name}" overlaps the one before it`)
    end = place.end
  }
}

/** Metadata values of GGUF: one frozen table from type number to reader. */

import { type Cursor, decodeUtf8 } from './cursor.js'

const ARRAY = 9
const MAX_DEPTH = 4

interface ValueType {
  /** Fewest bytes that one value takes; an announced count is held against them before anything is allocated. */
  readonly bytes: number
  readonly read: (cursor: Cursor) => unknown
  /** Typed array for arrays of this type. */
  readonly array?: new (
    buffer: ArrayBuffer,
  ) => ArrayBufferView
}

const VALUE_TYPES: Readonly<Record<number, ValueType>> = Object.freeze({
  0: { bytes: 1, read: (cursor) => cursor.u8(), array: Uint8Array },
  1: { bytes: 1, read: (cursor) => cursor.i8(), array: Int8Array },
  2: { bytes: 2, read: (cursor) => cursor.u16(), array: Uint16Array },
  3: { bytes: 2, read: (cursor) => cursor.i16(), array: Int16Array },
  4: { bytes: 4, read: (cursor) => cursor.u32(), array: Uint32Array },
  5: { bytes: 4, read: (cursor) => cursor.i32(), array: Int32Array },
  6: { bytes: 4, read: (cursor) => cursor.f32(), array: Float32Array },
  7: { bytes: 1, read: readBool },
  8: { bytes: 8, read: readString },
  10: { bytes: 8, read: (cursor) => plain(cursor.u64()), array: BigUint64Array },
  11: { bytes: 8, read: (cursor) => plain(cursor.i64()), array: BigInt64Array },
  12: { bytes: 8, read: (cursor) => cursor.f64(), array: Float64Array },
})

/** The value of type number `type` at the cursor. @throws M4Error `FORMAT_INVALID` */
export function readValue(cursor: Cursor, type: number, depth = 0): unknown {
  if (type === ARRAY) return readArray(cursor, depth)
  return valueType(cursor, type).read(cursor)
}

function readArray(cursor: Cursor, depth: number): unknown {
  if (depth === MAX_DEPTH) throw cursor.fail(`arrays nested more than ${MAX_DEPTH} deep`)
  const type = cursor.u32()
  const count = cursor.size64('an array length')
  if (type === ARRAY) {
    cursor.assertRoom(count, 12, 'arrays')
    return Array.from({ length: count }, () => readArray(cursor, depth + 1))
  }
  const { bytes, read, array } = valueType(cursor, type)
  cursor.assertRoom(count, bytes, 'array items')
  if (array) return new array(cursor.bytes(count * bytes).buffer as ArrayBuffer)
  return Array.from({ length: count }, () => read(cursor))
}

function valueType(cursor: Cursor, type: number): ValueType {
  const found = VALUE_TYPES[type]
  if (!found) throw cursor.fail(`unknown value type ${type}`)
  return found
}

function readBool(cursor: Cursor): boolean {
  const byte = cursor.u8()
  if (byte > 1) throw cursor.fail(`a bool of value ${byte}`)
  return byte === 1
}

/** Text, or the bytes themselves when they are not UTF-8 (single-byte tokens of some vocabularies). */
function readString(cursor: Cursor): string | Uint8Array {
  const bytes = cursor.bytes(cursor.size64('a string length'))
  return decodeUtf8(bytes) ?? bytes
}

function plain(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

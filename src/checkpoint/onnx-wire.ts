/** Walks protobuf messages inside a file without reading their large fields (protobuf encoding, through @bufbuild/protobuf). */

import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { type ByteSource, invalid } from './byte-source.js'

export interface WireField {
  readonly number: number
  readonly wireType: WireType
  /** Of the value; behind the length for length-delimited fields. */
  readonly offset: number
  readonly length: number
}

const WINDOW_BYTES = 1 << 14
/** A tag and a length, or a tag and a varint. */
const MAX_HEAD_BYTES = 20
const FIXED_BYTES: Partial<Record<WireType, number>> = { [WireType.Bit32]: 4, [WireType.Bit64]: 8 }

/** The fields of the message in `[start, end)`, in order. @throws M4Error `FORMAT_INVALID` */
export function* wireFields(source: ByteSource, start: number, end: number): Generator<WireField> {
  let window = new Uint8Array(0)
  let windowStart = start
  for (let at = start; at < end; ) {
    const inWindow = at - windowStart
    if (inWindow + Math.min(MAX_HEAD_BYTES, end - at) > window.length) {
      windowStart = at
      window = source.read(at, Math.min(WINDOW_BYTES, end - at)) as Uint8Array<ArrayBuffer>
    }
    const field = readHead(source, window.subarray(at - windowStart), at)
    if (field.offset + field.length > end)
      throw invalid(source.name, at, `field ${field.number} goes past the end of its message`)
    yield field
    at = field.offset + field.length
  }
}

function readHead(source: ByteSource, bytes: Uint8Array, at: number): WireField {
  try {
    const reader = new BinaryReader(bytes)
    const [number, wireType] = reader.tag()
    if (wireType === WireType.Varint) {
      const from = reader.pos
      reader.skip(wireType)
      return { number, wireType, offset: at + from, length: reader.pos - from }
    }
    const fixed = FIXED_BYTES[wireType]
    if (fixed === undefined && wireType !== WireType.LengthDelimited) throw new Error(`wire type ${wireType}`)
    const length = fixed ?? reader.uint32()
    return { number, wireType, offset: at + reader.pos, length }
  } catch (cause) {
    throw invalid(
      source.name,
      at,
      `not a protobuf field (${(cause as Error).message})`,
      'Is this an ONNX file, and complete?',
    )
  }
}

/** Runs `read` on a reader over one field's value. @throws M4Error `FORMAT_INVALID` when the value is not what `read` expects */
export function fieldValue<T>(source: ByteSource, field: WireField, read: (reader: BinaryReader) => T): T {
  const bytes = source.read(field.offset, field.length)
  try {
    return read(new BinaryReader(bytes))
  } catch (cause) {
    throw invalid(source.name, field.offset, `field ${field.number} is damaged (${(cause as Error).message})`)
  }
}

/** The value of a length-delimited text field. */
export function fieldText(source: ByteSource, field: WireField): string {
  if (field.wireType !== WireType.LengthDelimited)
    throw invalid(source.name, field.offset, `field ${field.number} is no text`)
  const bytes = source.read(field.offset, field.length)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw invalid(source.name, field.offset, `field ${field.number} is not UTF-8`)
  }
}

/** Varints of a repeated integer field, packed or single, as int64. */
export function fieldInts(source: ByteSource, field: WireField): bigint[] {
  return fieldValue(source, field, (reader) => {
    const values: bigint[] = []
    while (reader.pos < reader.len) values.push(BigInt(reader.int64()))
    return values
  })
}

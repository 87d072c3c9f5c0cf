/**
 * As much of FlatBuffers as an adapter file needs (flatbuffers.dev, "internals"): tables of 32-bit integers, strings, vectors of
 * int64, bytes and tables. Little-endian; offsets to values point forward, so parents are written before their children.
 */

import { M4Error } from '../core/errors.js'

/** One field of a table, by its id; undefined is left out and reads as the default. */
export type FlatField =
  | { readonly int32: number }
  | { readonly string: string }
  | { readonly int64s: readonly number[] }
  /** Elements lie at a multiple of 8. */
  | { readonly bytes: Uint8Array }
  | { readonly tables: readonly FlatTable[] }
  | undefined
export type FlatTable = readonly FlatField[]

const ROOT_OFFSET_BYTES = 4

/** @param identifier 4 characters of ASCII */
export function writeFlatBuffer(identifier: string, root: FlatTable): Uint8Array {
  const out = growing()
  out.skip(ROOT_OFFSET_BYTES)
  out.set(ROOT_OFFSET_BYTES, new TextEncoder().encode(identifier))
  /** Places of 32-bit offsets that wait for what they point at. */
  const waiting: { readonly at: number; readonly write: () => number }[] = []
  waiting.push({ at: 0, write: () => writeTable(root) })

  function writeTable(fields: FlatTable): number {
    out.align(4)
    const vtable = out.size()
    const vtableBytes = 4 + 2 * fields.length
    out.skip(vtableBytes)
    out.align(4)
    const table = out.size()
    const present = fields.filter((field) => field !== undefined).length
    out.skip(4 + 4 * present)
    out.u16(vtable, vtableBytes)
    out.u16(vtable + 2, 4 + 4 * present)
    out.i32(table, table - vtable)
    let inside = 4
    for (const [id, field] of fields.entries()) {
      if (field === undefined) continue
      out.u16(vtable + 4 + 2 * id, inside)
      if ('int32' in field) out.i32(table + inside, field.int32)
      else waiting.push({ at: table + inside, write: () => writeValue(field) })
      inside += 4
    }
    return table
  }

  function writeValue(field: Exclude<FlatField, { int32: number } | undefined>): number {
    if ('string' in field) {
      const bytes = new TextEncoder().encode(field.string)
      const at = vector(bytes.length, 4, bytes.length + 1) // a NUL behind it
      out.set(at + 4, bytes)
      return at
    }
    if ('bytes' in field) {
      const at = vector(field.bytes.length, 8, field.bytes.length)
      out.set(at + 4, field.bytes)
      return at
    }
    if ('int64s' in field) {
      const at = vector(field.int64s.length, 8, 8 * field.int64s.length)
      for (const [i, value] of field.int64s.entries()) out.i64(at + 4 + 8 * i, value)
      return at
    }
    const at = vector(field.tables.length, 4, 4 * field.tables.length)
    for (const [i, table] of field.tables.entries())
      waiting.push({ at: at + 4 + 4 * i, write: () => writeTable(table) })
    return at
  }

  /** Room for a vector whose elements begin at a multiple of `alignment`; gives the place of its length. */
  function vector(count: number, alignment: number, bytes: number): number {
    out.align(4)
    while ((out.size() + 4) % alignment) out.skip(4)
    const at = out.size()
    out.skip(4 + bytes)
    out.i32(at, count)
    return at
  }

  for (const { at, write } of waiting) out.i32(at, write() - at) // grows while it is walked
  out.align(8)
  return out.done()
}

function growing() {
  let bytes = new Uint8Array(1024)
  let view = new DataView(bytes.buffer)
  let length = 0
  const skip = (count: number) => {
    length += count
    if (length <= bytes.length) return
    const larger = new Uint8Array(Math.max(length, 2 * bytes.length))
    larger.set(bytes)
    bytes = larger
    view = new DataView(bytes.buffer)
  }
  return {
    size: () => length,
    skip,
    align: (to: number) => skip((to - (length % to)) % to),
    set: (at: number, data: Uint8Array) => {
      skip(Math.max(0, at + data.length - length))
      bytes.set(data, at)
    },
    u16: (at: number, value: number) => view.setUint16(at, value, true),
    i32: (at: number, value: number) => view.setInt32(at, value, true),
    i64: (at: number, value: number) => view.setBigInt64(at, BigInt(value), true),
    done: () => bytes.slice(0, length),
  }
}

/** A table in a file, read with every offset checked. */
export interface FlatReader {
  int32(id: number): number
  string(id: number): string | undefined
  int64s(id: number): number[]
  /** A view of the file. */
  bytes(id: number): Uint8Array
  tables(id: number): FlatReader[]
}

/**
 * The root table of a file.
 * @throws M4Error `FORMAT_INVALID` for another identifier; all readers throw it for offsets outside the file
 */
export function readFlatBuffer(file: Uint8Array, identifier: string, name: string): FlatReader {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const fail = (at: number, what: string) =>
    new M4Error('FORMAT_INVALID', `${name}, byte ${at}: ${what}.`, {
      hint: 'The file is damaged or of another kind; fetch it again.',
      details: { file: name, offset: at },
    })
  /** The place itself, when `bytes` lie there. */
  const inside = (at: number, bytes: number): number => {
    if (at < 0 || bytes < 0 || at + bytes > file.length)
      throw fail(at, `${bytes} bytes wanted, the file has ${file.length}`)
    return at
  }
  const u16 = (at: number) => view.getUint16(inside(at, 2), true)
  const i32 = (at: number) => view.getInt32(inside(at, 4), true)
  const u32 = (at: number) => view.getUint32(inside(at, 4), true)
  const follow = (at: number) => at + u32(at)

  const found = new TextDecoder('latin1').decode(file.subarray(4, 8))
  if (found !== identifier) throw fail(4, `expected the identifier ${identifier}, got ${JSON.stringify(found)}`)

  function table(at: number): FlatReader {
    const vtable = at - i32(at)
    const vtableBytes = u16(vtable)
    inside(vtable, vtableBytes)
    const tableBytes = u16(vtable + 2)
    inside(at, tableBytes)
    const field = (id: number, bytes: number): number | undefined => {
      const slot = 4 + 2 * id
      const offset = slot + 2 <= vtableBytes ? u16(vtable + slot) : 0
      if (offset === 0) return undefined
      if (offset + bytes > tableBytes) throw fail(at, `field ${id} lies outside its table`)
      return at + offset
    }
    /** Place of the first element, and the count. */
    const vector = (id: number, elementBytes: number): readonly [at: number, count: number] => {
      const place = field(id, 4)
      if (place === undefined) return [0, 0]
      const start = follow(place)
      const count = u32(start)
      return [inside(start + 4, count * elementBytes), count]
    }
    return {
      int32: (id) => {
        const place = field(id, 4)
        return place === undefined ? 0 : i32(place)
      },
      string: (id) => {
        if (field(id, 4) === undefined) return undefined
        const [start, length] = vector(id, 1)
        try {
          return new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(start, start + length))
        } catch {
          throw fail(start, 'a string that is not UTF-8')
        }
      },
      int64s: (id) => {
        const [start, count] = vector(id, 8)
        return Array.from({ length: count }, (_, i) => {
          const value = Number(view.getBigInt64(start + 8 * i, true))
          if (!Number.isSafeInteger(value)) throw fail(start + 8 * i, `the number ${value} is beyond any file`)
          return value
        })
      },
      bytes: (id) => {
        const [start, count] = vector(id, 1)
        return file.subarray(start, start + count)
      },
      tables: (id) => {
        const [start, count] = vector(id, 4)
        return Array.from({ length: count }, (_, i) => table(follow(start + 4 * i)))
      },
    }
  }
  return table(follow(0))
}

/** Little-endian reading in order over a source, through a window of 64 KiB, every step bounds-checked. */

import { type ByteSource, invalid } from './byte-source.js'

const WINDOW_BYTES = 1 << 16
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export class Cursor {
  #window: Uint8Array = new Uint8Array(0)
  #view = new DataView(this.#window.buffer)
  #start = 0

  /** Reads `[offset, end)` of `source`. */
  constructor(
    readonly source: ByteSource,
    public offset = 0,
    readonly end = source.size,
  ) {}

  get remaining(): number {
    return this.end - this.offset
  }

  fail(problem: string, next?: string) {
    return invalid(this.source.name, this.offset, problem, next)
  }

  /** Moves past `length` bytes. @throws M4Error `FORMAT_INVALID` */
  skip(length: number): void {
    this.#need(length)
    this.offset += length
  }

  u8(): number {
    const at = this.#take(1)
    return this.#view.getUint8(at)
  }

  i8(): number {
    const at = this.#take(1)
    return this.#view.getInt8(at)
  }

  u16(): number {
    const at = this.#take(2)
    return this.#view.getUint16(at, true)
  }

  i16(): number {
    const at = this.#take(2)
    return this.#view.getInt16(at, true)
  }

  u32(): number {
    const at = this.#take(4)
    return this.#view.getUint32(at, true)
  }

  i32(): number {
    const at = this.#take(4)
    return this.#view.getInt32(at, true)
  }

  f32(): number {
    const at = this.#take(4)
    return this.#view.getFloat32(at, true)
  }

  f64(littleEndian = true): number {
    const at = this.#take(8)
    return this.#view.getFloat64(at, littleEndian)
  }

  u64(): bigint {
    const at = this.#take(8)
    return this.#view.getBigUint64(at, true)
  }

  i64(): bigint {
    const at = this.#take(8)
    return this.#view.getBigInt64(at, true)
  }

  /** A 64-bit count or offset as a number. @throws M4Error `FORMAT_INVALID` when it is larger than the file could need. */
  size64(what: string): number {
    const value = this.u64()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.fail(`${what} is ${value}, more than any file holds`)
    return Number(value)
  }

  /** A copy of the next `length` bytes. */
  bytes(length: number): Uint8Array {
    this.#need(length)
    if (length > WINDOW_BYTES) {
      const out = this.source.read(this.offset, length)
      this.offset += length
      return out
    }
    const at = this.#take(length)
    return this.#window.slice(at, at + length)
  }

  /** UTF-8 text of `length` bytes. @throws M4Error `FORMAT_INVALID` when it is not UTF-8. */
  text(length: number): string {
    const text = decodeUtf8(this.bytes(length))
    if (text === undefined) throw this.fail(`a string of ${length} bytes is not UTF-8`)
    return text
  }

  /** Text up to the next newline, which is consumed; at most `limit` bytes. */
  line(limit: number): string {
    const bytes: number[] = []
    for (let byte = this.u8(); byte !== 0x0a; byte = this.u8()) {
      if (bytes.push(byte) > limit) throw this.fail(`a line is longer than ${limit} bytes`)
    }
    const text = decodeUtf8(Uint8Array.from(bytes))
    if (text === undefined) throw this.fail('a line is not UTF-8')
    return text
  }

  /** `count` items of at least `itemBytes` each are still to come. @throws M4Error `FORMAT_INVALID` when the rest is too short for that. */
  assertRoom(count: number, itemBytes: number, what: string): void {
    if (!(count >= 0) || count * itemBytes > this.remaining)
      throw this.fail(
        `${count} ${what} are announced, the rest of the file has room for ${Math.floor(this.remaining / itemBytes)}`,
      )
  }

  #need(length: number): void {
    if (!(length >= 0) || length > this.remaining)
      throw this.fail(
        `${length} bytes wanted, ${Math.max(0, this.remaining)} are left`,
        'The file is truncated or damaged.',
      )
  }

  /** Position in the window of the next `length` bytes, which are consumed. */
  #take(length: number): number {
    this.#need(length)
    const at = this.offset - this.#start
    if (at >= 0 && at + length <= this.#window.length) {
      this.offset += length
      return at
    }
    this.#start = this.offset
    this.#window = this.source.read(this.offset, Math.min(Math.max(WINDOW_BYTES, length), this.remaining))
    this.#view = new DataView(this.#window.buffer, this.#window.byteOffset, this.#window.byteLength)
    this.offset += length
    return 0
  }
}

/** UTF-8 text, or undefined when the bytes are something else. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}

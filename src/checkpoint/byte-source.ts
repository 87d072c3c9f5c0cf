/** Random access to bytes, the same over a file (`file.ts`) and over memory (browser, tests); every allocation of a reader is checked here. */

import { M4Error } from '../core/errors.js'

/** Bytes that can be read anywhere. Reads are synchronous: checkpoints are read one tensor at a time by code that computes anyway. */
export interface ByteSource {
  /** What messages call it: the path, or `<memory>`. */
  readonly name: string
  readonly size: number
  /** A fresh copy of `length` bytes. @throws M4Error `FORMAT_INVALID` outside the source, `DISPOSED`, `IO` */
  read(offset: number, length: number): Uint8Array
  dispose(): void
}

type AllocationListener = (byteLength: number) => void
let listener: AllocationListener | undefined

/** Reports every allocation that a reader makes until the returned function is called; the fuzz tests hold readers to their file's size. */
export function watchAllocations(onAllocation: AllocationListener): () => void {
  listener = onAllocation
  return () => {
    listener = undefined
  }
}

/**
 * The one way in which readers take memory whose size a file states.
 * @throws M4Error `FORMAT_INVALID` when `byteLength` is not a whole number in `[0, limit]`.
 */
export function allocateBytes(byteLength: number, limit: number, what: string): Uint8Array {
  if (!Number.isSafeInteger(byteLength) || byteLength < 0 || byteLength > limit)
    throw new M4Error('FORMAT_INVALID', `${what}: ${byteLength} bytes asked for, at most ${limit} are possible.`, {
      hint: 'The file is damaged; fetch it again.',
      details: { byteLength, limit },
    })
  listener?.(byteLength)
  return new Uint8Array(new ArrayBuffer(byteLength)) // not on the JavaScript heap: see `allocate` in core/dtypes
}

/** @throws M4Error `FORMAT_INVALID` unless `[offset, offset + length)` lies inside a source of `size` bytes. */
export function assertInside(name: string, size: number, offset: number, length: number): void {
  const fine = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!fine || offset + length > size)
    throw invalid(name, offset, `${length} bytes wanted, the file has ${size}`, 'It is truncated or damaged.')
}

/** Bytes in memory as a source. `bytes` is not copied and must not change while it is in use. */
export function memorySource(bytes: Uint8Array, name = '<memory>'): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read(offset, length) {
      assertInside(name, bytes.byteLength, offset, length)
      const out = allocateBytes(length, bytes.byteLength, name)
      out.set(bytes.subarray(offset, offset + length))
      return out
    },
    dispose() {},
  }
}

/** `FORMAT_INVALID` with the place in the file. */
export function invalid(name: string, offset: number, problem: string, next = 'Fetch the file again.'): M4Error {
  return new M4Error('FORMAT_INVALID', `${name}, byte ${offset}: ${problem}.`, {
    hint: next,
    details: { file: name, offset },
  })
}

/** `FORMAT_UNSUPPORTED`: the file is as its format says, but M4 does not read that part of the format. */
export function unsupported(name: string, problem: string, next: string): M4Error {
  return new M4Error('FORMAT_UNSUPPORTED', `${name}: ${problem}.`, { hint: next, details: { file: name } })
}

/** A read-only file kept open by its descriptor; nothing of it is held in memory. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { Handle } from '../core/disposal.js'
import { M4Error, wrapSystemError } from '../core/errors.js'
import { allocateBytes, assertInside, type ByteSource, invalid } from './byte-source.js'

/** One read system call takes at most 2 GiB. */
const MAX_READ_BYTES = 1 << 30

/** An open file. Handle kind `file`. */
export class FileSource extends Handle implements ByteSource {
  readonly #fd: number
  readonly name: string
  readonly size: number

  /** @throws M4Error `FILE_NOT_FOUND`, `IO` */
  constructor(path: string) {
    const { fd, size } = open(path)
    super('file')
    this.#fd = fd
    this.name = path
    this.size = size
  }

  read(offset: number, length: number): Uint8Array {
    this.assertLive(`Reading ${this.name}`)
    assertInside(this.name, this.size, offset, length)
    const out = allocateBytes(length, this.size, this.name)
    for (let done = 0; done < length; ) {
      const count = readSome(this.#fd, out, done, Math.min(MAX_READ_BYTES, length - done), offset + done, this.name)
      if (count === 0) throw invalid(this.name, offset + done, 'the file ended early: it became shorter while open')
      done += count
    }
    return out
  }

  protected release(): void {
    closeSync(this.#fd)
  }
}

function open(path: string): { fd: number; size: number } {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    throw wrapSystemError(error, `Opening ${path}`)
  }
  const stat = fstatSync(fd)
  if (stat.isFile()) return { fd, size: stat.size }
  closeSync(fd)
  throw new M4Error('FORMAT_INVALID', `${path} is not a regular file.`, {
    hint: 'Name a checkpoint file or its folder.',
  })
}

function readSome(fd: number, out: Uint8Array, at: number, length: number, position: number, name: string): number {
  try {
    return readSync(fd, out, at, length, position)
  } catch (error) {
    throw wrapSystemError(error, `Reading ${name}`)
  }
}

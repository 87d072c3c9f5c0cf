/** A file that grows at its end while its digest grows with it, so that a cut download goes on where the bytes end. */

import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { freeBytes } from '../../core/files.js'
import type { DiskAccess } from './types.js'

export const REAL_DISK: DiskAccess = {
  freeBytes,
  write: async (handle, bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
}

export interface GrowingFile {
  readonly path: string
  /** Bytes written and hashed. */
  readonly length: number
  /** @throws M4Error `DISK_FULL`, `IO`; what was written until then stays */
  append(bytes: Uint8Array): Promise<void>
  /** Starts anew at zero bytes. */
  restart(): Promise<void>
  /** Hex digest of all bytes so far. */
  digest(): string
  close(): Promise<void>
}

/** Opens `path`, made if missing, and hashes what it already holds. @throws M4Error `IO`, `ABORTED` */
export async function openGrowingFile(
  path: string,
  algorithm: 'sha256' | 'sha512',
  disk: DiskAccess,
  signal?: AbortSignal,
): Promise<GrowingFile> {
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o644)
  } catch (error) {
    throw wrapSystemError(error, `Opening ${path}`)
  }
  let hash: Hash = createHash(algorithm)
  let length = 0
  try {
    const buffer = Buffer.allocUnsafe(4 << 20)
    for (;;) {
      throwIfAborted(signal)
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, length)
      if (!bytesRead) break
      hash.update(buffer.subarray(0, bytesRead))
      length += bytesRead
    }
  } catch (error) {
    await handle.close()
    throw wrapSystemError(error, `Reading ${path}`)
  }
  return {
    path,
    get length() {
      return length
    },
    async append(bytes) {
      try {
        for (let done = 0; done < bytes.length; ) {
          const count = await disk.write(handle, bytes.subarray(done), length)
          hash.update(bytes.subarray(done, done + count))
          done += count
          length += count
        }
      } catch (error) {
        throw wrapSystemError(error, `Writing ${path}`)
      }
    },
    async restart() {
      await handle.truncate(0)
      hash = createHash(algorithm)
      length = 0
    },
    digest: () => hash.copy().digest('hex'),
    close: () => handle.close(),
  }
}

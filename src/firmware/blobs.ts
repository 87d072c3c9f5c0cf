/** Content-addressed files of an image under construction: written under a temporary name, named by their digest when complete. */

import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { M4Error, wrapSystemError } from '../core/errors.js'
import type { BlobName } from './manifest.js'

export interface BlobWriter {
  /** Appends; the chunk may be reused afterwards. @throws M4Error `DISK_FULL`, `IO` */
  write(chunk: Uint8Array): Promise<void>
  /** Completes the blob and gives its name; the same bytes give the same blob. */
  finish(): Promise<BlobName>
  /** Forgets what was written. */
  discard(): Promise<void>
}

export interface BlobStore {
  readonly sizes: ReadonlyMap<BlobName, number>
  add(bytes: Uint8Array | string): Promise<BlobName>
  writer(): Promise<BlobWriter>
}

/** Writes at `position`, returns the bytes written; replaced in tests that need a full disk. */
export type DiskWrite = (file: FileHandle, bytes: Uint8Array, position: number) => Promise<number>

const writeToDisk: DiskWrite = async (file, bytes, position) =>
  (await file.write(bytes, 0, bytes.length, position)).bytesWritten

/** A store in `folder`/blobs, which is created. @throws M4Error `IO` */
export async function createBlobStore(folder: string, write: DiskWrite = writeToDisk): Promise<BlobStore> {
  const blobs = join(folder, 'blobs')
  await mkdir(blobs, { recursive: true }).catch((error) => {
    throw wrapSystemError(error, `Creating ${blobs}`)
  })
  const sizes = new Map<BlobName, number>()

  async function writer(): Promise<BlobWriter> {
    const path = join(blobs, `.partial-${randomUUID()}`)
    const file = await open(path, 'wx').catch((error) => {
      throw wrapSystemError(error, `Creating ${path}`)
    })
    const hash = createHash('sha256')
    let bytes = 0
    const discard = async () => {
      await file.close().catch(() => undefined) // closed before
      await rm(path, { force: true })
    }
    return {
      async write(chunk) {
        try {
          for (let done = 0; done < chunk.length; ) done += await write(file, chunk.subarray(done), bytes + done)
        } catch (error) {
          await discard()
          throw wrapSystemError(error, 'Writing the image')
        }
        hash.update(chunk)
        bytes += chunk.length
      },
      async finish() {
        const name: BlobName = `sha256-${hash.digest('hex')}`
        await file.sync()
        await file.close()
        await rename(path, join(blobs, name))
        sizes.set(name, bytes)
        return name
      },
      discard,
    }
  }

  return {
    sizes,
    writer,
    async add(content) {
      const blob = await writer()
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      if (bytes.length === 0) throw new M4Error('FORMAT_INVALID', 'An image holds no empty blobs.')
      await blob.write(bytes)
      return blob.finish()
    },
  }
}

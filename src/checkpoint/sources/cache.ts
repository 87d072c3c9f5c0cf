/**
 * The cache folder: `blobs/sha256-<hex>` are whole and verified, `partial/` holds what is on its way.
 * Nothing gets a name in `blobs/` before its digest was right.
 */

import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import { makeReadOnly, syncFolder } from '../../core/files.js'
import { sha256File } from '../../core/hash.js'
import type { PinnedFile } from './types.js'

export const blobPath = (home: string, sha256: string) => join(home, 'blobs', `sha256-${sha256}`)
export const partialPath = (home: string, key: string) => join(home, 'partial', key)

/** Makes the folders. @throws M4Error `IO` with the path and what to set */
export async function openCache(home: string): Promise<void> {
  try {
    await mkdir(join(home, 'blobs'), { recursive: true })
    await mkdir(join(home, 'partial'), { recursive: true })
  } catch (error) {
    const wrapped = wrapSystemError(error, `Making the cache folder ${home}`)
    if (wrapped.code !== 'IO') throw wrapped
    throw new M4Error('IO', wrapped.message, {
      hint: 'Set M4FM_HOME to a folder that you may write to.',
      details: wrapped.details,
      cause: error,
    })
  }
}

/** Path of the cached file, or undefined. A blob of the wrong size (or, with `rehash`, digest) is removed. */
export async function cached(
  home: string,
  file: PinnedFile,
  rehash: boolean,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const path = blobPath(home, file.sha256)
  const size = await sizeOf(path)
  if (size === undefined) return undefined
  if (size === file.bytes) {
    if (!rehash) return path
    if ((await sha256File(path, signal ? { signal } : {})) === file.sha256) return path
  }
  await rm(path, { force: true })
  return undefined
}

/** Size of a file, undefined where there is none. @throws M4Error `IO` */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw wrapSystemError(error, `Looking at ${path}`)
  }
}

/** Gives a verified file its final name; after a power cut it is there whole or not at all. */
export async function commit(home: string, verified: string, sha256: string): Promise<string> {
  const path = blobPath(home, sha256)
  try {
    const handle = await open(verified, 'r+')
    await handle.sync().finally(() => handle.close())
    await rename(verified, path)
    // Not before: after a crash in between, the next pull must be able to write to what is in partial/.
    await makeReadOnly(path)
    await syncFolder(join(home, 'blobs'))
    return path
  } catch (error) {
    throw wrapSystemError(error, `Storing ${path}`)
  }
}

/** `DIGEST_MISMATCH` for a file from `origin`. */
export function digestMismatch(origin: string, expected: string, got: string): M4Error {
  return new M4Error('DIGEST_MISMATCH', `${origin} is not the pinned file: expected ${expected}, got ${got}.`, {
    hint: 'Nothing of it was kept. Try again or use another mirror; if it stays so, the origin was changed or tampered with.',
    details: { origin, expected, got },
  })
}

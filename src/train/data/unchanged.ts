/** Data must stay the same while it is trained on: the digest that an adapter records would lie otherwise. */

import { stat } from 'node:fs/promises'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { sha256File } from '../../core/hash.js'
import type { DataFile, DataSet } from './samples.js'

/** Sets up to this size are hashed again at every check: some tools and file systems keep the time of a changed file. */
const SMALL_SET_BYTES = 64 << 20

/**
 * Compares size and time of every file with when the set was opened. A file whose time alone differs is hashed; so are all files
 * of a small set.
 * @throws M4Error `DIGEST_MISMATCH` for a file that changed, `FILE_NOT_FOUND` for one that is gone, `IO`, `ABORTED`
 */
export async function assertUnchanged({ files }: Pick<DataSet, 'files'>, signal?: AbortSignal): Promise<void> {
  const isSmall = files.reduce((sum, { bytes }) => sum + bytes, 0) <= SMALL_SET_BYTES
  for (const file of files) {
    throwIfAborted(signal)
    await assertSame(file, isSmall, signal)
  }
}

async function assertSame(file: DataFile, isSmall: boolean, signal: AbortSignal | undefined): Promise<void> {
  let now: { readonly size: number; readonly mtimeMs: number }
  try {
    now = await stat(file.path)
  } catch (error) {
    throw wrapSystemError(error, `Checking ${file.path}, which is trained on`)
  }
  if (now.size !== file.bytes) throw changed(file, `it had ${file.bytes} bytes and has ${now.size}`)
  if (now.mtimeMs === file.mtimeMs && !isSmall) return
  const sha256 = await sha256File(file.path, signal ? { signal } : {})
  if (sha256 !== file.sha256)
    throw changed(file, `its sha-256 was ${file.sha256.slice(0, 12)}… and is ${sha256.slice(0, 12)}…`)
}

const changed = ({ path }: DataFile, how: string) =>
  new M4Error('DIGEST_MISMATCH', `${path} changed while it was trained on: ${how}.`, {
    hint: 'Train again on the new data, or put the old file back and resume.',
    details: { path },
  })

/** Small folders that appear whole or not at all: written beside their place, synced, renamed. Node only. */

import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'
import { syncFolder, temporaryBeside } from '../core/files.js'
import { replaceFolder } from '../core/folders.js'

/** Writes at `position`, returns the bytes written; replaced in tests that need a full disk. */
export type DiskWrite = (file: FileHandle, bytes: Uint8Array, position: number) => Promise<number>

export const writeToDisk: DiskWrite = async (file, bytes, position) =>
  (await file.write(bytes, 0, bytes.length, position)).bytesWritten

/** What may be written over: a folder with the file `mark` and no other names, or an empty one. */
export interface Replaceable {
  readonly mark: string
  readonly names: readonly string[]
  /** For messages. */
  readonly what: string
}

export interface WriteFolderOptions {
  readonly replaces: Replaceable
  readonly write?: DiskWrite
}

/**
 * Writes `files` (plain names) as the folder `target`.
 * @throws M4Error `INVALID_REQUEST` when something else is in its place; `DISK_FULL`, `IO`: then `target` is as it was and
 *   nothing is left beside it
 */
export async function writeFolder(
  target: string,
  files: ReadonlyMap<string, Uint8Array>,
  { replaces, write = writeToDisk }: WriteFolderOptions,
): Promise<void> {
  const place = resolve(target)
  await requireReplaceable(place, replaces)
  const staging = temporaryBeside(place)
  try {
    await mkdir(dirname(place), { recursive: true })
    await mkdir(staging)
    for (const [name, bytes] of files) await writeSynced(join(staging, name), bytes, write)
    await syncFolder(staging)
    await replaceFolder(staging, place)
  } catch (error) {
    await rm(staging, { recursive: true, force: true }).catch(() => undefined)
    throw wrapSystemError(error, `Writing ${target}`)
  }
}

/** Nobody's work is deleted: a folder with a file that is not ours stays. @throws M4Error `INVALID_REQUEST`, `IO` */
async function requireReplaceable(place: string, { mark, names, what }: Replaceable): Promise<void> {
  let found: string[]
  try {
    found = await readdir(place)
  } catch (error) {
    const wrapped = wrapSystemError(error, `Listing ${place}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw wrapped
    throw inTheWay(place, `it is a file, no ${what}`)
  }
  const foreign = found.find((name) => !names.includes(name))
  if (foreign !== undefined) throw inTheWay(place, `it holds ${foreign}, which is no part of a ${what}`)
  if (found.length && !found.includes(mark)) throw inTheWay(place, `it has no ${mark}, so it is no ${what}`)
}

const inTheWay = (place: string, why: string) =>
  new M4Error('INVALID_REQUEST', `${place} is not written over: ${why}.`, {
    hint: 'Name another folder, or move that one away.',
    details: { path: place },
  })

async function writeSynced(path: string, bytes: Uint8Array, write: DiskWrite): Promise<void> {
  const file = await open(path, 'wx', 0o644)
  try {
    for (let done = 0; done < bytes.length; ) done += await write(file, bytes.subarray(done), done)
    await file.sync()
  } finally {
    await file.close()
  }
}

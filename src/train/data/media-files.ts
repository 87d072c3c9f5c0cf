/** Folders of media: what lies there, and the digest of each file. Files are hashed, never decoded. */

import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { sha256File, sha256Hex } from '../../core/hash.js'
import type { LongOperation } from '../../core/progress.js'
import type { FindingList } from './findings.js'
import type { DataFile } from './samples.js'

export const PICTURE_NAME = /\.(png|jpe?g|webp|ppm|gif)$/i
export const SOUND_NAME = /\.wav$/i
export const TABLE_NAME = /\.(csv|tsv)(\.gz)?$/i

/** Files that systems leave in folders; they say nothing about the data. */
const SYSTEM_NAME = /^(\.|Thumbs\.db$|desktop\.ini$|__MACOSX$)/i

/** Paths of all files below `folder`, `/` between parts, in order of their code units. Links are followed, once each. */
export async function filesBelow(folder: string, { signal }: LongOperation = {}): Promise<readonly string[]> {
  const found: string[] = []
  const seen = new Set<string>()
  const walk = async (below: string): Promise<void> => {
    throwIfAborted(signal)
    const here = join(folder, below)
    const real = await realpath(here)
    if (seen.has(real)) return
    seen.add(real)
    for (const entry of await readdir(here, { withFileTypes: true })) {
      if (SYSTEM_NAME.test(entry.name)) continue
      const path = below ? `${below}/${entry.name}` : entry.name
      const kind = entry.isSymbolicLink() ? await stat(join(folder, path)) : entry
      if (kind.isDirectory()) await walk(path)
      else if (kind.isFile()) found.push(path)
    }
  }
  try {
    await walk('')
  } catch (error) {
    throw wrapSystemError(error, `Listing ${folder}`)
  }
  return found.sort(byCodeUnit)
}

/** The same order on every machine, which `localeCompare` is not. */
export const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Read whole up to here: a stream costs more than a small picture. */
const WHOLE_BYTES = 4 << 20
const AT_ONCE = 8

/**
 * Facts and digest of each path, in their order; undefined where there is no such file. `paths` are absolute.
 * @throws M4Error `IO`, `ABORTED`
 */
export async function hashFiles(
  paths: readonly string[],
  { onProgress, signal }: LongOperation = {},
): Promise<readonly (DataFile | undefined)[]> {
  const files = new Array<DataFile | undefined>(paths.length)
  let next = 0
  let done = 0
  const work = async () => {
    while (next < paths.length) {
      throwIfAborted(signal)
      const i = next++
      files[i] = await hashFile(paths[i]!, signal)
      onProgress?.({ task: 'read data', done: ++done, total: paths.length, unit: 'items' })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return files
}

async function hashFile(path: string, signal: AbortSignal | undefined): Promise<DataFile | undefined> {
  try {
    const facts = await stat(path)
    if (!facts.isFile()) return undefined
    const whole = facts.size <= WHOLE_BYTES ? await readFile(path) : undefined
    const sha256 = whole ? sha256Hex(whole) : await sha256File(path, signal ? { signal } : {})
    return { path, bytes: whole?.length ?? facts.size, mtimeMs: facts.mtimeMs, sha256 }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw wrapSystemError(error, `Reading ${path}`)
  }
}

/** Hashes what samples name. Samples whose file is missing or empty are left out and reported. */
export async function withFiles<S extends { readonly path: string; readonly row?: number }>(
  samples: readonly S[],
  relative: (path: string) => string,
  findings: FindingList,
  options: LongOperation,
): Promise<{ readonly samples: S[]; readonly files: DataFile[] }> {
  const paths = [...new Set(samples.map(({ path }) => path))].sort(byCodeUnit)
  const hashed = await hashFiles(paths, options)
  const files = new Map<string, DataFile>()
  const empty = new Set<string>()
  for (const [i, file] of hashed.entries()) {
    if (file?.bytes === 0) empty.add(paths[i]!)
    else if (file) files.set(paths[i]!, file)
  }
  const kept = samples.filter(({ path, row }) => {
    if (files.has(path)) return true
    const place = { file: relative(path), ...(row === undefined ? {} : { row }) }
    const where = row === undefined ? '' : `Row ${row}: `
    if (empty.has(path)) findings.add('empty-file', `${where}${relative(path)} has no bytes; left out.`, place)
    else findings.add('missing-file', `${where}${relative(path)} does not exist.`, place)
    return false
  })
  return { samples: kept, files: [...files.values()] }
}

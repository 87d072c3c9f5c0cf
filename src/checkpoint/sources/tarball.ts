/** Members of an npm tarball (gzip + tar) into the cache, several in one pass, each verified while it streams. */

import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import tar from 'tar-stream'
import { isM4Error, M4Error, nearestNames, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { commit, digestMismatch, partialPath } from './cache.js'
import { openGrowingFile } from './disk.js'
import type { Workplace } from './download.js'

export interface Member {
  /** Path below the tarball's top folder, as npm itself strips it. */
  readonly path: string
  readonly sha256: string
  readonly bytes: number
}

/**
 * Unpacks the wanted members and gives each its place in `blobs/`. The tarball must have been verified before. Only the
 * member with digest `required` must be there and be right; the others come along if they can.
 * @throws M4Error `FILE_NOT_FOUND` (no such member, with the nearest), `DIGEST_MISMATCH`, `FORMAT_INVALID`, `DISK_FULL`, `ABORTED`
 */
export async function unpackMembers(
  tarball: string,
  origin: string,
  required: string,
  members: readonly Member[],
  place: Workplace,
): Promise<void> {
  const open = new Set(members)
  const total = members.reduce((sum, member) => sum + member.bytes, 0)
  const seen: string[] = []
  let done = 0
  const onBytes = (count: number) => {
    done += count
    place.options.onProgress?.({ task: `unpack ${origin}`, done, total, unit: 'bytes' })
  }
  const extract = tar.extract()
  const stop = new AbortController()
  const feeding = pipeline(
    createReadStream(tarball, { highWaterMark: 1 << 20 }),
    createGunzip({ chunkSize: 1 << 18 }),
    extract,
    { signal: stop.signal },
  )
  // Its failure also ends the loop below, which reports it; without this it would count as unhandled in between.
  feeding.catch(() => undefined)
  try {
    for await (const entry of extract) {
      throwIfAborted(place.options.signal)
      const path = entry.header.name.replace(/^[^/]*\//, '')
      const member = [...open].find((wanted) => wanted.path === path)
      if (entry.header.type !== 'file' || !member) {
        if (entry.header.type === 'file') seen.push(path)
        entry.resume()
        continue
      }
      open.delete(member)
      try {
        if (entry.header.size !== member.bytes)
          throw digestMismatch(`${origin}/${path}`, `${member.bytes} bytes`, `${entry.header.size} bytes`)
        await storeMember(entry as unknown as AsyncIterable<Uint8Array>, member, `${origin}/${path}`, place, onBytes)
      } catch (error) {
        if (member.sha256 === required || !isM4Error(error, 'DIGEST_MISMATCH')) throw error
        place.warn(error.message)
        entry.resume()
      }
      if (!open.size) break
    }
    if (open.size) await feeding
  } catch (error) {
    throw isM4Error(error) ? error : unpackError(error, origin)
  } finally {
    stop.abort()
    await feeding.catch(() => undefined)
  }
  for (const { path, sha256 } of open) {
    if (sha256 !== required) continue
    const near = nearestNames(path, seen)
    throw new M4Error('FILE_NOT_FOUND', `${origin} has no file ${path}.`, {
      hint: near.length ? `Nearest: ${near.join(', ')}.` : 'Check the path in the recipe.',
      details: { origin, path },
    })
  }
}

async function storeMember(
  entry: AsyncIterable<Uint8Array>,
  member: Member,
  origin: string,
  place: Workplace,
  onBytes: (count: number) => void,
): Promise<void> {
  const path = partialPath(place.home, `sha256-${member.sha256}.unpacking`)
  await rm(path, { force: true })
  try {
    const file = await openGrowingFile(path, 'sha256', place.disk)
    try {
      for await (const chunk of entry) {
        throwIfAborted(place.options.signal)
        await file.append(chunk)
        onBytes(chunk.length)
      }
      const got = file.digest()
      if (got !== member.sha256) throw digestMismatch(origin, `sha256 ${member.sha256}`, got)
    } finally {
      await file.close()
    }
    await commit(place.home, path, member.sha256)
  } catch (error) {
    // Unlike a download this cannot be resumed, so nothing is worth keeping.
    await rm(path, { force: true })
    throw error
  }
}

function unpackError(error: unknown, origin: string): M4Error {
  const { code, message } = error as NodeJS.ErrnoException
  if (code && !code.startsWith('Z_')) return wrapSystemError(error, `Unpacking ${origin}`)
  return new M4Error('FORMAT_INVALID', `${origin} is not a readable tarball: ${message}.`, {
    hint: 'Its digest is the pinned one, so the recipe pins a wrong file: correct it.',
    cause: error,
  })
}

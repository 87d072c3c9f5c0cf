/** One URL into one verified file: resumes with Range and If-Range (RFC 9110 §13.1.5, §14), retries, checks size and digest. */

import { readFile, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { isM4Error, M4Error, throwIfAborted } from '../../core/errors.js'
import { atomicWriteFile, requireFreeBytes } from '../../core/files.js'
import { digestMismatch, partialPath } from './cache.js'
import { type GrowingFile, openGrowingFile } from './disk.js'
import { connectionError, type HttpRequest, httpGet, networkError } from './http.js'
import type { DiskAccess, PullOptions } from './types.js'

export interface Download {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Name of the unfinished file in `partial/`: one for each wanted digest, shared by all mirrors of it. */
  readonly key: string
  readonly algorithm: 'sha256' | 'sha512'
  /** Absent for a file that nobody pinned. */
  readonly digest?: string
  /** Known for pinned files; a tarball is pinned by its digest alone. */
  readonly bytes?: number
  /** Bytes that will be needed beside the download itself, for unpacking. */
  readonly extraBytes?: number
  readonly task: string
  readonly hint?: string | undefined
}

export interface Workplace {
  readonly home: string
  readonly options: PullOptions
  readonly env: NodeJS.ProcessEnv
  readonly workingFolder: string
  readonly disk: DiskAccess
  readonly warn: (message: string) => void
}

/** What is known about an unfinished file, kept beside it as `<key>.json`. */
interface Trail {
  readonly url: string
  readonly validator?: string
  readonly total?: number
}

const BATCH_BYTES = 1 << 20
const MAX_DELAY_MS = 30_000
/** A server that asks for a longer pause than this is given up for the next mirror. */
const MAX_RETRY_AFTER_MS = 120_000
const RETRY_STATUS = new Set([408, 425, 429, 500, 502, 503, 504])

/**
 * Path of the file in `partial/`, whole and verified; the caller moves it on, then calls `forget`.
 * @throws M4Error `NETWORK`, `FILE_NOT_FOUND` (404, 410), `DIGEST_MISMATCH`, `DISK_FULL`, `ABORTED`, `IO`
 */
export async function download(wanted: Download, place: Workplace): Promise<string> {
  const path = partialPath(place.home, wanted.key)
  const { signal } = place.options
  for (let fresh = false; ; fresh = true) {
    const file = await openGrowingFile(path, wanted.algorithm, place.disk, signal)
    let joined: boolean
    let got: string
    try {
      joined = await fetchWithRetries(wanted, file, place)
      got = file.digest()
    } catch (error) {
      await file.close()
      // A file that a server lied about must not poison the next attempt.
      if (isM4Error(error, 'DIGEST_MISMATCH')) await forget(path)
      throw error
    }
    await file.close()
    if (wanted.digest === undefined || got === wanted.digest) return path
    await forget(path)
    if (!joined || fresh) throw digestMismatch(wanted.url, `${wanted.algorithm} ${wanted.digest}`, got)
    // Joined from pieces of different times or mirrors: one of them may have been wrong, so once more in one piece.
    place.warn(`${wanted.task}: the resumed file is not the pinned one, starting again from zero.`)
  }
}

/** Removes what is left in `partial/` of a download. */
export async function forget(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(`${path}.json`, { force: true })
}

/** @returns whether the file was joined from several responses */
async function fetchWithRetries(wanted: Download, file: GrowingFile, place: Workplace): Promise<boolean> {
  const { attempts = 5, firstDelayMs = 500 } = place.options.retry ?? {}
  const { signal } = place.options
  let joined = file.length > 0
  let furthest = file.length
  for (let failures = 0; ; ) {
    throwIfAborted(signal)
    try {
      const total = await fetchRest(wanted, file, place)
      if (total.restarted) joined = false
      return joined
    } catch (error) {
      if (signal?.aborted) throw connectionError(requestFor(wanted, place, {}), error)
      if (!isM4Error(error) || !error.details.retryable) throw error
      // Only bytes never had before count as progress: a server that cuts at the same place must not be asked for ever.
      failures = file.length > furthest ? 1 : failures + 1
      furthest = Math.max(furthest, file.length)
      if (failures >= attempts) throw error
      const asked = error.details.retryAfterMs as number | undefined
      const delayMs = asked ?? Math.min(MAX_DELAY_MS, firstDelayMs * 2 ** (failures - 1))
      joined = file.length > 0
      place.warn(`${wanted.task}: ${error.message.split('. ')[0]}; trying again in ${(delayMs / 1000).toFixed(1)} s.`)
      await sleep(delayMs, undefined, signal ? { signal } : {}).catch(() => throwIfAborted(signal))
    }
  }
}

function requestFor(wanted: Download, place: Workplace, headers: Record<string, string>): HttpRequest {
  return {
    url: wanted.url,
    headers: { ...wanted.headers, ...headers },
    env: place.env,
    idleTimeoutMs: place.options.retry?.idleTimeoutMs ?? 60_000,
    signal: place.options.signal,
  }
}

/** One request for the bytes still missing, read to its end. */
async function fetchRest(wanted: Download, file: GrowingFile, place: Workplace): Promise<{ restarted: boolean }> {
  let trail = file.length ? await readTrail(file.path) : undefined
  const known = wanted.bytes ?? trail?.total
  if (known !== undefined && file.length > known) {
    await file.restart()
    trail = undefined
  }
  if (known !== undefined && file.length === known && known > 0) return { restarted: false }
  const from = file.length
  const request = requestFor(wanted, place, from ? rangeHeaders(from, wanted.url, trail) : {})
  const response = await httpGet(request)
  const status = response.statusCode ?? 0
  try {
    if (status === 416 && from) {
      if (response.headers['content-range'] === `bytes */${from}`) return { restarted: false }
      await file.restart()
      throw networkError(wanted.url, `no bytes after ${from}`, { retryable: true })
    }
    if (status !== 200 && status !== 206) throw statusError(wanted, status, response.headers['retry-after'])
    if (status === 200 && from) {
      place.warn(`${wanted.task}: the server does not resume this file, starting again from zero.`)
      await file.restart()
    }
    const total = totalBytes(status, response.headers, from, wanted)
    if (wanted.bytes !== undefined && total !== undefined && total !== wanted.bytes)
      throw digestMismatch(wanted.url, `${wanted.bytes} bytes`, `${total} bytes`)
    const validator = strongValidator(response.headers)
    await writeTrail(file.path, {
      url: wanted.url,
      ...(validator ? { validator } : {}),
      ...(total === undefined ? {} : { total }),
    })
    if (total !== undefined)
      await requireFreeBytes(
        place.home,
        total - file.length + (wanted.extraBytes ?? 0),
        `Downloading ${wanted.url.split('?')[0]}`,
        place.disk.freeBytes,
      )
    await readBody(response, wanted, file, total, place, request)
    return { restarted: status === 200 }
  } finally {
    response.destroy()
  }
}

async function readBody(
  response: AsyncIterable<Uint8Array>,
  wanted: Download,
  file: GrowingFile,
  total: number | undefined,
  place: Workplace,
  request: HttpRequest,
): Promise<void> {
  const report = () =>
    place.options.onProgress?.({
      task: wanted.task,
      done: file.length,
      ...(total === undefined ? {} : { total }),
      unit: 'bytes',
    })
  report()
  let waiting: Uint8Array[] = []
  let waitingBytes = 0
  const flush = async () => {
    if (!waitingBytes) return
    const bytes = waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting)
    waiting = []
    waitingBytes = 0
    await file.append(bytes)
    report()
  }
  try {
    for await (const chunk of response) {
      waiting.push(chunk)
      waitingBytes += chunk.length
      if (total !== undefined && file.length + waitingBytes > total)
        throw digestMismatch(wanted.url, `${total} bytes`, 'more')
      if (waitingBytes >= BATCH_BYTES) await flush()
    }
  } catch (error) {
    // What came before the cut is good; a failure to write it is the more urgent news.
    if (!isM4Error(error)) await flush()
    throw connectionError(request, error)
  }
  await flush()
  if (total !== undefined && file.length < total)
    throw networkError(wanted.url, `cut off after ${file.length} of ${total} bytes`, { retryable: true })
}

function rangeHeaders(from: number, url: string, trail: Trail | undefined): Record<string, string> {
  // The validator of one mirror says nothing to another; there, the digest at the end decides.
  const validator = trail?.url === url ? trail.validator : undefined
  return { range: `bytes=${from}-`, ...(validator ? { 'if-range': validator } : {}) }
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

function strongValidator(headers: Headers): string | undefined {
  const etag = headers.etag as string | undefined
  if (etag) return etag.startsWith('W/') ? undefined : etag
  return headers['last-modified'] as string | undefined
}

function totalBytes(status: number, headers: Headers, from: number, wanted: Download): number | undefined {
  if (status === 206) {
    const match = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(String(headers['content-range'] ?? ''))
    if (!match || Number(match[1]) !== from)
      throw networkError(wanted.url, `asked for bytes from ${from}, got "${headers['content-range'] ?? 'no range'}"`, {
        retryable: false,
      })
    return match[2] === '*' ? wanted.bytes : Number(match[2])
  }
  return headers['content-length'] === undefined ? wanted.bytes : Number(headers['content-length'])
}

function statusError(wanted: Download, status: number, retryAfter: string | undefined): M4Error {
  const url = wanted.url.split('?')[0]!
  if (status === 404 || status === 410)
    return new M4Error('FILE_NOT_FOUND', `${url} does not exist (status ${status}).`, {
      hint: 'Check the address and version in the recipe, or add another mirror.',
      details: { url, status },
    })
  const retryAfterMs = parseRetryAfter(retryAfter)
  return networkError(wanted.url, `status ${status}`, {
    retryable: RETRY_STATUS.has(status) && (retryAfterMs ?? 0) <= MAX_RETRY_AFTER_MS,
    details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
    hint:
      status === 401 || status === 403
        ? (wanted.hint ?? 'The server asks for a sign-in; use another mirror.')
        : undefined,
  })
}

/** Seconds or an HTTP date, as ms from now. */
export function parseRetryAfter(value: string | undefined, nowMs = Date.now()): number | undefined {
  if (!value) return undefined
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs)
}

async function readTrail(path: string): Promise<Trail | undefined> {
  try {
    return JSON.parse(await readFile(`${path}.json`, 'utf8')) as Trail
  } catch {
    return undefined // lost with a crash: resuming works without it, the digest decides
  }
}

const writeTrail = (path: string, trail: Trail) => atomicWriteFile(`${path}.json`, JSON.stringify(trail))

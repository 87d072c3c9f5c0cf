/** Files that survive a crash and a second process: the home folder, atomic writes, free space, lock files, links. Node only. */

import { randomUUID } from 'node:crypto'
import { constants, readFileSync } from 'node:fs'
import {
  chmod,
  copyFile,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  utimes,
} from 'node:fs/promises'
import { homedir, hostname } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { M4Error, throwIfAborted, wrapSystemError } from './errors.js'

/**
 * Where M4 keeps weights, images and slots: `M4FM_HOME`, else `%LOCALAPPDATA%\m4fm` on Windows, else
 * `$XDG_CACHE_HOME/m4fm`, else `~/.cache/m4fm`. The folder is not created.
 */
export function m4fmHome(env: NodeJS.ProcessEnv = process.env, platform: NodeJS.Platform = process.platform): string {
  if (env.M4FM_HOME) return resolve(env.M4FM_HOME)
  const user = env.HOME || env.USERPROFILE || homedir()
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(user, 'AppData', 'Local'), 'm4fm')
  // The XDG base directory specification: a relative path there is invalid and must be ignored.
  const cache = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : join(user, '.cache')
  return join(cache, 'm4fm')
}

/** A name beside `path`, on the same file system, that no other process or call uses. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomUUID().slice(0, 8)}.tmp`)
}

/** Removes what calls of `temporaryBeside(path)` left when they died. Only while nobody else may be writing there: hold a lock. */
export async function removeTemporariesBeside(path: string): Promise<void> {
  const folder = dirname(path)
  const names = await readdir(folder).catch(() => []) // no folder, no leftovers
  const prefix = `.${basename(path)}.`
  for (const name of names)
    if (name.startsWith(prefix) && /^\d+-[0-9a-f]{8}\.tmp$/.test(name.slice(prefix.length)))
      await rm(join(folder, name), { recursive: true, force: true })
}

/** Makes a rename in `folder` survive a power cut. Windows has no such call and needs none. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Writes a whole file or nothing: temporary file, fsync, rename, fsync of the folder. Makes missing folders.
 * @throws M4Error `DISK_FULL`, `IO`
 */
export async function atomicWriteFile(
  path: string,
  data: string | Uint8Array,
  options: { readonly mode?: number } = {},
): Promise<void> {
  const temporary = temporaryBeside(path)
  let handle: FileHandle | undefined
  try {
    await mkdir(dirname(path), { recursive: true })
    handle = await open(temporary, 'wx', options.mode ?? 0o644)
    await handle.writeFile(data)
    await handle.sync()
    await handle.close()
    handle = undefined
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await handle?.close().catch(() => undefined)
    await rm(temporary, { force: true }).catch(() => undefined)
    throw wrapSystemError(error, `Writing ${path}`)
  }
}

/** Bytes that this user can still write at `path`, or at its nearest existing parent. @throws M4Error `IO` */
export async function freeBytes(path: string): Promise<number> {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    try {
      const { bavail, bsize } = await statfs(folder)
      return bavail * bsize
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(folder) === folder)
        throw wrapSystemError(error, `Asking for the free space at ${folder}`)
    }
  }
}

/** @throws M4Error `DISK_FULL` with `details.neededBytes` and `details.availableBytes` */
export async function requireFreeBytes(
  path: string,
  neededBytes: number,
  doing: string,
  measure: (path: string) => Promise<number> = freeBytes,
): Promise<void> {
  const availableBytes = await measure(path)
  if (availableBytes >= neededBytes) return
  throw new M4Error(
    'DISK_FULL',
    `${doing}: needs ${neededBytes} bytes at ${path}, ${availableBytes} are free (${neededBytes - availableBytes} too few).`,
    {
      hint: 'Free some space or set M4FM_HOME to a larger disk, then run the same command again.',
      details: { neededBytes, availableBytes, path },
    },
  )
}

/** Link errors after which copying is right: other disk, no links on this file system, too many links. */
const COPY_INSTEAD = new Set(['EXDEV', 'EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL'])

/**
 * Gives `source` a second name `target` without copying where the file system can (hard link, else copy-on-write clone,
 * else copy). Replaces `target` atomically. A linked file shares its bytes: use only for files that never change.
 * @returns how it was done. @throws M4Error `FILE_NOT_FOUND`, `DISK_FULL`, `IO`
 */
export async function linkOrCopy(source: string, target: string): Promise<'linked' | 'copied'> {
  const temporary = temporaryBeside(target)
  let how: 'linked' | 'copied' = 'linked'
  try {
    await mkdir(dirname(target), { recursive: true })
    try {
      await link(source, temporary)
    } catch (error) {
      if (!COPY_INSTEAD.has((error as NodeJS.ErrnoException).code ?? '')) throw error
      how = 'copied'
      await copyFile(source, temporary, constants.COPYFILE_FICLONE)
      const handle = await open(temporary, 'r')
      await handle.sync().finally(() => handle.close())
    }
    await rename(temporary, target)
    await syncFolder(dirname(target))
    return how
  } catch (error) {
    throw wrapSystemError(error, `Linking ${source} to ${target}`)
  } finally {
    // Also after success: renaming one of two names of the same file does nothing and leaves both.
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

/** Marks a finished file as never to be written again; Windows would refuse to delete it later, so not there. */
export async function makeReadOnly(path: string): Promise<void> {
  if (process.platform !== 'win32') await chmod(path, 0o444)
}

/** Who holds a lock, as written in the lock file. */
export interface LockHolder {
  readonly pid: number
  readonly host: string
  /** Tells this process from a later one with the same pid; kernel clock ticks since boot, Linux only. */
  readonly startTicks?: string
  readonly token: string
}

export interface LockOptions {
  /** How long to wait for another holder, in ms. 0 (default): fail at once. `Infinity`: until it ends. */
  readonly waitMs?: number
  /** A lock of another machine (shared folder) counts as left behind after this long without a sign of life. */
  readonly staleMs?: number
  readonly signal?: AbortSignal | undefined
  /** Called once when somebody else holds the lock and this call starts to wait. */
  readonly onWait?: (holder: LockHolder | undefined) => void
}

export interface FileLock extends AsyncDisposable {
  readonly path: string
  /** Removes the lock file, if it is still ours. Safe to call twice. */
  release(): Promise<void>
}

const POLL_MS = 100
/** A holder writes its name right after creating the file; one without a name for this long has died in between. */
const NAMELESS_MS = 5_000
const held = new Set<string>()

/**
 * Takes a lock file (`O_EXCL`, pid and host inside). One left behind by a process that is gone is taken over.
 * Two calls in one process exclude each other too.
 * @throws M4Error `LOCKED` naming the holder, `ABORTED`, `IO`
 */
export async function acquireLock(path: string, options: LockOptions = {}): Promise<FileLock> {
  const staleMs = options.staleMs ?? 120_000
  const token = randomUUID()
  const self = processStat(process.pid)
  const me: LockHolder = { pid: process.pid, host: hostname(), token, ...(self ? { startTicks: self.startTicks } : {}) }
  const deadline = Date.now() + (options.waitMs ?? 0)
  let told = false
  await mkdir(dirname(path), { recursive: true }).catch((error) => {
    throw wrapSystemError(error, `Making the folder of ${path}`)
  })
  for (;;) {
    throwIfAborted(options.signal)
    if (await createLock(path, me)) return startLock(path, token, staleMs)
    const holder = readHolder(path)
    if (await isStale(path, holder, staleMs)) {
      await removeStale(path, staleMs)
      continue
    }
    if (Date.now() >= deadline)
      throw new M4Error(
        'LOCKED',
        `${path} is held by ${holder ? `process ${holder.pid} on ${holder.host}` : 'a process that is just starting'}.`,
        {
          hint: 'Wait until it has finished or stop it; if no such process exists, delete that lock file.',
          details: { path, ...(holder ? { pid: holder.pid, host: holder.host } : {}) },
        },
      )
    if (!told) options.onWait?.(holder)
    told = true
    await new Promise((done) => setTimeout(done, POLL_MS))
  }
}

async function createLock(path: string, me: LockHolder): Promise<boolean> {
  let handle: FileHandle
  try {
    handle = await open(path, 'wx')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // Windows answers EPERM while the old lock is being deleted.
    if (code === 'EEXIST' || (code === 'EPERM' && process.platform === 'win32')) return false
    throw wrapSystemError(error, `Locking ${path}`)
  }
  held.add(me.token)
  try {
    await handle.writeFile(JSON.stringify(me))
  } catch (error) {
    held.delete(me.token)
    await rm(path, { force: true })
    throw wrapSystemError(error, `Locking ${path}`)
  } finally {
    await handle.close()
  }
  return true
}

function startLock(path: string, token: string, staleMs: number): FileLock {
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => undefined)
  }, staleMs / 4)
  beat.unref()
  const release = async () => {
    clearInterval(beat)
    if (!held.has(token)) return
    if (readHolder(path)?.token === token) await rm(path, { force: true })
    held.delete(token)
  }
  return { path, release, [Symbol.asyncDispose]: release }
}

function readHolder(path: string): LockHolder | undefined {
  try {
    const holder = JSON.parse(readFileSync(path, 'utf8')) as LockHolder
    return typeof holder?.pid === 'number' && typeof holder.host === 'string' ? holder : undefined
  } catch {
    // Gone, or not written yet: `isStale` tells these by age.
    return undefined
  }
}

async function isStale(path: string, holder: LockHolder | undefined, staleMs: number): Promise<boolean> {
  let ageMs: number
  try {
    ageMs = Date.now() - (await stat(path)).mtimeMs
  } catch {
    return false // released meanwhile: the next attempt to create it decides
  }
  if (!holder) return ageMs > NAMELESS_MS
  if (holder.host !== hostname()) return ageMs > staleMs
  if (holder.pid === process.pid) return !held.has(holder.token)
  if (!isAlive(holder.pid)) return true
  const now = processStat(holder.pid)
  if (!now || holder.startTicks === undefined) return false
  // A killed process whose parent has not collected it yet still answers to its pid.
  return now.state === 'Z' || now.state === 'X' || now.startTicks !== holder.startTicks
}

/** Only one of several waiters may remove a dead lock: the second would remove the lock that the first has just taken. */
async function removeStale(path: string, staleMs: number): Promise<void> {
  const guard = `${path}.takeover`
  try {
    await (await open(guard, 'wx')).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw wrapSystemError(error, `Locking ${path}`)
    const made = await stat(guard).catch(() => undefined)
    if (made && Date.now() - made.mtimeMs > NAMELESS_MS) await rm(guard, { force: true })
    await new Promise((done) => setTimeout(done, POLL_MS))
    return
  }
  try {
    if (await isStale(path, readHolder(path), staleMs)) await rm(path, { force: true })
  } finally {
    await rm(guard, { force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Linux only. The start time matters because pids come back for other programs after a reboot or in a restarted container. */
function processStat(pid: number): { readonly state: string; readonly startTicks: string } | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // proc(5): fields 3 and 22; field 2, the name, may hold spaces and brackets.
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0]!, startTicks: fields[19]! }
  } catch {
    return undefined
  }
}

/** Files that must survive crashes and neighbours: home, atomic writes, locks, links, free space. */

import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { acquireLock, atomicWriteFile, freeBytes, linkOrCopy, m4fmHome, requireFreeBytes } from './files.js'

let folder: string
let lockPath: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-files-'))
  lockPath = join(folder, 'x.lock')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('home', () => {
  test('M4FM_HOME, then the cache folder of the system', () => {
    expect(m4fmHome({ M4FM_HOME: 'rel' }, 'linux')).toBe(resolve('rel'))
    expect(m4fmHome({ XDG_CACHE_HOME: '/c', HOME: '/h' }, 'linux')).toBe(join('/c', 'm4fm'))
    expect(m4fmHome({ XDG_CACHE_HOME: 'relative', HOME: '/h' }, 'linux')).toBe(join('/h', '.cache', 'm4fm'))
    expect(m4fmHome({ HOME: '/h' }, 'darwin')).toBe(join('/h', '.cache', 'm4fm'))
    expect(m4fmHome({ LOCALAPPDATA: '/l', HOME: '/h' }, 'win32')).toBe(join('/l', 'm4fm'))
  })
})

describe('atomicWriteFile', () => {
  test('makes folders, replaces, leaves no temporary file', async () => {
    const path = join(folder, 'a', 'b.json')
    await atomicWriteFile(path, 'one')
    await atomicWriteFile(path, new Uint8Array([50]))
    expect(readFileSync(path, 'utf8')).toBe('2')
    expect(readdirSync(join(folder, 'a'))).toEqual(['b.json'])
  })

  test('a failure keeps the old file and leaves nothing behind', async () => {
    await mkdir(join(folder, 'taken', 'full'), { recursive: true })
    await expect(atomicWriteFile(join(folder, 'taken'), 'x')).rejects.toMatchObject({ code: 'IO' })
    expect(readdirSync(folder)).toEqual(['taken'])
  })
})

describe('free space', () => {
  test('is measured at the nearest folder that exists', async () => {
    expect(await freeBytes(join(folder, 'not', 'yet'))).toBeGreaterThan(0)
  })

  test('too little is DISK_FULL with both numbers', async () => {
    await expect(requireFreeBytes(folder, 10, 'Flashing', async () => 4)).rejects.toMatchObject({
      code: 'DISK_FULL',
      details: { neededBytes: 10, availableBytes: 4 },
    })
    await requireFreeBytes(folder, 10, 'Flashing', async () => 10)
  })
})

describe('linkOrCopy', () => {
  test('links, replaces, and may be repeated', async () => {
    const [source, target] = [join(folder, 's'), join(folder, 'deep', 't')]
    await writeFile(source, 'blob')
    await atomicWriteFile(target, 'old')
    expect(await linkOrCopy(source, target)).toBe('linked')
    expect(await linkOrCopy(source, target)).toBe('linked')
    expect(statSync(target).ino).toBe(statSync(source).ino)
    expect(readdirSync(join(folder, 'deep'))).toEqual(['t'])
    await expect(linkOrCopy(join(folder, 'none'), target)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    expect(readFileSync(target, 'utf8')).toBe('blob')
  })

  test.runIf(process.platform === 'linux' && existsSync('/dev/shm'))('copies to another file system', async () => {
    const other = await mkdtemp('/dev/shm/m4-files-')
    try {
      await writeFile(join(folder, 's'), 'blob')
      const same = statSync(other).dev === statSync(folder).dev
      expect(await linkOrCopy(join(folder, 's'), join(other, 't'))).toBe(same ? 'linked' : 'copied')
      expect(readFileSync(join(other, 't'), 'utf8')).toBe('blob')
    } finally {
      await rm(other, { recursive: true, force: true })
    }
  })
})

describe('locks', () => {
  const holder = (change: Record<string, unknown>) =>
    writeFile(lockPath, JSON.stringify({ pid: process.pid, host: hostname(), token: 'other', ...change }))
  const old = async (ageMs: number) => {
    const then = new Date(Date.now() - ageMs)
    await utimes(lockPath, then, then)
  }

  test('the second is LOCKED and told who and what to do; after release it gets in', async () => {
    const lock = await acquireLock(lockPath)
    await expect(acquireLock(lockPath)).rejects.toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(`process ${process.pid} on ${hostname()}`),
      hint: expect.stringContaining('delete that lock file'),
    })
    await lock.release()
    await lock.release()
    await (await acquireLock(lockPath)).release()
    expect(readdirSync(folder)).toEqual([])
  })

  test('ten at once never overlap', async () => {
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const lock = await acquireLock(lockPath, { waitMs: 30_000 })
        most = Math.max(most, ++inside)
        await new Promise((done) => setTimeout(done, 2))
        inside--
        await lock.release()
      }),
    )
    expect(most).toBe(1)
  })

  test('a living process keeps its lock, a killed one loses it', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    await new Promise((done) => child.once('spawn', done))
    await holder({ pid: child.pid })
    await expect(acquireLock(lockPath)).rejects.toMatchObject({ code: 'LOCKED', details: { pid: child.pid } })
    const ended = new Promise((done) => child.once('exit', done))
    child.kill('SIGKILL')
    await ended
    await (await acquireLock(lockPath)).release()
  })

  test('left by a process whose pid another program has now: taken over', async () => {
    await holder({}) // our own pid, but not one of our locks: an earlier container with the same pid
    await (await acquireLock(lockPath)).release()
    if (process.platform !== 'linux') return
    await holder({ pid: process.ppid, startTicks: '1' })
    await (await acquireLock(lockPath)).release()
  })

  test('of another machine: by its signs of life', async () => {
    await holder({ pid: 1, host: 'elsewhere' })
    await expect(acquireLock(lockPath, { staleMs: 60_000 })).rejects.toMatchObject({ code: 'LOCKED' })
    await old(61_000)
    await (await acquireLock(lockPath, { staleMs: 60_000 })).release()
  })

  test('an empty one belongs to somebody who is just starting, unless it is old', async () => {
    await writeFile(lockPath, '')
    await expect(acquireLock(lockPath)).rejects.toMatchObject({ code: 'LOCKED' })
    await old(10_000)
    await (await acquireLock(lockPath)).release()
  })

  test('several waiters on a dead lock: one after the other', async () => {
    await holder({ pid: 2 ** 22 + 1 })
    let inside = 0
    await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const lock = await acquireLock(lockPath, { waitMs: 30_000 })
        expect(++inside).toBe(1)
        await new Promise((done) => setTimeout(done, 5))
        inside--
        await lock.release()
      }),
    )
    expect(readdirSync(folder)).toEqual([])
  })

  test('waiting can be cancelled', async () => {
    const lock = await acquireLock(lockPath)
    const abort = new AbortController()
    const waiting = acquireLock(lockPath, {
      waitMs: Number.POSITIVE_INFINITY,
      signal: abort.signal,
      onWait: () => abort.abort(),
    })
    await expect(waiting).rejects.toMatchObject({ code: 'ABORTED' })
    await lock.release()
  })
})

/** Pulling over http from a server that misbehaves: resume, retry, mirrors, digests, full disks, two at once. */

import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FileServer, startFileServer } from '../../../test/helpers/file-server.js'
import type { M4Error } from '../../core/errors.js'
import type { Progress } from '../../core/progress.js'
import { REAL_DISK } from './disk.js'
import { parseRetryAfter } from './download.js'
import { pullSource, pullSources } from './pull.js'
import type { PinnedFile, PullOptions, Source } from './types.js'

const body = randomBytes(3_000_000)
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

let server: FileServer
let home: string

beforeEach(async () => {
  server = await startFileServer()
  home = await mkdtemp(join(tmpdir(), 'm4-pull-'))
})

afterEach(async () => {
  await server.close()
  await rm(home, { recursive: true, force: true })
})

const pin = (bytes: Buffer, ...uris: string[]): Source => ({
  sha256: sha256(bytes),
  bytes: bytes.length,
  licence: 'CC0-1.0',
  uris,
})
const at = (path: string) => `${server.url}${path}`
const options = (more: Partial<PullOptions> = {}): PullOptions => ({
  home,
  env: {},
  retry: { attempts: 3, firstDelayMs: 5, idleTimeoutMs: 5_000 },
  ...more,
})
const failure = async (work: Promise<unknown>): Promise<M4Error> => {
  try {
    await work
  } catch (error) {
    return error as M4Error
  }
  throw new Error('expected a failure')
}
const blobs = () => readdirSync(join(home, 'blobs'))
const partials = () => readdirSync(join(home, 'partial'))
const partialBytes = (bytes: Buffer) => statSync(join(home, 'partial', `sha256-${sha256(bytes)}`)).size

describe('a good server', () => {
  test('gives the file once; afterwards the cache answers, read-only and without leftovers', async () => {
    server.routes.set('/w.bin', { body })
    const seen: Progress[] = []
    const path = await pullSource(pin(body, at('/w.bin')), options({ onProgress: (step) => seen.push(step) }))
    expect(path).toBe(join(home, 'blobs', `sha256-${sha256(body)}`))
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(statSync(path).mode & 0o222).toBe(0)
    expect(partials()).toEqual([])
    expect(seen.at(-1)).toEqual({ task: 'pull w.bin', done: body.length, total: body.length, unit: 'bytes' })
    expect(seen.length).toBeGreaterThan(2)

    await pullSource(pin(body, at('/w.bin')), options())
    expect(server.requests).toHaveLength(1)
  })

  test('a redirect to another origin is followed without the token', async () => {
    const other = await startFileServer()
    try {
      other.routes.set('/cdn/w.bin', { body })
      server.routes.set('/owner/repo/resolve/v1/sub/w.bin', { body, location: `${other.url}/cdn/w.bin` })
      const env = { HF_ENDPOINT: `${server.url}/`, HF_TOKEN: 'hf_secret' }
      await pullSource(pin(body, 'hf:owner/repo@v1/sub/w.bin'), options({ env }))
      expect(server.requests[0]!.headers.authorization).toBe('Bearer hf_secret')
      expect(other.requests[0]!.headers.authorization).toBeUndefined()
    } finally {
      await other.close()
    }
  })

  test('a redirect in a circle ends', async () => {
    server.routes.set('/w.bin', { body, location: '/w.bin' })
    expect((await failure(pullSource(pin(body, at('/w.bin')), options()))).message).toContain('circle')
  })

  test('an answer without a length is read to its end', async () => {
    server.routes.set('/w.bin', { body, noLength: true })
    const path = await pullSource(pin(body, at('/w.bin')), options())
    expect(readFileSync(path).equals(body)).toBe(true)
  })

  test('an empty file is a file', async () => {
    server.routes.set('/empty', { body: Buffer.alloc(0) })
    const path = await pullSource(pin(Buffer.alloc(0), at('/empty')), options())
    expect(statSync(path).size).toBe(0)
  })
})

describe('a connection that breaks', () => {
  test('goes on where it was cut, guarded by If-Range', async () => {
    server.routes.set('/w.bin', { body, etag: '"v1"', cutAfter: [1_000_000, 500_000] })
    const path = await pullSource(pin(body, at('/w.bin')), options())
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(server.requests.map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=1000000-', 'bytes=1500000-'])
    expect(server.requests[1]!.headers['if-range']).toBe('"v1"')
  })

  test('given up, it keeps what it has, shows no blob, and the next pull goes on there', async () => {
    server.routes.set('/w.bin', { body, cutAfter: [1_000_000, 0, 0, 0] })
    const error = await failure(pullSource(pin(body, at('/w.bin')), options()))
    expect(error.code).toBe('NETWORK')
    expect(error.hint).toContain('goes on where it stopped')
    expect(blobs()).toEqual([])
    expect(partialBytes(body)).toBe(1_000_000)
    server.routes.set('/w.bin', { body })
    server.requests.length = 0
    await pullSource(pin(body, at('/w.bin')), options())
    expect(server.requests.map(({ headers }) => headers.range)).toEqual(['bytes=1000000-'])
  })

  test('a file that changed meanwhile is fetched from zero', async () => {
    server.routes.set('/w.bin', { body: randomBytes(body.length), etag: '"old"', cutAfter: [1_000_000, 0, 0, 0] })
    const first = options({ retry: { attempts: 1 } })
    await failure(pullSource(pin(body, at('/w.bin')), first))
    server.routes.set('/w.bin', { body, etag: '"new"' })
    const warnings: string[] = []
    await pullSource(pin(body, at('/w.bin')), options({ onWarning: (line) => warnings.push(line) }))
    expect(warnings.join()).toContain('starting again from zero')
  })

  test('without range support it starts from zero, and a server that always cuts at one place is given up', async () => {
    server.routes.set('/w.bin', { body, ranges: false, cutAfter: [1_000_000] })
    await pullSource(pin(body, at('/w.bin')), options())
    expect(server.requests).toHaveLength(2)

    const other = randomBytes(2_000_000)
    server.routes.set('/cut.bin', { body: other, ranges: false, cutAfter: Array(50).fill(1_000_000) })
    await failure(pullSource(pin(other, at('/cut.bin')), options()))
    expect(server.requests.filter(({ path }) => path === '/cut.bin').length).toBeLessThan(6)
  })

  test('left-over bytes that are wrong cost one fresh attempt, not the pull', async () => {
    server.routes.set('/w.bin', { body })
    await mkdir(join(home, 'partial'), { recursive: true })
    await writeFile(join(home, 'partial', `sha256-${sha256(body)}`), randomBytes(1_000_000))
    const path = await pullSource(pin(body, at('/w.bin')), options())
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(server.requests.map(({ headers }) => headers.range)).toEqual(['bytes=1000000-', undefined])
  })

  test('a silent server counts as cut after the idle time-out', async () => {
    server.routes.set('/w.bin', { body, stallAfter: 10_000, ranges: false })
    const error = await failure(
      pullSource(pin(body, at('/w.bin')), options({ retry: { attempts: 2, firstDelayMs: 5, idleTimeoutMs: 100 } })),
    )
    expect(error.code).toBe('NETWORK')
    expect(error.message).toContain('no data for 0.1 s')
  })

  test('nobody listening is NETWORK after the retries', async () => {
    const dead = at('/w.bin')
    await server.close()
    const error = await failure(pullSource(pin(body, dead), options()))
    expect(error.code).toBe('NETWORK')
    expect(error.details.systemCode).toBe('ECONNREFUSED')
  })
})

describe('statuses', () => {
  test('503 and 429 are tried again, Retry-After is kept', async () => {
    server.routes.set('/w.bin', { body, statuses: [503, 429], retryAfter: '0' })
    await pullSource(pin(body, at('/w.bin')), options())
    expect(server.requests).toHaveLength(3)
    expect(parseRetryAfter('7')).toBe(7_000)
    expect(parseRetryAfter('Thu, 01 Jan 1970 00:00:09 GMT', 4_000)).toBe(5_000)
    expect(parseRetryAfter('soon')).toBeUndefined()
  })

  test('a pause longer than two minutes is not waited for', async () => {
    server.routes.set('/w.bin', { body, statuses: [503, 503, 503], retryAfter: '3600' })
    expect((await failure(pullSource(pin(body, at('/w.bin')), options()))).details.status).toBe(503)
    expect(server.requests).toHaveLength(1)
  })

  test.each([
    [404, 'FILE_NOT_FOUND'],
    [403, 'NETWORK'],
  ])('%i is not tried again and is %s', async (status, code) => {
    server.routes.set('/w.bin', { body, statuses: [status, status] })
    expect((await failure(pullSource(pin(body, at('/w.bin')), options()))).code).toBe(code)
    expect(server.requests).toHaveLength(1)
  })

  test('a gated hub file says how to get access', async () => {
    server.routes.set('/o/r/resolve/main/w.bin', { body, statuses: [401] })
    const env = { HF_ENDPOINT: server.url }
    const error = await failure(pullSource(pin(body, 'hf:o/r@main/w.bin'), options({ env })))
    expect(error.hint).toContain('HF_TOKEN')
  })
})

describe('wrong bytes', () => {
  test('of the right length: DIGEST_MISMATCH, nothing kept', async () => {
    const wrong = Buffer.from(body)
    wrong[1234]! ^= 1
    server.routes.set('/w.bin', { body: wrong })
    const error = await failure(pullSource(pin(body, at('/w.bin')), options()))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(error.details.got).toBe(sha256(wrong))
    expect(error.message).toContain(sha256(body))
    expect([...blobs(), ...partials()]).toEqual([])
    expect(server.requests).toHaveLength(1)
  })

  test('of another length: refused before they are read', async () => {
    server.routes.set('/w.bin', { body: body.subarray(1) })
    const error = await failure(pullSource(pin(body, at('/w.bin')), options()))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(error.message).toContain(`expected ${body.length} bytes, got ${body.length - 1} bytes`)
  })

  test('the next mirror is asked, and told', async () => {
    server.routes.set('/bad', { body: randomBytes(body.length) })
    server.routes.set('/good', { body })
    const warnings: string[] = []
    const source = pin(body, at('/bad'), at('/gone'), at('/good'))
    const path = await pullSource(source, options({ onWarning: (line) => warnings.push(line) }))
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(warnings).toHaveLength(2)
  })

  test('a mirror goes on where another was cut', async () => {
    server.routes.set('/a', { body, etag: '"a"', cutAfter: [2_000_000, 0, 0, 0, 0] })
    server.routes.set('/b', { body, etag: '"b"' })
    await pullSource(pin(body, at('/a'), at('/b')), options())
    const asked = server.requests.find(({ path }) => path === '/b')!
    expect(asked.headers.range).toBe('bytes=2000000-')
    expect(asked.headers['if-range']).toBeUndefined()
  })

  test('when all mirrors fail, every reason is told and the gravest gives the code', async () => {
    server.routes.set('/bad', { body: randomBytes(body.length) })
    const error = await failure(pullSource(pin(body, at('/bad'), at('/gone')), options()))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(error.message).toContain('FILE_NOT_FOUND')
  })

  test('a damaged blob is found by size, or by digest on request, and pulled again', async () => {
    server.routes.set('/w.bin', { body })
    const source = pin(body, at('/w.bin'))
    const path = await pullSource(source, options())
    await rm(path)
    await writeFile(path, body.subarray(5))
    await pullSource(source, options())
    expect(readFileSync(path).equals(body)).toBe(true)
    await rm(path)
    await writeFile(path, Buffer.alloc(body.length))
    await pullSource(source, options({ verifyCached: true }))
    expect(readFileSync(path).equals(body)).toBe(true)
  })
})

describe('a full disk', () => {
  test('is seen beforehand, with both numbers', async () => {
    server.routes.set('/w.bin', { body })
    const disk = { ...REAL_DISK, freeBytes: async () => 1_000 }
    const error = await failure(pullSource(pin(body, at('/w.bin')), options({ disk })))
    expect(error.code).toBe('DISK_FULL')
    expect(error.details).toMatchObject({ neededBytes: body.length, availableBytes: 1_000 })
    expect(server.requests).toEqual([])
  })

  test('while writing: DISK_FULL, no blob, and what was written is used later', async () => {
    server.routes.set('/w.bin', { body, etag: '"v"' })
    server.routes.set('/mirror', { body })
    const quota = 1_500_001
    const write: typeof REAL_DISK.write = async (handle, bytes, position) => {
      const room = quota - position
      if (room <= 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      return REAL_DISK.write(handle, bytes.subarray(0, room), position)
    }
    const source = pin(body, at('/w.bin'), at('/mirror'))
    const error = await failure(pullSource(source, options({ disk: { ...REAL_DISK, write } })))
    expect(error.code).toBe('DISK_FULL')
    expect(blobs()).toEqual([])
    expect(partialBytes(body)).toBe(quota)
    expect(server.requests).toHaveLength(1) // another mirror needs the same room
    await pullSource(source, options())
    expect(server.requests[1]!.headers.range).toBe(`bytes=${quota}-`)
  })
})

describe('giving up and staying offline', () => {
  test('abort in the middle: ABORTED, partial kept, lock gone', async () => {
    server.routes.set('/w.bin', { body, stallAfter: 1_200_000 })
    const abort = new AbortController()
    const onProgress = ({ done }: Progress) => {
      if (done > 1_000_000) abort.abort()
    }
    const error = await failure(pullSource(pin(body, at('/w.bin')), options({ signal: abort.signal, onProgress })))
    expect(error.code).toBe('ABORTED')
    expect(blobs()).toEqual([])
    expect(partials().filter((name) => name.endsWith('.lock'))).toEqual([])
    expect(partialBytes(body)).toBeGreaterThan(1_000_000)
  })

  test('offline with a hole in the cache names all that is missing and asks nobody', async () => {
    server.routes.set('/w.bin', { body })
    const second = randomBytes(10)
    const sources = [pin(body, at('/w.bin')), pin(second, at('/x.bin'))]
    const error = await failure(pullSources(sources, options({ env: { M4FM_OFFLINE: '1' } })))
    expect(error.code).toBe('OFFLINE')
    expect(error.message).toContain('w.bin')
    expect(error.message).toContain(sha256(second))
    expect(error.hint).toContain('m4fm pull')
    expect(server.requests).toEqual([])
    await pullSource(sources[0]!, options())
    await pullSource(sources[0]!, options({ offline: true }))
  })
})

describe('two at once', () => {
  test('the file is fetched once and both get it', async () => {
    server.routes.set('/w.bin', { body })
    const source = pin(body, at('/w.bin'))
    const warnings: string[] = []
    const both = options({ onWarning: (line) => warnings.push(line) })
    const [a, b] = await Promise.all([pullSource(source, both), pullSource(source, both)])
    expect(a).toBe(b)
    expect(server.requests).toHaveLength(1)
    expect(warnings.join()).toContain('waiting for it')
    expect(partials()).toEqual([])
  })

  test('a lock left by a dead process does not stop a pull', async () => {
    server.routes.set('/w.bin', { body })
    await mkdir(join(home, 'partial'), { recursive: true })
    const holder = { pid: 2 ** 22 + 1, host: hostname(), token: 'x' }
    await writeFile(join(home, 'partial', `sha256-${sha256(body)}.lock`), JSON.stringify(holder))
    await pullSource(pin(body, at('/w.bin')), options())
    expect(partials()).toEqual([])
  })
})

describe('parts and local files', () => {
  const halves = [body.subarray(0, 1_400_000), body.subarray(1_400_000)] as const
  const part = (bytes: Buffer, uri: string): PinnedFile => ({ sha256: sha256(bytes), bytes: bytes.length, uris: [uri] })

  test('parts are verified, joined and not kept', async () => {
    server.routes.set('/1', { body: halves[0] })
    server.routes.set('/2', { body: halves[1] })
    const source = { ...pin(body), parts: [part(halves[0], at('/1')), part(halves[1], at('/2'))] }
    const path = await pullSource(source, options())
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(blobs()).toEqual([`sha256-${sha256(body)}`])
    expect(partials()).toEqual([])
  })

  test('good parts of a wrong whole: DIGEST_MISMATCH and no blob of the whole', async () => {
    server.routes.set('/1', { body: halves[0] })
    server.routes.set('/2', { body: halves[1] })
    const source = { ...pin(body), parts: [part(halves[1], at('/2')), part(halves[0], at('/1'))] }
    const error = await failure(pullSource(source, options()))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(existsSync(join(home, 'blobs', `sha256-${sha256(body)}`))).toBe(false)
  })

  test('file: is copied after verification, relative to the working folder, offline too', async () => {
    await writeFile(join(home, 'mine.bin'), body)
    const path = await pullSource(pin(body, 'file:mine.bin'), options({ workingFolder: home, offline: true }))
    expect(readFileSync(path).equals(body)).toBe(true)
    expect(statSync(path).ino).not.toBe(statSync(join(home, 'mine.bin')).ino)
    const wrong = await failure(pullSource(pin(randomBytes(body.length), `file:${join(home, 'mine.bin')}`), options()))
    expect(wrong.code).toBe('DIGEST_MISMATCH')
    expect((await failure(pullSource(pin(body.subarray(1), 'file:none'), options()))).code).toBe('FILE_NOT_FOUND')
  })
})

describe('bundled files', () => {
  test('are copied after verification, offline too', async () => {
    const own = readFileSync(new URL('../../../package.json', import.meta.url))
    const path = await pullSource(pin(own, 'bundled:package.json'), options({ workingFolder: home, offline: true }))
    expect(readFileSync(path).equals(own)).toBe(true)
    const wrong = await failure(pullSource(pin(randomBytes(own.length), 'bundled:package.json'), options()))
    expect(wrong.code).toBe('DIGEST_MISMATCH')
    expect((await failure(pullSource(pin(body, 'bundled:none'), options()))).code).toBe('FILE_NOT_FOUND')
  })
})

describe('proxies', () => {
  test('http goes through HTTP_PROXY in absolute form; NO_PROXY is respected', async () => {
    server.routes.set('http://localhost:9/w.bin', { body })
    const source = pin(body, 'http://localhost:9/w.bin')
    await pullSource(source, options({ env: { HTTP_PROXY: server.url.replace('//', '//user:pa%3Ass@') } }))
    const credentials = Buffer.from('user:pa:ss').toString('base64')
    expect(server.requests[0]!.headers['proxy-authorization']).toBe(`Basic ${credentials}`)
    const other = pin(randomBytes(9), 'http://localhost:9/w.bin')
    const env = { HTTP_PROXY: server.url, NO_PROXY: 'example.org, localhost' }
    expect((await failure(pullSource(other, options({ env })))).details.systemCode).toBe('ECONNREFUSED')
    expect(server.requests).toHaveLength(1)
  })

  test('https asks HTTPS_PROXY for a tunnel; a refusal names the proxy', async () => {
    const error = await failure(
      pullSource(pin(body, 'https://weights.invalid/w.bin'), options({ env: { HTTPS_PROXY: server.url } })),
    )
    expect(server.requests[0]).toMatchObject({ method: 'CONNECT', path: 'weights.invalid:443' })
    expect(error.code).toBe('NETWORK')
    expect(error.message).toContain('answered 403 to CONNECT')
  })
})

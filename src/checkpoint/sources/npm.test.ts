/** Members of npm tarballs, from a registry on loopback: one pass, resume, wrong pins, damaged archives. */

import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import tar from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FileServer, startFileServer } from '../../../test/helpers/file-server.js'
import type { M4Error } from '../../core/errors.js'
import { REAL_DISK } from './disk.js'
import { registryFor } from './npm-registry.js'
import { pullSource, pullSources } from './pull.js'
import type { PinnedFile, PullOptions, Source } from './types.js'

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const integrity = (bytes: Buffer) => `sha512-${createHash('sha512').update(bytes).digest('base64')}`

async function makeTarball(files: Readonly<Record<string, Buffer>>): Promise<Buffer> {
  const pack = tar.pack()
  for (const [name, bytes] of Object.entries(files)) pack.entry({ name }, bytes)
  pack.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of pack) chunks.push(chunk as Buffer)
  return gzipSync(Buffer.concat(chunks), { level: 1 })
}

const model = randomBytes(1_500_000)
const tokenizer = Buffer.from('{"model":"tiny"}')
const packed = await makeTarball({
  'package/package.json': Buffer.from('{"scripts":{"postinstall":"exit 1"}}'),
  'package/models/w.bin': model,
  'package/models/filler.bin': randomBytes(300_000),
  'package/tokenizer.json': tokenizer,
})
const TARBALL = '/@scope/weights/-/weights-1.2.3.tgz'

let server: FileServer
let home: string
let env: NodeJS.ProcessEnv

beforeEach(async () => {
  server = await startFileServer()
  server.routes.set(TARBALL, { body: packed })
  home = await mkdtemp(join(tmpdir(), 'm4-npm-'))
  env = { npm_config_registry: `${server.url}/`, HOME: home }
})

afterEach(async () => {
  await server.close()
  await rm(home, { recursive: true, force: true })
})

const uri = (path: string, tarball = packed) => `npm:@scope/weights@1.2.3/${path}#${integrity(tarball)}`
const pin = (bytes: Buffer, ...uris: string[]): Source => ({
  sha256: sha256(bytes),
  bytes: bytes.length,
  licence: 'MIT',
  uris,
})
const options = (more: Partial<PullOptions> = {}): PullOptions => ({
  home,
  env,
  workingFolder: home,
  retry: { attempts: 2, firstDelayMs: 5 },
  ...more,
})
const failure = async (work: Promise<unknown>): Promise<M4Error> =>
  work.then(
    () => {
      throw new Error('expected a failure')
    },
    (error) => error as M4Error,
  )
const blobs = () => readdirSync(join(home, 'blobs'))
const partials = () => readdirSync(join(home, 'partial'))

describe('a tarball', () => {
  test('is fetched once for all of its wanted members and not kept', async () => {
    const tasks = new Set<string>()
    const paths = await pullSources(
      [pin(model, uri('models/w.bin')), pin(tokenizer, uri('tokenizer.json'))],
      options({ onProgress: ({ task }) => tasks.add(task) }),
    )
    expect(readFileSync(paths[0]!).equals(model)).toBe(true)
    expect(readFileSync(paths[1]!).equals(tokenizer)).toBe(true)
    expect(server.requests).toHaveLength(1)
    expect(blobs()).toHaveLength(2)
    expect(partials()).toEqual([])
    expect([...tasks]).toEqual(['pull @scope/weights@1.2.3', 'unpack @scope/weights@1.2.3'])
  })

  test('cut half-way is resumed', async () => {
    server.routes.set(TARBALL, { body: packed, cutAfter: [800_000, 0] })
    expect((await failure(pullSource(pin(model, uri('models/w.bin')), options()))).code).toBe('NETWORK')
    expect(blobs()).toEqual([])
    await pullSource(pin(model, uri('models/w.bin')), options())
    expect(server.requests.at(-1)!.headers.range).toBe('bytes=800000-')
  })

  test('with another digest than pinned is DIGEST_MISMATCH before anything is unpacked', async () => {
    const other = Buffer.concat([packed, Buffer.from('x')])
    server.routes.set(TARBALL, { body: other })
    const error = await failure(pullSource(pin(model, uri('models/w.bin')), options()))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(error.message).toContain('sha512')
    expect([...blobs(), ...partials()]).toEqual([])
  })

  test('whose member is not the pinned file is DIGEST_MISMATCH, by size and by digest', async () => {
    const wrong = await failure(pullSource(pin(randomBytes(model.length), uri('models/w.bin')), options()))
    expect(wrong.code).toBe('DIGEST_MISMATCH')
    expect(wrong.message).toContain('@scope/weights@1.2.3/models/w.bin')
    expect((await failure(pullSource(pin(tokenizer, uri('models/w.bin')), options()))).code).toBe('DIGEST_MISMATCH')
    expect([...blobs(), ...partials()]).toEqual([])
  })

  test('a wrong pin of one member does not spoil the others, before or after it in the tarball', async () => {
    const wrongModel = pin(randomBytes(model.length), uri('models/w.bin'))
    const wrongTokenizer = pin(randomBytes(tokenizer.length), uri('tokenizer.json'))
    const before = await failure(pullSources([pin(tokenizer, uri('tokenizer.json')), wrongModel], options()))
    expect(before.code).toBe('DIGEST_MISMATCH')
    expect(blobs()).toEqual([`sha256-${sha256(tokenizer)}`])
    const after = await failure(pullSources([pin(model, uri('models/w.bin')), wrongTokenizer], options()))
    expect(after.code).toBe('DIGEST_MISMATCH')
    expect(blobs()).toHaveLength(2)
  })

  test('that is whole already, though nothing is known about it any more, is not fetched again', async () => {
    await mkdir(join(home, 'partial'))
    const digest = createHash('sha512').update(packed).digest('hex')
    await writeFile(join(home, 'partial', `sha512-${digest.slice(0, 64)}`), packed)
    await pullSource(pin(model, uri('models/w.bin')), options())
    expect(server.requests.map(({ headers }) => headers.range)).toEqual([`bytes=${packed.length}-`])
  })

  test('without the member is FILE_NOT_FOUND with the nearest path', async () => {
    const error = await failure(pullSource(pin(model, uri('model/w.bin')), options()))
    expect(error.code).toBe('FILE_NOT_FOUND')
    expect(error.hint).toContain('models/w.bin')
  })

  test.each([
    ['no gzip', randomBytes(5_000)],
    ['gzip of no tar', gzipSync(randomBytes(5_000))],
    ['gzip cut short', packed.subarray(0, 700_000)],
  ])('pinned but damaged (%s) is FORMAT_INVALID and leaves nothing', async (_name, body) => {
    server.routes.set(TARBALL, { body })
    const error = await failure(pullSource(pin(model, uri('models/w.bin', body)), options()))
    expect(error.code).toBe('FORMAT_INVALID')
    expect([...blobs(), ...partials()]).toEqual([])
  })

  test('on a disk that fills while unpacking is kept, so that the next pull asks nobody', async () => {
    const write: typeof REAL_DISK.write = async (handle, bytes, position) => {
      if (existsSync(join(home, 'partial', `sha256-${sha256(model)}.unpacking`)))
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      return REAL_DISK.write(handle, bytes, position)
    }
    const source = pin(model, uri('models/w.bin'))
    expect((await failure(pullSource(source, options({ disk: { ...REAL_DISK, write } })))).code).toBe('DISK_FULL')
    expect(blobs()).toEqual([])
    await pullSource(source, options())
    expect(server.requests).toHaveLength(1)
    expect(partials()).toEqual([])
  })

  test('needs room for itself and for its members', async () => {
    const freeBytes = async () => packed.length + model.length - 1
    const error = await failure(
      pullSource(pin(model, uri('models/w.bin')), options({ disk: { ...REAL_DISK, freeBytes } })),
    )
    expect(error.details).toMatchObject({ neededBytes: packed.length + model.length })
  })

  test('two parts in one tarball make one file', async () => {
    const part = (bytes: Buffer, path: string): PinnedFile => ({
      sha256: sha256(bytes),
      bytes: bytes.length,
      uris: [uri(path)],
    })
    const whole = Buffer.concat([model, tokenizer])
    const source = { ...pin(whole), parts: [part(model, 'models/w.bin'), part(tokenizer, 'tokenizer.json')] }
    expect(readFileSync(await pullSource(source, options())).equals(whole)).toBe(true)
    expect(server.requests).toHaveLength(1)
    expect(blobs()).toHaveLength(1)
  })
})

describe('the registry', () => {
  const around = (env: NodeJS.ProcessEnv) => ({ env: { HOME: join(home, 'user'), ...env }, workingFolder: home })

  test('is the public one by default, then .npmrc, then the environment; a scope has its own', async () => {
    expect(registryFor('a', around({}))).toBe('https://registry.npmjs.org')
    await writeFile(
      join(home, '.npmrc'),
      `; comment\nregistry = "https://project.example/npm/"\n@s:registry=https://\${CORP}/s/\n`,
    )
    expect(registryFor('a', around({}))).toBe('https://project.example/npm')
    const env = { npm_config_registry: 'https://env.example/', CORP: 'corp.example' }
    expect(registryFor('a', around(env))).toBe('https://env.example')
    expect(registryFor('@s/a', around(env))).toBe('https://corp.example/s')
    expect(registryFor('@other/a', around(env))).toBe('https://env.example')
    expect(() => registryFor('a', around({ npm_config_registry: 'npm.example' }))).toThrow(/http or https/)
  })

  test('the user settings file may be elsewhere', async () => {
    await writeFile(join(home, 'rc'), 'registry=https://user.example/\n')
    expect(registryFor('a', around({ npm_config_userconfig: join(home, 'rc') }))).toBe('https://user.example')
  })
})

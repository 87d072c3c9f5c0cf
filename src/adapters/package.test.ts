/** Adapter packages: what is written is read, and everything that is not as it was packed is refused by name. */

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Hex } from '../core/hash.js'
import { readPeftAdapter, usableAdapter } from './index.js'
import { ADAPTER_MAX_BYTES, type PackageParts, readAdapterPackage, writeAdapterPackage } from './package.js'
import { type AdapterFacts, parsePackageManifest } from './package-manifest.js'
import { baseOf, factsOf, random, SAMPLES, trainedLora } from './testing/fixtures.js'
import { packTrained } from './trained.js'
import { peftFiles } from './write-peft.js'

const abi = baseOf(12, 16)
const facts = factsOf(abi)
const parts: PackageParts = { facts, peft: peftFiles(abi, trainedLora(abi)), evaluation: SAMPLES, readme: '# News\n' }

let root: string
let folder: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'm4-package-'))
  folder = join(root, 'news')
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const refused = (code: string, message: RegExp, details: object = {}) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(message),
    details: expect.objectContaining(details),
  })
const manifestText = () => readFileSync(join(folder, 'm4fm.json'), 'utf8')
/** Rewrites m4fm.json as somebody with an editor would. */
const edit = (change: (manifest: Record<string, unknown>) => void) => {
  const manifest = JSON.parse(manifestText())
  change(manifest)
  writeFileSync(join(folder, 'm4fm.json'), JSON.stringify(manifest))
}

describe('round trip', () => {
  test('what was written is read, and is a PEFT folder', async () => {
    const written = await writeAdapterPackage(folder, parts)
    expect(readdirSync(folder).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'eval.jsonl',
      'm4fm.json',
    ])
    expect(readdirSync(root)).toEqual(['news'])
    const read = await readAdapterPackage(folder)
    expect(read).toEqual(written)
    expect(read.manifest).toMatchObject({ ...facts, format: 1 })
    const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size)
    expect(read.bytes).toBe(sizes.reduce((a, b) => a + b))
    const adapter = usableAdapter(readPeftAdapter(folder, abi))
    expect(adapter).toEqual(packTrained(abi, 'news', trainedLora(abi)))
  })

  test('the same parts give the same bytes and digest; another seed of training another digest', async () => {
    const first = await writeAdapterPackage(folder, parts)
    const bytes = manifestText()
    const second = await writeAdapterPackage(folder, parts)
    expect([manifestText(), second.digest]).toEqual([bytes, first.digest])
    const training = { ...facts.training!, seed: 8 }
    const other = await writeAdapterPackage(folder, { ...parts, facts: { ...facts, training } })
    expect(other.digest).not.toBe(first.digest)
  })

  test('a head alone, in float16', async () => {
    const { prompt: _, metric: __, ...rest } = facts
    const head = { 'head.weight': { dims: [6, 1024], data: random(1, 6 * 1024) } }
    const written = await writeAdapterPackage(folder, {
      facts: { ...rest, kind: 'head', path: 3, head: { type: 'linear', in: 1024, out: 6 } },
      head,
      dtype: 'float16',
    })
    expect(written.manifest.files['head.safetensors']!.bytes).toBeLessThan(6 * 1024 * 2 + 200)
    expect(await readAdapterPackage(folder)).toEqual(written)
  })
})

describe('at most 10 MB', () => {
  const small = async () => (await writeAdapterPackage(folder, { ...parts, readme: 'x' })).bytes

  test('the limit is met to the byte, writing and reading', async () => {
    // The size in m4fm.json is a number of as many digits on both sides of the limit.
    const room = ADAPTER_MAX_BYTES - (await small())
    const filled = (extra: number) => ({ ...parts, readme: 'x'.repeat(1 + room + extra - 6) })
    const exact = await writeAdapterPackage(folder, filled(0))
    expect(exact.bytes).toBe(ADAPTER_MAX_BYTES)
    expect((await readAdapterPackage(folder)).bytes).toBe(ADAPTER_MAX_BYTES)
    await expect(writeAdapterPackage(join(root, 'more'), filled(1))).rejects.toThrow(
      refused('INVALID_REQUEST', /README\.md/, {
        reason: 'adapter-too-large',
        bytes: ADAPTER_MAX_BYTES + 1,
        limit: ADAPTER_MAX_BYTES,
      }),
    )
    expect(existsSync(join(root, 'more'))).toBe(false)
    appendFileSync(join(folder, 'm4fm.json'), ' ')
    await expect(readAdapterPackage(folder)).rejects.toThrow(
      refused('FORMAT_INVALID', /10000001/, { reason: 'adapter-too-large', bytes: ADAPTER_MAX_BYTES + 1 }),
    )
  })

  test('a rank that is too high is told how to become lower', async () => {
    const peft = new Map(parts.peft)
    peft.set('adapter_model.safetensors', new Uint8Array(ADAPTER_MAX_BYTES))
    await expect(writeAdapterPackage(folder, { ...parts, peft })).rejects.toThrow(/Lower the rank.*float16/)
  })
})

describe('a damaged package', () => {
  beforeEach(() => writeAdapterPackage(folder, parts))

  test.each([
    'adapter_config.json',
    'adapter_model.safetensors',
    'eval.jsonl',
    'README.md',
  ])('one changed byte of %s', async (file) => {
    const bytes = readFileSync(join(folder, file))
    bytes[bytes.length - 2]! ^= 1
    writeFileSync(join(folder, file), bytes)
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('DIGEST_MISMATCH', /changed or cut/, { file }))
  })

  test('a truncated file, a missing file, no manifest', async () => {
    truncateSync(join(folder, 'adapter_model.safetensors'), 100)
    await expect(readAdapterPackage(folder)).rejects.toThrow(
      refused('DIGEST_MISMATCH', /got 100 bytes/, { file: 'adapter_model.safetensors' }),
    )
    await writeAdapterPackage(folder, parts)
    unlinkSync(join(folder, 'adapter_config.json'))
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FILE_NOT_FOUND', /adapter_config\.json/))
    unlinkSync(join(folder, 'm4fm.json'))
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FILE_NOT_FOUND', /no adapter package/))
    await expect(readAdapterPackage(join(root, 'none'))).rejects.toThrow(refused('FILE_NOT_FOUND', /./))
  })

  test('a file, a folder and a link that do not belong', async () => {
    writeFileSync(join(folder, 'run.sh'), 'rm -rf /')
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', /run\.sh/))
    unlinkSync(join(folder, 'run.sh'))
    mkdirSync(join(folder, 'more'))
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', /more: no plain file/))
    rmSync(join(folder, 'more'), { recursive: true })
    writeFileSync(join(root, 'elsewhere'), readFileSync(join(folder, 'README.md')))
    unlinkSync(join(folder, 'README.md'))
    symlinkSync(join(root, 'elsewhere'), join(folder, 'README.md'))
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', /README\.md: a link/))
  })

  test.each([
    ['not JSON', '{', /not JSON/],
    ['a list', '[]', /not an object/],
    ['a key twice', '{"format":1,"format":1}', /twice/],
    ['not UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d), /UTF-8/],
  ])('m4fm.json that is %s', async (_, content, message) => {
    writeFileSync(join(folder, 'm4fm.json'), content)
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', message))
  })

  test.each([
    ['an unknown field', 'colour', (m) => ({ ...m, colour: 'red' })],
    ['an unknown field inside', 'training.cost', (m) => ({ ...m, training: { ...m.training!, cost: 1 } })],
    ['another format', 'format', (m) => ({ ...m, format: 2 })],
    ['no name', 'name', ({ name: _, ...m }) => m],
    ['a name that leaves its folder', 'name', (m) => ({ ...m, name: '../news' })],
    ['a device name of Windows', 'name', (m) => ({ ...m, name: 'con' })],
    ['no version', 'version', (m) => ({ ...m, version: 'latest' })],
    ['path 5', 'path', (m) => ({ ...m, path: 5 })],
    ['one label', 'prompt.labels', (m) => ({ ...m, prompt: { template: 'x', labels: ['yes'] } })],
    ['a label twice', 'prompt.labels', (m) => ({ ...m, prompt: { template: 'x', labels: ['a', 'a'] } })],
    ['no ABI', 'base.abi', (m) => ({ ...m, base: { ...m.base, abi: 'mine' } })],
    ['a short digest', 'base.image.digest', (m) => ({ ...m, base: { ...m.base, image: { name: 'x', digest: 'ab' } } })],
    ['a size that is none', 'base.sizes.width', (m) => ({ ...m, base: { ...m.base, sizes: { width: 1.5 } } })],
    ['half a step', 'training.steps', (m) => ({ ...m, training: { ...m.training!, steps: 0.5 } })],
    ['a negative error', 'metric.stderr', (m) => ({ ...m, metric: { ...m.metric!, stderr: -1 } })],
    ['more samples than it carries', 'metric.count', (m) => ({ ...m, metric: { ...m.metric!, count: 1000 } })],
    ['a date of people', 'created', (m) => ({ ...m, created: 'yesterday' })],
    ['another kind than its files', 'kind', (m) => ({ ...m, kind: 'prompt' })],
    ['a head without its file', 'files.head.safetensors', (m) => ({ ...m, head: { type: 'linear', in: 2, out: 2 } })],
    [
      'a file of another name',
      'files.run.sh',
      (m) => ({ ...m, files: { 'run.sh': { sha256: 'a'.repeat(64), bytes: 1 } } }),
    ],
    [
      'a digest in capitals',
      'files.README.md.sha256',
      (m) => ({ ...m, files: { 'README.md': { sha256: 'A'.repeat(64), bytes: 1 } } }),
    ],
    ['a path for a file', 'files.../x', (m) => ({ ...m, files: { '../x': { sha256: 'a'.repeat(64), bytes: 1 } } })],
    ['no licence', 'licence', (m) => ({ ...m, licence: '' })],
  ] as [
    string,
    string,
    (m: AdapterFacts) => object,
  ][])('%s is refused by the name of its field', async (_, field, change) => {
    const manifest = JSON.parse(manifestText())
    edit((edited) => {
      for (const key of Object.keys(edited)) delete edited[key]
      Object.assign(edited, change(manifest))
    })
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', /./, { field }))
  })

  test('a prototype cannot be named', () => {
    const text = manifestText().replace('{', '{"__proto__": {"app": "x"},')
    expect(() => parsePackageManifest(text)).toThrow(refused('FORMAT_INVALID', /__proto__/))
  })

  test('samples that are no JSON objects', async () => {
    writeFileSync(join(folder, 'eval.jsonl'), '{"text":"a"}\n17\n')
    edit((manifest) => {
      const bytes = readFileSync(join(folder, 'eval.jsonl'))
      ;(manifest.files as Record<string, unknown>)['eval.jsonl'] = { sha256: sha256Hex(bytes), bytes: bytes.length }
    })
    await expect(readAdapterPackage(folder)).rejects.toThrow(refused('FORMAT_INVALID', /line 2/))
  })
})

describe('writing is all or nothing', () => {
  const failAfter = (bytes: number) => {
    let left = bytes
    return async (
      file: { write(b: Uint8Array, o: number, l: number, p: number): Promise<unknown> },
      data: Uint8Array,
      position: number,
    ) => {
      if (left <= 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      const count = Math.min(left, data.length)
      await file.write(data, 0, count, position)
      left -= count
      return count
    }
  }

  test('a disk that fills up half way leaves nothing', async () => {
    await expect(writeAdapterPackage(folder, parts, { write: failAfter(3000) })).rejects.toThrow(
      refused('DISK_FULL', /the disk is full/),
    )
    expect(readdirSync(root)).toEqual([])
  })

  test('and leaves the package that was there', async () => {
    const before = await writeAdapterPackage(folder, parts)
    const next = { ...parts, facts: { ...facts, version: '2.0.0' } }
    await expect(writeAdapterPackage(folder, next, { write: failAfter(3000) })).rejects.toThrow(
      refused('DISK_FULL', /./),
    )
    expect(readdirSync(root)).toEqual(['news'])
    expect(await readAdapterPackage(folder)).toEqual(before)
    expect((await writeAdapterPackage(folder, next)).manifest.version).toBe('2.0.0')
    expect((await readAdapterPackage(folder)).manifest.version).toBe('2.0.0')
  })

  test('a folder or file of something else is not replaced; an empty folder is', async () => {
    mkdirSync(folder)
    writeFileSync(join(folder, 'README.md'), 'mine')
    await expect(writeAdapterPackage(folder, parts)).rejects.toThrow(refused('INVALID_REQUEST', /no m4fm\.json/))
    await writeAdapterPackage(join(root, 'other'), parts)
    writeFileSync(join(root, 'other', 'notes.txt'), 'mine')
    await expect(writeAdapterPackage(join(root, 'other'), parts)).rejects.toThrow(
      refused('INVALID_REQUEST', /notes\.txt/),
    )
    expect(readFileSync(join(root, 'other', 'notes.txt'), 'utf8')).toBe('mine')
    await expect(writeAdapterPackage(join(folder, 'README.md'), parts)).rejects.toThrow(
      refused('INVALID_REQUEST', /a file/),
    )
    mkdirSync(join(root, 'empty'))
    await writeAdapterPackage(join(root, 'empty'), parts)
    expect((await readAdapterPackage(join(root, 'empty'))).manifest.name).toBe('news')
  })

  test('facts that do not hold are refused before anything is written', async () => {
    const wrong = { ...facts, metric: { ...facts.metric!, count: 3 } }
    await expect(writeAdapterPackage(folder, { ...parts, facts: wrong })).rejects.toThrow(
      refused('FORMAT_INVALID', /./, { field: 'metric.count' }),
    )
    await expect(writeAdapterPackage(folder, { ...parts, facts: { ...facts, kind: 'prefix' } })).rejects.toThrow(
      refused('FORMAT_INVALID', /adapter_config\.json says/, { field: 'kind' }),
    )
    await expect(writeAdapterPackage(folder, { facts })).rejects.toThrow(refused('FORMAT_INVALID', /holds nothing/))
    const odd = { ...facts, training: { ...facts.training!, seconds: Number.NaN } }
    await expect(writeAdapterPackage(folder, { ...parts, facts: odd })).rejects.toThrow(
      refused('FORMAT_INVALID', /./, { field: 'training.seconds' }),
    )
    expect(readdirSync(root)).toEqual([])
  })
})

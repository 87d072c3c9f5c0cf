import { copyFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { writeToyImage } from '../../test/helpers/toy-image.js'
import { openImage, resolveImage } from './image.js'
import { formatBytes, formatCount, formatInspection, inspectImage } from './inspect.js'
import { canonicalJson, type Manifest, manifestDigest } from './manifest.js'
import { assertVerified, verifyImage } from './verify.js'

let folder: string
let manifest: Manifest
const blobPath = (name: string) => join(folder, 'blobs', name)
const decode = () => manifest.modules.backbone!.graphs.decode!

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4fm-image-'))
  manifest = await writeToyImage(folder)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('openImage', () => {
  test('gives the manifest, its digest and the places of graphs and files', async () => {
    const image = await openImage(folder, { cpuKey: 'some-cpu' })
    expect(image).toMatchObject({ path: folder, manifest, digest: manifestDigest(manifest), prepacked: false })
    expect(image.graphPath('backbone', 'decode')).toBe(blobPath(decode().model))
    expect(new TextDecoder().decode(await image.readFile('backbone', 'tokenizer'))).toBe('{"toy":true}')
  })

  test.each([
    ['graphPath of an unknown graph', 'decod', /graph of module backbone "decod".*decode/],
    ['graphPath of an inherited name', 'constructor', /Unknown graph/],
  ])('%s names the known ones', async (_, graph, message) => {
    const image = await openImage(folder)
    expect(() => image.graphPath('backbone', graph)).toThrow(message)
  })

  test('unknown modules and files are errors that name the known ones', async () => {
    const image = await openImage(folder)
    expect(() => image.graphPath('TTS', 'speak')).toThrow(/Unknown module.*backbone/)
    await expect(image.readFile('backbone', 'tokenizr')).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
  })

  test('a missing or truncated blob is named with the next step', async () => {
    const [data] = decode().data
    await truncate(blobPath(data!), 100)
    const error = expect.objectContaining({
      code: 'IMAGE_INVALID',
      message: expect.stringMatching(new RegExp(`${data}.*m4fm verify`)),
      details: expect.objectContaining({ got: 100, expected: manifest.blobs[data!]!.bytes }),
    })
    await expect(openImage(folder)).rejects.toEqual(error)
    await rm(blobPath(data!))
    await expect(openImage(folder)).rejects.toThrow(`${data}, it is missing`)
  })

  test('a folder without manifest is told what an image is', async () => {
    await rm(join(folder, 'manifest.json'))
    await expect(openImage(folder)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND', hint: /m4fm build lite/ })
  })
})

describe('resolveImage', () => {
  test('a folder is itself, a name is a recipe that was built', async () => {
    expect(await resolveImage(folder, { home: folder })).toBe(folder)
    await writeToyImage(join(folder, 'images', 'lite'), { name: 'lite' })
    expect(await resolveImage('lite', { home: folder })).toBe(join(folder, 'images', 'lite'))
  })

  test.each(['standard', './lite', '', 'no/such', '..'])('%j, not there, gives the next step', async (name) => {
    await expect(resolveImage(name, { home: folder })).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
      hint: expect.stringContaining('m4fm build'),
    })
  })

  test('device, never flashed, says how to flash', async () => {
    await expect(resolveImage('device', { home: folder })).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
      hint: expect.stringContaining('m4fm flash'),
    })
  })
})

describe('verifyImage', () => {
  test('a sound image is ok, with progress to the last byte', async () => {
    const seen: number[] = []
    const result = await verifyImage(folder, { onProgress: ({ done }) => seen.push(done) })
    const bytes = Object.values(manifest.blobs).reduce((sum, blob) => sum + blob.bytes, 0)
    expect(result).toMatchObject({ ok: true, digest: manifestDigest(manifest), bytes })
    expect(seen.at(-1)).toBe(bytes)
  })

  test('every kind of damage is reported at once', async () => {
    const { model, data } = decode()
    const other = manifest.modules.backbone!.graphs.embed!.model
    await rm(blobPath(model))
    await truncate(blobPath(other), 10)
    const bytes = await readFile(blobPath(data[0]!))
    bytes[bytes.length - 1]! ^= 1
    await writeFile(blobPath(data[0]!), bytes)
    await copyFile(blobPath(data[0]!), blobPath('stray'))
    const result = await verifyImage(folder)
    expect(result.ok).toBe(false)
    if (result.ok) return
    expect(new Map(result.problems.map(({ blob, kind }) => [blob, kind]))).toEqual(
      new Map([
        [model, 'missing'],
        [other, 'size'],
        [data[0]!, 'digest'],
        ['stray', 'extra'],
      ]),
    )
    expect(result.problems.find(({ kind }) => kind === 'digest')?.got).toMatch(/^[0-9a-f]{64}$/)
    await expect(assertVerified(folder)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      details: { problems: expect.arrayContaining([...result.problems]) },
    })
  })

  test.each([
    ['a size', (m: Manifest) => ({ ...m, blobs: { ...m.blobs, [decode().model]: { bytes: 7 } } }), 'size'],
    [
      'a blob that nobody uses',
      (m: Manifest) => ({ ...m, blobs: { ...m.blobs, [`sha256-${'a'.repeat(64)}`]: { bytes: 1 } } }),
      'manifest',
    ],
    ['the ABI', (m: Manifest) => ({ ...m, abi: { ...m.abi, width: 65 } }), 'manifest'],
    ['the rollback index', (m: Manifest) => ({ ...m, rollbackIndex: -1 }), 'manifest'],
  ])('a manifest that lies about %s is found out', async (_, change, kind) => {
    await writeFile(join(folder, 'manifest.json'), canonicalJson(change(manifest)))
    const result = await verifyImage(folder)
    expect(result).toMatchObject({ ok: false, problems: [{ kind }] })
  })

  test('stops when the caller gives up', async () => {
    await expect(verifyImage(folder, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('inspectImage', () => {
  test('facts as data', async () => {
    const facts = await inspectImage(folder)
    expect(facts).toMatchObject({
      name: 'toy',
      version: '1.0.0',
      weights: 'random',
      licences: ['Apache-2.0'],
      modules: [{ role: 'backbone', architecture: 'toy', files: ['tokenizer'] }],
    })
    expect(facts.modules[0]!.graphs.map(({ name }) => name).sort()).toEqual(['decode', 'embed'])
    expect(facts.totalBytes).toBe(Object.values(manifest.blobs).reduce((sum, { bytes }) => sum + bytes, 0))
  })

  test('a page with aligned columns that says what random weights mean', async () => {
    const page = formatInspection(await inspectImage(folder))
    expect(page).toMatch(/^image {11}toy 1\.0\.0 .*never accuracy$/m)
    expect(page).toContain(`digest          ${manifestDigest(manifest)}`)
    const [head, row] = page.split('\n').filter((line) => /^ {2}(role|backbone) /.test(line))
    expect(row!.indexOf('toy')).toBe(head!.indexOf('architecture'))
    expect(page).toContain('qkv at attn/qkv (q|k|v)')
    expect(page).not.toMatch(/ $/m)
  })

  test.each([
    [999, '999 B'],
    [1000, '1.00 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [123_456_789, '123 MB'],
    [9_200_000_000, '9.20 GB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))
  test('counts', () => expect(formatCount(1_100_048_384)).toBe('1.10 B'))
})

/** The adapters of a device: installed whole, by name, for this base, from the app that owns the name. */

import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readAdapterPackage, writeAdapterPackage } from './package.js'
import type { AdapterFacts } from './package-manifest.js'
import { isAdapterName } from './package-manifest.js'
import { signPackage } from './signature.js'
import { adapterFit, installAdapter, listAdapters, removeAdapter, resolveAdapter } from './store.js'
import { baseOf, factsOf, SAMPLES, trainedLora } from './testing/fixtures.js'
import { peftFiles, writePeftFolder } from './write-peft.js'

const abi = baseOf(16, 16)
const abis = { backbone: abi.id }

let root: string
let home: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'm4-store-'))
  home = join(root, 'home')
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

async function packed(facts: Partial<AdapterFacts> = {}): Promise<string> {
  const folder = join(root, 'packed', `${facts.name ?? 'news'}-${facts.version ?? '1.2.0'}-${facts.app ?? 'own'}`)
  await writeAdapterPackage(folder, {
    facts: { ...factsOf(abi), ...facts },
    peft: peftFiles(abi, trainedLora(abi)),
    evaluation: SAMPLES,
  })
  return folder
}
const refused = (code: string, reason?: string) =>
  expect.objectContaining({ code, ...(reason ? { details: expect.objectContaining({ reason }) } : {}) })

describe('install', () => {
  test('copies, lists, resolves, replaces, removes', async () => {
    expect(await listAdapters({ home })).toEqual([])
    const installed = await installAdapter(await packed(), { home, abis })
    expect(installed.path).toBe(join(home, 'adapters', 'news'))
    expect(installed.digest).toBe((await readAdapterPackage(await packed())).digest)
    await installAdapter(await packed({ name: 'mail' }), { home, abis })
    expect((await listAdapters({ home })).map(({ name }) => name)).toEqual(['mail', 'news'])
    expect(await resolveAdapter('news', { home })).toBe(installed.path)
    await installAdapter(await packed({ version: '1.3.0' }), { home, abis })
    const entries = await listAdapters({ home })
    expect(entries.map((entry) => 'package' in entry && entry.package.manifest.version)).toEqual(['1.2.0', '1.3.0'])
    await removeAdapter('news', { home })
    expect(readdirSync(join(home, 'adapters'))).toEqual(['mail'])
    await expect(removeAdapter('news', { home })).rejects.toThrow(refused('UNKNOWN_NAME'))
    await expect(removeAdapter('../mail', { home })).rejects.toThrow(refused('UNKNOWN_NAME'))
  })

  test('another ABI is refused by name of both, unless forced', async () => {
    const other = baseOf(12, 16)
    const folder = await packed()
    const attempt = installAdapter(folder, { home, abis: { backbone: other.id } })
    await expect(attempt).rejects.toThrow(refused('NOT_AVAILABLE', 'adapter-incompatible'))
    await expect(attempt).rejects.toThrow(new RegExp(`${abi.id}.*layers 3, width 24.*${other.id}`))
    await expect(installAdapter(folder, { home, abis: {} })).rejects.toThrow(/no backbone/)
    expect(await listAdapters({ home })).toEqual([])
    await installAdapter(folder, { home, abis: { backbone: other.id }, force: true })
    expect(await listAdapters({ home })).toHaveLength(1)
  })

  test('fit: this image, another image of the same ABI, another ABI', async () => {
    const { manifest } = await readAdapterPackage(await packed())
    const { digest } = manifest.base.image
    expect(adapterFit(manifest, { abi: abi.id, digest })).toBe('same')
    expect(adapterFit(manifest, { abi: abi.id, digest: 'c'.repeat(64) })).toBe('revalidate')
    expect(adapterFit(manifest, { abi: 'abi-0000000000000000', digest })).toBe('other-abi')
  })

  test('a name belongs to the app that took it', async () => {
    await installAdapter(await packed(), { home, abis })
    const other = await packed({ app: 'org.example.other' })
    await expect(installAdapter(other, { home, abis })).rejects.toThrow(
      refused('INVALID_REQUEST', 'adapter-name-taken'),
    )
    expect((await readAdapterPackage(join(home, 'adapters', 'news'))).manifest.app).toBe('org.example.reader')
    await installAdapter(other, { home, abis, replace: true })
    expect((await readAdapterPackage(join(home, 'adapters', 'news'))).manifest.app).toBe('org.example.other')
  })

  test('a damaged package is not installed; a damaged copy is told and can be installed again', async () => {
    const folder = await packed()
    const weights = readFileSync(join(folder, 'adapter_model.safetensors'))
    weights[300]! ^= 1
    writeFileSync(join(folder, 'adapter_model.safetensors'), weights)
    await expect(installAdapter(folder, { home, abis })).rejects.toThrow(refused('DIGEST_MISMATCH'))
    expect(existsSync(join(home, 'adapters', 'news'))).toBe(false)
    await installAdapter(await packed(), { home, abis })
    writeFileSync(join(home, 'adapters', 'news', 'adapter_model.safetensors'), weights)
    const [entry] = await listAdapters({ home })
    expect(entry).toMatchObject({ name: 'news', problem: { code: 'DIGEST_MISMATCH' } })
    await installAdapter(await packed(), { home, abis })
    expect((await listAdapters({ home }))[0]).toHaveProperty('package')
  })

  test('a disk that fills up leaves the store as it was', async () => {
    await installAdapter(await packed(), { home, abis })
    const write = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
    const update = await packed({ version: '2.0.0' })
    await expect(installAdapter(update, { home, abis, write })).rejects.toThrow(refused('DISK_FULL'))
    expect(readdirSync(join(home, 'adapters'))).toEqual(['news'])
    expect((await readAdapterPackage(join(home, 'adapters', 'news'))).manifest.version).toBe('1.2.0')
  })

  test('several at once', async () => {
    const folders = await Promise.all(['a', 'b', 'c'].map((name) => packed({ name })))
    await Promise.all([...folders, ...folders].map((folder) => installAdapter(folder, { home, abis })))
    expect((await listAdapters({ home })).map((entry) => [entry.name, 'package' in entry])).toEqual([
      ['a', true],
      ['b', true],
      ['c', true],
    ])
  })

  test('only what a key signed', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'prime256v1',
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    })
    const folder = await packed()
    const options = { home, abis, publicKeyPem: publicKey }
    await expect(installAdapter(folder, options)).rejects.toThrow(refused('INVALID_REQUEST', 'adapter-not-trusted'))
    await signPackage(folder, privateKey)
    const { manifest } = await installAdapter(folder, options)
    expect(manifest.signature).toBeDefined()
  })
})

describe('names', () => {
  test.each(['news', 'a', 'mail.spam-filter_2', '9lives', 'x'.repeat(64)])('%s is one', (name) => {
    expect(isAdapterName(name)).toBe(true)
  })
  test.each([
    '',
    '.',
    '..',
    '.news',
    'news.',
    'News',
    'a/b',
    'a\\b',
    'a..b',
    'con',
    'nul.txt',
    'com1',
    'ä',
    'x'.repeat(65),
    'a b',
  ])('%j is none', (name) => {
    expect(isAdapterName(name)).toBe(false)
  })

  test('resolve: store first, then folders; the nearest name is told', async () => {
    await installAdapter(await packed(), { home, abis })
    const plain = join(root, 'plain')
    await writePeftFolder(plain, abi, trainedLora(abi))
    expect(await resolveAdapter(plain, { home })).toBe(resolve(plain))
    await expect(resolveAdapter('newz', { home })).rejects.toThrow(/Did you mean news/)
    await expect(resolveAdapter('No Name', { home })).rejects.toThrow(refused('UNKNOWN_NAME'))
    mkdirSync(join(root, 'empty'))
    await expect(resolveAdapter(join(root, 'empty'), { home })).rejects.toThrow(refused('FILE_NOT_FOUND'))
    await expect(resolveAdapter('', { home })).rejects.toThrow(refused('UNKNOWN_NAME'))
  })
})

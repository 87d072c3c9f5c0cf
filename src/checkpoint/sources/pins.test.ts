/** Digests that are recorded at the first use, and binding from then on. */

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../core/hash.js'
import { pullFolder } from './folder.js'
import { knownPins, pinSource } from './pins.js'
import { pullSource } from './pull.js'
import type { UnpinnedSource } from './types.js'

let home: string
let file: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'm4-pins-'))
  file = join(home, 'model.bin')
  await writeFile(file, 'weights')
})
afterEach(() => rm(home, { recursive: true, force: true }))

const unpinned = (): UnpinnedSource => ({
  name: 'a model',
  sha256: 'unpinned',
  licence: 'MIT',
  uris: [`file:${file}`],
})
const digest = sha256Hex('weights')

describe('an unpinned source', () => {
  test('is recorded with one warning, then pinned without any', async () => {
    const warnings: string[] = []
    const options = { home, onWarning: (message: string) => void warnings.push(message) }
    const pinned = await pinSource(unpinned(), options)
    expect(pinned).toMatchObject({ sha256: digest, bytes: 7, licence: 'MIT' })
    expect(warnings).toEqual([expect.stringContaining(`a model is pinned by no digest; got sha256-${digest}`)])
    expect(await pinSource(unpinned(), options)).toEqual(pinned)
    expect(await pullSource(pinned, options)).toContain(digest)
    expect(warnings).toHaveLength(1)
    expect(await knownPins([unpinned()], { home })).toEqual([pinned])
  })

  test('other bytes behind the same address are refused', async () => {
    const pinned = await pinSource(unpinned(), { home })
    await rm(join(home, 'blobs'), { recursive: true })
    await writeFile(file, 'Weights')
    await expect(pullSource(await pinSource(unpinned(), { home }), { home })).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    })
    await writeFile(file, 'weights')
    expect(await pullSource(await pinSource(unpinned(), { home }), { home })).toContain(pinned.sha256)
  })

  test('in a folder of files too', async () => {
    const folder = { files: { 'config.json': unpinned() } }
    const path = await pullFolder(folder, { home })
    expect(await readdir(path)).toEqual(['config.json'])
    expect(await pullFolder(folder, { home })).toBe(path)
  })

  test('nothing is fetched while offline, nothing of npm is unpinned, a damaged record is told', async () => {
    const web = { ...unpinned(), uris: ['https://example.org/model.bin'] }
    await expect(pinSource(web, { home, offline: true })).rejects.toMatchObject({ code: 'OFFLINE' })
    const npm = { ...unpinned(), uris: [`npm:a@1.0.0/b#sha512-${'A'.repeat(86)}==`] }
    await expect(pinSource(npm, { home, offline: false })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await pinSource(unpinned(), { home })
    const [name] = await readdir(join(home, 'pins'))
    await writeFile(join(home, 'pins', name!), '{}')
    await expect(pinSource(unpinned(), { home })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })
})

test('a digest that is merely left out is an error', async () => {
  const { sha256: _, ...rest } = unpinned()
  await expect(pullSource({ ...rest, bytes: 7 } as never, { home })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
})

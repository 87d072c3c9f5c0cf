/** Building an image: the same bytes twice, and what is left behind when it cannot be built — nothing. */

import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { isM4Error, type M4Error } from '../src/core/errors.js'
import { hostTensor } from '../src/core/tensor.js'
import { type BuildOptions, buildFirmware, findRecipe, type Recipe } from '../src/firmware/index.js'
import { llamaShapes } from '../src/models/index.js'

let home: string
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'm4fm-build-'))
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

const tiny = findRecipe('tiny-random')

async function failure(building: Promise<unknown>): Promise<M4Error> {
  try {
    await building
  } catch (error) {
    if (isM4Error(error)) return error
    throw error
  }
  throw new Error('the build was expected to fail')
}

/** Every file below a folder with its digest. */
function contents(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length), createHash('sha256').update(readFileSync(path)).digest('hex')]),
  )
}

describe('determinism', () => {
  test('two builds of one recipe are equal byte for byte', async () => {
    const a = await buildFirmware(tiny, { out: join(home, 'a') })
    const b = await buildFirmware(tiny, { out: join(home, 'b') })
    expect(a.digest).toBe(b.digest)
    expect(contents(a.path)).toEqual(contents(b.path))
    expect(Object.keys(contents(a.path)).length).toBeGreaterThan(8)
  })

  test('another seed or another quantisation is another image', async () => {
    const base = await buildFirmware(tiny, { out: join(home, 'a') })
    const int8 = await buildFirmware(tiny, { out: join(home, 'c'), quantisation: 'int8' })
    expect(int8.digest).not.toBe(base.digest)
    expect(int8.manifest.name).toBe('tiny-random-int8')
    expect(int8.manifest.abi.id).toBe(base.manifest.abi.id) // adapters do not care how weights are stored
  })

  test('blobs are named by their content, and random weights are said to be', async () => {
    const { path, manifest } = await buildFirmware(tiny, { out: join(home, 'a') })
    for (const [name, digest] of Object.entries(contents(path)))
      if (name.includes('blobs')) expect(name).toBe(`/blobs/sha256-${digest}`)
    expect(manifest.weights).toBe('random')
  })
})

describe('a build that fails leaves nothing', () => {
  const shapes = Object.entries(
    llamaShapes({
      vocabulary: 259,
      width: 64,
      feedForward: 96,
      layers: 1,
      heads: 4,
      kvHeads: 4,
      headWidth: 16,
      contextLength: 64,
      normEpsilon: 1e-5,
      ropeTheta: 1e4,
    }),
  )
  const HF: Record<string, string> = {
    embed: 'model.embed_tokens.weight',
    'layers.{}/attn/norm': 'model.layers.0.input_layernorm.weight',
    'layers.{}/attn/q': 'model.layers.0.self_attn.q_proj.weight',
    'layers.{}/attn/k': 'model.layers.0.self_attn.k_proj.weight',
    'layers.{}/attn/v': 'model.layers.0.self_attn.v_proj.weight',
    'layers.{}/attn/o': 'model.layers.0.self_attn.o_proj.weight',
    'layers.{}/mlp/norm': 'model.layers.0.post_attention_layernorm.weight',
    'layers.{}/mlp/gate': 'model.layers.0.mlp.gate_proj.weight',
    'layers.{}/mlp/up': 'model.layers.0.mlp.up_proj.weight',
    'layers.{}/mlp/down': 'model.layers.0.mlp.down_proj.weight',
    norm: 'model.norm.weight',
    head: 'lm_head.weight',
  }

  /** A recipe over a checkpoint of one layer, its tensors changed by `edit`. */
  function recipeOf(edit: (dims: Map<string, readonly number[]>) => void): Recipe {
    const dims = new Map(shapes.map(([ours, shape]) => [HF[ours]!, shape]))
    edit(dims)
    const bytes = writeSafetensors(new Map([...dims].map(([name, shape]) => [name, hostTensor('float32', shape)])))
    const path = join(home, `${Math.random().toString(36).slice(2)}.safetensors`)
    writeFileSync(path, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const source = { uris: [`file:${path}`], sha256, bytes: bytes.length, licence: 'CC0-1.0' }
    // Without the toy projection, whose weights are random.
    const { graphs: _, ...rest } = tiny.modules.backbone!
    return {
      ...tiny,
      name: 'broken',
      modules: { backbone: { ...rest, weights: source, config: { num_attention_heads: 4 } } },
    }
  }

  async function expectNothingLeft(recipe: Recipe, options: BuildOptions = {}): Promise<M4Error> {
    const own = mkdtempSync(join(home, 'fails-'))
    const error = await failure(buildFirmware(recipe, { home: own, ...options }))
    const left = readdirSync(own, { recursive: true }).map(String)
    expect(left.filter((name) => /images./.test(name))).toEqual([])
    return error
  }

  test('the checkpoint itself is good', async () => {
    const built = await buildFirmware(
      recipeOf(() => undefined),
      { home },
    )
    expect(built.manifest.weights).toBe('pretrained')
    expect(built.manifest.provenance[0]!.licence).toBe('CC0-1.0')
  })

  test('a missing tensor', async () => {
    const error = await expectNothingLeft(recipeOf((dims) => dims.delete('model.norm.weight')))
    expect(error.code).toBe('FORMAT_UNSUPPORTED') // no known layout has all its names
  })

  test('a tensor missing in a later layer names it', async () => {
    const error = await expectNothingLeft(recipeOf((dims) => dims.set('model.layers.1.input_layernorm.weight', [64])))
    expect(error.code).toBe('TENSOR_MISSING')
    expect(error.message).toContain('model.layers.1.self_attn.q_proj.weight')
  })

  test('an unknown tensor', async () => {
    const error = await expectNothingLeft(recipeOf((dims) => dims.set('model.extra.weight', [3])))
    expect(error.code).toBe('TENSOR_UNUSED')
    expect(error.message).toContain('model.extra.weight')
  })

  test('a tensor of another shape', async () => {
    const error = await expectNothingLeft(recipeOf((dims) => dims.set('model.norm.weight', [63])))
    expect(error.code).toBe('SHAPE_MISMATCH')
    expect(error.details).toMatchObject({ expected: [64], got: [63] })
  })

  test('a wrong digest', async () => {
    const recipe = recipeOf(() => undefined)
    const backbone = recipe.modules.backbone!
    const weights = { ...backbone.weights, sha256: '0'.repeat(64) } as typeof backbone.weights
    const error = await expectNothingLeft({ ...recipe, modules: { backbone: { ...backbone, weights } } })
    expect(error.code).toBe('DIGEST_MISMATCH')
  })

  test('a full disk', async () => {
    let written = 0
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    const write = async (
      file: Parameters<NonNullable<BuildOptions['disk']>['write']>[0],
      bytes: Uint8Array,
      at: number,
    ) => {
      written += bytes.length
      if (written > 50_000) throw full
      return (await file.write(bytes, 0, bytes.length, at)).bytesWritten
    }
    const error = await expectNothingLeft(tiny, { disk: { freeBytes: async () => 1e12, write } })
    expect(error.code).toBe('DISK_FULL')
    expect(error.hint).toContain('M4FM_HOME')
  })

  test('cancelling', async () => {
    const controller = new AbortController()
    const onProgress = () => controller.abort()
    const error = await expectNothingLeft(tiny, { signal: controller.signal, onProgress })
    expect(error.code).toBe('ABORTED')
  })

  test('what a killed build left is cleared by the next', async () => {
    const own = mkdtempSync(join(home, 'killed-'))
    mkdirSync(join(own, '.image.4242-0123abcd.tmp', 'blobs'), { recursive: true })
    await buildFirmware(tiny, { out: join(own, 'image') })
    expect(readdirSync(own)).toEqual(['image'])
  })

  test('an unknown quantisation gives the known ones', async () => {
    const error = await expectNothingLeft(tiny, { quantisation: 'int5' })
    expect(error.code).toBe('UNKNOWN_NAME')
    expect(error.hint).toContain('int4')
  })

  test('a second build of the same image at the same time', async () => {
    const out = join(home, 'contended')
    const results = await Promise.allSettled([buildFirmware(tiny, { out }), buildFirmware(tiny, { out })])
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused).toHaveLength(1)
    expect(isM4Error((refused[0] as PromiseRejectedResult).reason, 'LOCKED')).toBe(true)
  })
})

/** Pictures from end to end: a checkpoint in two layouts to an image, and the command line to a PNG. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, openImage, selfTest } from '../src/firmware/index.js'
import { decodeImage } from '../src/media/index.js'
import { architecture } from '../src/models/index.js'
import { ensureCompiled, runCli } from './helpers/cli.js'

const scratch = mkdtempSync(join(tmpdir(), 'm4-paint-'))
const shared = (name: string) => fileURLToPath(new URL(`../../shared/goldens/${name}`, import.meta.url))

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

describe('m4fm run --task paint', () => {
  const home = join(scratch, 'home')
  const out = join(scratch, 'boat.png')
  const paint = (...words: string[]) => runCli(['run', 'tiny-random', '--task', 'paint', ...words], { home })

  beforeAll(async () => {
    ensureCompiled()
    const tiny = findRecipe('tiny-random')
    const recipe = { ...tiny, modules: { 'IMG-gen': tiny.modules['IMG-gen']! } }
    const { path } = await buildFirmware(recipe, { home })
    await selfTest(await openImage(path), { engine: await openEngine() })
  }, 120_000)

  test('writes a PNG, and the same one again', async () => {
    const first = await paint('a red boat', '--steps', '2', '--out', out, '--json')
    expect(first).toMatchObject({ code: 0 })
    expect(first.json()).toMatchObject({
      output: { width: 16, height: 16, out },
      report: { path: 4, task: 'paint', modules: [{ role: 'IMG-gen' }] },
    })
    const bytes = readFileSync(out)
    expect(await decodeImage(bytes)).toMatchObject({ width: 16, height: 16 })
    const again = await paint('a red boat', '--steps', '2', '--out', out)
    expect(again).toMatchObject({ code: 0, stdout: 'a picture of 16 × 16 dots\n' })
    expect(readFileSync(out).equals(bytes)).toBe(true)
  }, 60_000)

  test('starts from a picture', async () => {
    const changed = join(scratch, 'changed.png')
    const words = ['a blue boat', '--picture', out, '--strength', '0.5', '--steps', '4', '--sampler', 'ddim']
    expect(await paint(...words, '--out', changed)).toMatchObject({ code: 0 })
    expect(readFileSync(changed).equals(readFileSync(out))).toBe(false)
  }, 60_000)

  test('needs a file to write to, and takes no options of other tasks', async () => {
    expect(await paint('a boat')).toMatchObject({ code: 2, stderr: expect.stringContaining('--out picture.png') })
    expect(await paint('a boat', '--out', out, '--voice', '1')).toMatchObject({ code: 2 })
    expect(await paint('a boat', '--out', out, '--steps', '0')).toMatchObject({ code: 2 })
  }, 60_000)
})

describe.runIf(existsSync(shared('sd-pipeline-diffusers')))('a diffusers folder', () => {
  const model = architecture('stable-diffusion')

  test('is one checkpoint, with the configuration of its parts', () => {
    using checkpoint = openCheckpoint(shared('sd-pipeline-diffusers'))
    const { format, metadata, tensors } = checkpoint
    const config = model.configure({ format, metadata, weights: tensors })
    expect(config).toMatchObject({
      text: { width: 24, layers: 2, heads: 4, activation: 'quick_gelu' },
      unet: {
        levels: [
          { channels: 32, depth: 1 },
          { channels: 64, depth: 0 },
        ],
        contextWidth: 24,
      },
      vae: { levels: [32, 32], scale: 0.18215 },
      scheduler: { sampler: 'pndm', stepsOffset: 1, prediction: 'epsilon' },
      latentSize: 32,
    })
    expect(model.weights(config as never, tensors).size).toBe(tensors.size)
    const tensor = tensors.get('unet/conv_in.weight')!
    expect(tensor.float32({ from: 0, to: 1 })).toEqual(tensor.float32().slice(0, 36))
  })

  test('says which part is missing or damaged', () => {
    const folder = join(scratch, 'folder')
    cpSync(shared('sd-pipeline-diffusers'), folder, { recursive: true })
    rmSync(join(folder, 'vae', 'diffusion_pytorch_model.safetensors'))
    expect(() => openCheckpoint(folder)).toThrow(/vae holds no checkpoint/)
    rmSync(join(folder, 'unet', 'config.json'))
    rmSync(join(folder, 'vae'), { recursive: true })
    writeFileSync(join(folder, 'unet', 'config.json'), '{')
    expect(() => openCheckpoint(folder)).toThrow(/config\.json/)
    for (const part of ['unet', 'text_encoder']) rmSync(join(folder, part), { recursive: true })
    expect(() => openCheckpoint(folder)).toThrow(/no part of a model/)
  })
})

test.runIf(existsSync(shared('e2e-sd')))('one .ckpt of LDM, without any configuration', () => {
  using checkpoint = openCheckpoint(shared('e2e-sd/model.ckpt'))
  const { format, metadata, tensors } = checkpoint
  const model = architecture('stable-diffusion')
  const config = { unet: { num_heads: 4 }, text: { num_attention_heads: 2 } }
  const known = model.configure({ format, metadata: { ...metadata, config }, weights: tensors })
  expect(known).toMatchObject({ unet: { contextWidth: 8 }, scheduler: { sampler: 'pndm', trainSteps: 1000 } })
  expect(() => model.configure({ format, metadata, weights: tensors })).toThrow(/num_attention_heads/)
})

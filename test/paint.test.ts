/** Pictures from end to end: a checkpoint in two layouts to an image, and the command line to a PNG. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { normalSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, openImage, type Recipe, selfTest } from '../src/firmware/index.js'
import { decodeImage, encodeWav16, soundChannels } from '../src/media/index.js'
import { architecture } from '../src/models/index.js'
import { createModules, type Firmware, type Item, openFirmware, type PaintRequest } from '../src/runtime/index.js'
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

describe('paint after what was seen, heard, felt or read', () => {
  const home = join(scratch, 'unclip')
  const { modules, ...rest } = findRecipe('tiny-random')
  const { IMG, TXT, IMU, 'AUD-B': hears, 'IMG-gen': plain } = modules
  const given = (plain!.weights as { random: { config: { unet: object } } }).random.config
  const unclip = {
    ...plain!,
    weights: {
      random: { seed: 5, config: { ...given, unet: { ...given.unet, classWidth: 64 }, augment: { width: 32 } } },
    },
  }
  const recipe: Recipe = {
    ...rest,
    name: 'tiny-unclip',
    modules: { IMG: IMG!, TXT: TXT!, IMU: IMU!, 'AUD-B': hears!, 'IMG-gen': unclip },
  }
  const noise = (count: number, seed: number) => Float32Array.from({ length: count }, normalSource(seed))
  const wav = encodeWav16(noise(48_000, 1), 16_000)
  const picture = { data: Uint8Array.from({ length: 2700 }, (_, i) => (i * 37) % 256), width: 30, height: 30 }
  const rows = Array.from({ length: 90 }, (_, n) => Array.from(noise(6, n)))
  const items: readonly (readonly [string, Item])[] = [
    ['AUD-B', { sound: { wav } }],
    ['IMG', { picture }],
    ['IMG', { video: { frames: [picture, { ...picture, data: picture.data.toReversed() }], rateHz: 1 } }],
    ['IMU', { motion: { rows, sampleRateHz: 400 } }],
    ['TXT', 'a red boat'],
  ]
  const open = async (modules: Recipe['modules'], name: string) =>
    openFirmware((await buildFirmware({ ...recipe, modules, name }, { home })).path)
  let firmware: Firmware
  const paint = (more: Partial<PaintRequest>) => firmware.ask({ task: 'paint', steps: 2, sampler: 'ddim', ...more })

  beforeAll(async () => {
    firmware = await open(recipe.modules, 'tiny-unclip')
  }, 120_000)
  afterAll(() => firmware.dispose())

  test('each wakes its encoder and the generator: path 3, and a picture of its own', async () => {
    const pictures = new Set<string>()
    for (const [role, from] of items) {
      const { output, report } = await paint({ from })
      expect(report).toMatchObject({ path: 3, task: 'paint', modules: [{ role }, { role: 'IMG-gen' }] })
      expect(output).toMatchObject({ width: 16, height: 16 })
      expect((await paint({ from })).output).toEqual(output)
      pictures.add(output.data.join())
    }
    pictures.add((await paint({ from: items[0]![1], prompt: 'at night' })).output.data.join())
    pictures.add((await paint({ from: items[0]![1], noiseLevel: 500 })).output.data.join())
    expect(pictures.size).toBe(7)
  }, 60_000)

  test('what unCLIP gets: heads of pictures and texts, scaled vectors of the rest', async () => {
    const engine = await openEngine()
    const sleeping = createModules(firmware.image, engine)
    const [sound, sight, text] = await Promise.all([sleeping.use('AUD-B'), sleeping.use('IMG'), sleeping.use('TXT')])
    const heard = await sound.module.encode(soundChannels(wav).channels)
    const seen = await sight.module.encode(picture)
    const read = await text.module.head('a red boat')
    expect(heard.clips).toBe(3)
    expect(Math.hypot(...seen.embedding)).toBeCloseTo(1, 4)
    expect(Math.hypot(...seen.heads)).not.toBeCloseTo(1, 1)
    const same = [heard.embedding, seen.heads, undefined, undefined, read.head]
    for (const [i, embedding] of same.entries()) {
      if (!embedding) continue
      const { output, report } = await paint({ embedding })
      expect(report).toMatchObject({ path: 4, modules: [{ role: 'IMG-gen' }] })
      expect(output).toEqual((await paint({ from: items[i]![1] })).output)
    }
    for (const lease of [sound, sight, text]) lease.leave()
    sleeping.close()
  }, 60_000)

  test('says what an image lacks, and what does not go together', async () => {
    const from = items[0]![1]
    const embedding = noise(32, 1)
    await expect(paint({ from, embedding })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(paint({ from: { embedding } })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    await expect(paint({})).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    using deaf = await open({ 'IMG-gen': unclip }, 'deaf')
    for (const item of [from, 'a text'])
      await expect(deaf.ask({ task: 'paint', from: item })).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    using texts = await open({ 'IMG-gen': plain!, 'AUD-B': hears! }, 'texts')
    await expect(texts.ask({ task: 'paint', from })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      hint: expect.stringContaining('unclip'),
    })
    expect(texts.loaded()).toEqual([])
  }, 60_000)

  test('m4fm run --task paint --from sound.wav', async () => {
    const [sound, out] = [join(scratch, 'sound.wav'), join(scratch, 'heard.png')]
    writeFileSync(sound, wav)
    const words = ['run', 'tiny-unclip', '--task', 'paint', '--from', sound, '--steps', '2', '--sampler', 'ddim']
    const done = await runCli([...words, '--out', out, '--json'], { home })
    expect(done).toMatchObject({ code: 0 })
    expect(done.json()).toMatchObject({ report: { path: 3, modules: [{ role: 'AUD-B' }, { role: 'IMG-gen' }] } })
    const expected = (await paint({ from: items[0]![1] })).output
    expect(await decodeImage(readFileSync(out))).toEqual(expected)
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

/** The picture generator of `lite` from end to end: its graph against loops over numbers, and requests on a toy image. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../src/core/disposal.js'
import { normalSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, type ModuleRecipe, type Recipe } from '../src/firmware/index.js'
import { encodeModel } from '../src/graph/index.js'
import { encodeWav16 } from '../src/media/index.js'
import { ARCHITECTURES, type SmallFlowConfig, smallFlowShapes, type WeightTensor } from '../src/models/index.js'
import { sinusoids } from '../src/models/stable-diffusion/sinusoids.js'
import { type Firmware, openFirmware, type PaintRequest } from '../src/runtime/index.js'
import { openFlowPainter } from '../src/runtime/small-flow.js'
import { velocityReference } from './helpers/small-flow-reference.js'

const CONFIG: SmallFlowConfig = {
  channels: 2,
  size: 8,
  patch: 4,
  width: 12,
  feedForward: 20,
  layers: 2,
  heads: 3,
  joint: 32,
  conditionWidth: 6,
}
const OPTIONS = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: [] } as const
const model = ARCHITECTURES['small-flow']
const noise = (count: number, seed: number) => Float32Array.from({ length: count }, normalSource(seed))

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

/** No number of them is 0 or 1, biases included. */
function anyWeights(): Map<string, WeightTensor> {
  const shapes = Object.entries(smallFlowShapes(CONFIG)).flatMap(([pattern, dims]) =>
    [0, 1]
      .slice(0, pattern.includes('{}') ? 2 : 1)
      .map((layer) => [pattern.replace('{}', String(layer)), dims] as const),
  )
  return new Map(
    shapes.map(([name, dims], i) => {
      const data = noise(
        dims.reduce((a, b) => a * b, 1),
        i,
      ).map((value) => 0.4 * value)
      return [name, { name, dims, float32: () => data }]
    }),
  )
}

describe('the graph', () => {
  const weights = anyWeights()

  test('says the velocity that loops over numbers say', async () => {
    const engine = await openEngine()
    const graph = model.graphs(CONFIG, weights, OPTIONS).velocity!()
    using session = await engine.createSession({ bytes: await encodeModel(graph) })
    const [picture, joint] = [noise(2 * 128, 50), noise(2 * 32, 51)]
    joint.fill(0, 32)
    const times = [137, 1000]
    const feeds = {
      picture: engine.tensor('float32', [2, 2, 8, 8], picture),
      time: engine.tensor('int64', [2], BigInt64Array.from(times, BigInt)),
      joint: engine.tensor('float32', [2, 32], joint),
    }
    const { velocity } = await session.run(feeds)
    const waves = sinusoids(1001, 128)
    for (const row of [0, 1]) {
      const expected = velocityReference(CONFIG, weights, {
        picture: picture.subarray(row * 128, (row + 1) * 128),
        rest: [0.863, 0.05][row]!,
        waves: waves.subarray(times[row]! * 128, (times[row]! + 1) * 128),
        joint: joint.subarray(row * 32, (row + 1) * 32),
      })
      const got = (velocity!.data as Float32Array).subarray(row * 128, (row + 1) * 128)
      expected.forEach((value, i) => {
        expect(got[i]).toBeCloseTo(value, 3)
      })
    }
    for (const tensor of [velocity!, ...Object.values(feeds)]) tensor.dispose()
  })

  test('takes its sizes from the tensors, and refuses patches that are no squares', () => {
    const facts = (config: object) => ({ format: 'safetensors', metadata: { config }, weights })
    expect(model.configure(facts({ channels: 2, heads: 3 }))).toEqual(CONFIG)
    expect(model.weights(CONFIG, weights).size).toBe(weights.size)
    expect(() => model.configure(facts({ channels: 3, heads: 3 }))).toThrow(/square/)
    expect(() => model.configure(facts({ channels: 2 }))).toThrow(/heads/)
  })
})

describe('paint after a vector of the joint space', () => {
  const home = mkdtempSync(join(tmpdir(), 'm4-flow-'))
  const { modules, ...rest } = findRecipe('tiny-random')
  const generator: ModuleRecipe = {
    architecture: 'small-flow',
    title: 'random small flow',
    weights: { random: { seed: 3, config: CONFIG } },
    quantisations: { fp32: { default: 'fp32' } },
    space: 'imagebind',
  }
  const senses = { TXT: modules.TXT!, 'AUD-B': modules['AUD-B']! }
  const build = async (name: string, chosen: Recipe['modules']) =>
    openFirmware((await buildFirmware({ ...rest, name, modules: chosen }, { home })).path)
  const sound = { wav: encodeWav16(noise(48_000, 1), 16_000) }
  let firmware: Firmware
  const paint = (more: Partial<PaintRequest>) => firmware.ask({ task: 'paint', steps: 3, ...more })

  beforeAll(async () => {
    firmware = await build('tiny-flow', { ...senses, 'IMG-gen': generator })
  }, 60_000)
  afterAll(() => {
    firmware.dispose()
    rmSync(home, { recursive: true, force: true })
  })

  test('a text wakes TXT, a sound AUD-B, both path 3; a vector nothing more, path 4', async () => {
    const woken = async (more: Partial<PaintRequest>) => {
      const { output, report } = await paint(more)
      expect(output).toMatchObject({ width: 8, height: 8 })
      return [report.path, ...report.modules.map(({ role }) => role)]
    }
    expect(await woken({ prompt: 'a red boat' })).toEqual([3, 'TXT', 'IMG-gen'])
    expect(await woken({ from: 'a red boat' })).toEqual([3, 'TXT', 'IMG-gen'])
    expect(await woken({ from: { sound } })).toEqual([3, 'AUD-B', 'IMG-gen'])
    expect(await woken({ embedding: noise(32, 2) })).toEqual([4, 'IMG-gen'])
  })

  test('the same request gives the same picture, and everything that is said counts', async () => {
    const first = (await paint({ prompt: 'a red boat' })).output
    expect((await paint({ prompt: 'a red boat' })).output).toEqual(first)
    const { output } = await firmware.ask({ task: 'embed', texts: ['a red boat'] })
    expect((await paint({ embedding: output.embeddings[0]! })).output).toEqual(first)
    const others: Partial<PaintRequest>[] = [
      { seed: 1 },
      { guidance: 4 },
      { guidance: 1 },
      { steps: 7 },
      { negative: 'a blue boat' },
      { prompt: 'a dog' },
    ]
    const pictures = new Set([first.data.join()])
    for (const more of others) pictures.add((await paint({ prompt: 'a red boat', ...more })).output.data.join())
    expect(pictures.size).toBe(others.length + 1)
  })

  test('one step without guidance is noise plus velocity', async () => {
    const engine = await openEngine()
    const { image } = firmware
    using painter = await openFlowPainter(image, 'IMG-gen', image.manifest.modules['IMG-gen']!, engine)
    const given = noise(32, 8)
    const steps = painter.paint({ given, away: noise(32, 9), steps: 1, guidance: 1, seed: 5 })
    expect(await steps.next()).toEqual({ done: false, value: { done: 1, of: 1 } })
    const { value } = await steps.next()
    const start = noise(128, 5)
    const velocity = velocityReference(CONFIG, model.random(CONFIG, 3), {
      picture: start,
      rest: 1,
      waves: sinusoids(1, 128),
      joint: given,
    })
    const { data } = value as { data: Uint8Array }
    for (let i = 0; i < 64; i++) {
      const shade = 127.5 * (start[i]! + velocity[i]! + 1)
      expect(Math.abs(data[3 * i]! - Math.min(255, Math.max(0, shade)))).toBeLessThan(1)
    }
  })

  test.each<[string, Partial<PaintRequest>, string]>([
    ['nothing', {}, 'EMPTY_INPUT'],
    ['only spaces', { prompt: '  ' }, 'EMPTY_INPUT'],
    ['steps 0', { prompt: 'a', steps: 0 }, 'INVALID_REQUEST'],
    ['half a step', { prompt: 'a', steps: 2.5 }, 'INVALID_REQUEST'],
    ['guidance NaN', { prompt: 'a', guidance: Number.NaN }, 'INVALID_REQUEST'],
    ['a seed below 0', { prompt: 'a', seed: -1 }, 'INVALID_REQUEST'],
    ['another width', { prompt: 'a', width: 16 }, 'INVALID_REQUEST'],
    ['another height', { prompt: 'a', height: 7 }, 'INVALID_REQUEST'],
    ['a sampler', { prompt: 'a', sampler: 'ddim' }, 'INVALID_REQUEST'],
    ['a noise level', { prompt: 'a', noiseLevel: 3 }, 'INVALID_REQUEST'],
    [
      'a picture to start from',
      { prompt: 'a', picture: { data: new Uint8Array(192), width: 8, height: 8 } },
      'INVALID_REQUEST',
    ],
    ['two things to paint after', { prompt: 'a', from: 'b' }, 'INVALID_REQUEST'],
    ['a vector of zeros', { embedding: new Float32Array(32) }, 'INVALID_REQUEST'],
    ['a vector of another width', { embedding: noise(8, 1) }, 'SHAPE_MISMATCH'],
    ['a picture without IMG', { from: { picture: { data: new Uint8Array(3), width: 1, height: 1 } } }, 'NOT_AVAILABLE'],
  ])('refuses %s', async (_, request, code) => {
    await expect(paint(request)).rejects.toMatchObject({ code })
  })

  test('upscale: four dots for one, each colour by itself; path 4, the generator alone', async () => {
    const config = { scale: 2, widths: [4, 4] } as const
    const part: NonNullable<ModuleRecipe['graphs']>[string] = {
      architecture: 'upscaler',
      title: 'random upscaler',
      weights: { random: { seed: 4, config } },
      quantisation: { default: 'fp32' },
    }
    using sharp = await build('sharp', { 'IMG-gen': { ...generator, graphs: { upscale: part } } })
    expect(sharp.tasks()).toContain('upscale')
    const picture = { data: Uint8Array.from({ length: 3 * 6 * 4 }, (_, i) => (i * 53) % 256), width: 6, height: 4 }
    const { output, report } = await sharp.ask({ task: 'upscale', picture })
    expect(output).toMatchObject({ width: 12, height: 8 })
    expect(report).toMatchObject({ path: 4, modules: [{ role: 'IMG-gen' }] })
    const swapped = { ...picture, data: picture.data.map((_, i) => picture.data[i - (i % 3) + ((i + 1) % 3)]!) }
    const other = (await sharp.ask({ task: 'upscale', picture: swapped })).output
    expect(other.data).toEqual(output.data.map((_, i) => output.data[i - (i % 3) + ((i + 1) % 3)]!))
    const huge = { data: new Uint8Array(3 * 1025 * 1024), width: 1025, height: 1024 }
    for (const wrong of [huge, { ...picture, width: 5 }, undefined as never])
      await expect(sharp.ask({ task: 'upscale', picture: wrong })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    expect(firmware.tasks()).not.toContain('upscale')
    await expect(firmware.ask({ task: 'upscale', picture })).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
  })

  test('vectors of another space are refused before anything wakes', async () => {
    using other = await build('other-space', { ...senses, 'IMG-gen': { ...generator, space: 'minilm-384' } })
    await expect(other.ask({ task: 'paint', prompt: 'a' })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringContaining('minilm-384'),
    })
    expect(other.loaded()).toEqual([])
    using deaf = await build('without-text', { 'IMG-gen': generator })
    await expect(deaf.ask({ task: 'paint', prompt: 'a' })).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
  })
})

/** ResNet as the encoder of pictures: its classes, its middle layers for heads, and the joint space of an encoder of text. */

import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles, randomSource } from '../src/core/index.js'
import { buildFirmware, findRecipe, type ModuleRecipe, type Recipe } from '../src/firmware/index.js'
import type { HeadAdapter } from '../src/runtime/class-head.js'
import { featureLayers } from '../src/runtime/feature-layers.js'
import { readHeadAdapter } from '../src/runtime/head-adapter.js'
import { type Firmware, type Item, openFirmware } from '../src/runtime/index.js'
import { trainAdapter } from '../src/train/index.js'

const [SIZE, SMALL, CLASSES, JOINT] = [64, { below: 24, size: 32 }, 5, 32]
const CLASS_NAMES = ['cat', 'dog', 'car', 'tree', 'boat']
/** Behind blocks 2, 3 and 4, four times the widths of their stages; then the classes. */
const LAYERS = [12, 12, 16, CLASSES]
const FEATURES = LAYERS.reduce((a, b) => a + b)

let folder: string
let firmware: Firmware

const source = (name: string, text: string) => {
  const path = join(folder, name)
  writeFileSync(path, text)
  const sha256 = createHash('sha256').update(text).digest('hex')
  return { uris: [`file:${path}`], sha256, bytes: Buffer.byteLength(text), licence: 'CC0-1.0' }
}

const encoder = (): ModuleRecipe => ({
  architecture: 'resnet',
  title: 'random ResNet',
  weights: {
    random: {
      seed: 11,
      config: {
        size: SIZE,
        small: SMALL,
        stages: [1, 2, 1],
        classes: CLASSES,
        widths: [2, 3, 4],
        stemWidth: 3,
        normEpsilon: 1e-3,
      },
    },
  },
  quantisations: { fp32: { default: 'fp32' } },
  space: 'imagebind',
  confidence: { logitScale: 20, threshold: 0.9 },
  files: { labels: source('labels.json', JSON.stringify(CLASS_NAMES)) },
  graphs: {
    join: {
      architecture: 'join',
      title: 'random join',
      weights: { random: { seed: 12, config: { in: FEATURES, reads: 'features', joint: JOINT } } },
      quantisation: { default: 'fp32' },
    },
  },
})

const build = async (name: string, IMG: ModuleRecipe) => {
  const toy = findRecipe('tiny-random')
  const recipe: Recipe = { ...toy, name, modules: { TXT: toy.modules.TXT!, IMG } }
  return openFirmware((await buildFirmware(recipe, { home: folder, offline: true })).path)
}

/** Dots at random. */
const dots = (seed: number, width: number, height: number) => {
  const uniform = randomSource(seed)
  return { data: Uint8Array.from({ length: width * height * 3 }, () => Math.floor(256 * uniform())), width, height }
}
const picture = (seed: number, width = 90, height = 70): Item => ({ picture: dots(seed, width, height) })
const raw = (seed: number, width: number, height: number, channels: 1 | 3 | 4) => {
  const uniform = randomSource(seed)
  const data = Uint8Array.from({ length: width * height * channels }, () => Math.floor(256 * uniform()))
  return sharp(data, { raw: { width, height, channels } })
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-resnet-'))
  firmware = await build('encoder', encoder())
})
afterAll(async () => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
  await rm(folder, { recursive: true, force: true })
})

const embed = async (items: readonly Item[], of?: 'features') =>
  (await firmware.ask({ task: 'embed', items, ...(of ? { of } : {}) })).output.embeddings

describe('vectors', () => {
  test('the joint space has the width of the texts; features are the layers, each of one length', async () => {
    const [vector, text] = await embed([picture(1), 'a text'])
    expect([vector!.length, text!.length]).toEqual([JOINT, JOINT])
    expect(Math.hypot(...vector!)).toBeCloseTo(1, 5)
    const [features] = await embed([picture(1)], 'features')
    expect(features).toHaveLength(FEATURES)
    let at = 0
    for (const width of LAYERS) {
      // Four layers of one length in a vector of length 1.
      expect(Math.hypot(...features!.slice(at, at + width))).toBeCloseTo(Math.sqrt(1 / LAYERS.length), 5)
      at += width
    }
  })

  test('the last of the features are the square roots of the classes', async () => {
    const [features] = await embed([picture(2)], 'features')
    const { scores } = (await firmware.ask({ task: 'match', items: [picture(2)] })).output.matches[0]!
    for (const { label, probability } of scores) {
      const root = features![FEATURES - CLASSES + CLASS_NAMES.indexOf(label)]! * Math.sqrt(LAYERS.length)
      expect(root ** 2).toBeCloseTo(probability!, 5)
    }
  })

  test('a tiny picture is seen small, and only a tiny one', async () => {
    const { small: _, ...config } = (encoder().weights as { random: { config: Record<string, unknown> } }).random
      .config as Record<string, unknown>
    using whole = await build('whole', { ...encoder(), weights: { random: { seed: 11, config } } })
    const of = async (item: Item) => {
      const { embeddings } = (await whole.ask({ task: 'embed', of: 'features', items: [item] })).output
      const [other] = await embed([item], 'features')
      return Math.max(...embeddings[0]!.map((value, i) => Math.abs(value - other![i]!)))
    }
    expect(await of(picture(3, 200, SMALL.below))).toBeLessThan(1e-6)
    expect(await of(picture(3, 200, SMALL.below - 1))).toBeGreaterThan(1e-3)
  })
})

describe('match and retrieve', () => {
  test('without labels the classes of the encoder answer, and no text wakes', async () => {
    const { output, report } = await firmware.ask({ task: 'match', items: [picture(1), picture(2)] })
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG'])
    for (const { label, scores } of output.matches) {
      expect(scores.map((score) => score.label).sort()).toEqual([...CLASS_NAMES].sort())
      expect(scores.reduce((sum, { probability }) => sum + probability!, 0)).toBeCloseTo(1, 5)
      expect(scores[0]).toMatchObject({ label, probability: Math.max(...scores.map((score) => score.probability!)) })
    }
  })

  test('with labels: shares at the measured scale, and a flag below the measured threshold', async () => {
    const [vector, cat, dog] = await embed([picture(1), 'cat', 'dog'])
    const { matches } = (await firmware.ask({ task: 'match', items: [picture(1)], labels: ['cat', 'dog'] })).output
    const dot = (text: Float32Array) => vector!.reduce((sum, value, i) => sum + value * text[i]!, 0)
    const difference = Math.abs(dot(cat!) - dot(dog!))
    const expected = 1 / (1 + Math.exp(-20 * difference))
    expect(matches[0]!.scores[0]!.probability).toBeCloseTo(expected, 5)
    expect(matches[0]!.confident).toBe(expected >= 0.9)
    using bold = await build('bold', { ...encoder(), confidence: { logitScale: 1e4, threshold: 0.9 } })
    const sure = await bold.ask({ task: 'match', items: [picture(1)], labels: ['cat', 'dog'] })
    expect(sure.output.matches[0]!.confident).toBe(true)
    using timid = await build('timid', { ...encoder(), confidence: { logitScale: 1e-3, threshold: 0.9 } })
    const unsure = await timid.ask({ task: 'match', items: [picture(1)], labels: ['cat', 'dog'] })
    expect(unsure.output.matches[0]!.confident).toBe(false)
  })

  test('a gallery of pictures, by a picture and by a text', async () => {
    const gallery = [picture(1), picture(2), picture(3)]
    const { results } = (await firmware.ask({ task: 'retrieve', items: [picture(2), 'cat'], gallery, top: 3 })).output
    expect(results[0]![0]).toMatchObject({ index: 1, similarity: expect.closeTo(1, 5) })
    const [text, ...vectors] = await embed(['cat', ...gallery])
    const closeness = vectors.map((vector) => vector.reduce((sum, value, i) => sum + value * text![i]!, 0))
    expect(results[1]![0]!.index).toBe(closeness.indexOf(Math.max(...closeness)))
  })

  test('a head of an app reads the features', async () => {
    const weight = Float32Array.from({ length: 2 * FEATURES }, (_, i) => Math.sin(i))
    const adapter: HeadAdapter = {
      kind: 'head',
      name: 'two',
      type: 'classifier',
      module: 'IMG',
      in: FEATURES,
      out: 2,
      labels: ['a', 'b'],
      layers: [{ in: FEATURES, out: 2, weight, bias: new Float32Array(2) }],
    }
    const [features] = await embed([picture(4)], 'features')
    const logits = [0, 1].map((k) => features!.reduce((sum, x, i) => sum + x * weight[k * FEATURES + i]!, 0))
    const { scores } = (await firmware.ask({ task: 'match', items: [picture(4)], adapter })).output.matches[0]!
    const a = scores.find(({ label }) => label === 'a')!.probability
    expect(a).toBeCloseTo(1 / (1 + Math.exp(logits[1]! - logits[0]!)), 5)
    const narrow = {
      ...adapter,
      in: 3,
      layers: [{ in: 3, out: 2, weight: weight.slice(0, 6), bias: new Float32Array(2) }],
    }
    const asked = firmware.ask({ task: 'match', items: [picture(4)], adapter: narrow })
    await expect(asked).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })
})

describe('training', () => {
  test('a head reads the layers that were asked for, and no other', async () => {
    const data = join(folder, 'data')
    for (const [k, label] of ['a', 'b'].entries()) {
      mkdirSync(join(data, label), { recursive: true })
      for (let i = 0; i < 6; i++)
        writeFileSync(
          join(data, label, `${i}.png`),
          await raw(20 * k + i, 40, 30, 3)
            .png()
            .toBuffer(),
        )
    }
    const { image, engine } = firmware
    const train = (layers: readonly string[], out: string) =>
      trainAdapter({ image, engine, data, out: join(folder, out), options: { layers, steps: 3, evalEvery: 1 } })
    await train(['pooled/s3'], 'narrow')
    const { layers } = (await readHeadAdapter(join(folder, 'narrow'))).adapter
    const known = featureLayers(firmware.manifest.modules.IMG!)
    expect(known.map(({ start, end }) => end - start)).toEqual(LAYERS)
    const { start, end } = known.find(({ name }) => name === 'pooled/s3')!
    const column = (c: number) => [0, 1].map((k) => Math.abs(layers[0]!.weight[k * FEATURES + c]!))
    for (let c = 0; c < FEATURES; c++) if (c < start || c >= end) expect(column(c)).toEqual([0, 0])
    expect(Math.max(...Array.from({ length: end - start }, (_, i) => Math.max(...column(start + i))))).toBeGreaterThan(
      0,
    )
    await expect(train(['pooled/s9'], 'none')).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
  })
})

describe('odd pictures', () => {
  const files: Readonly<Record<string, () => Promise<Buffer>>> = {
    'one dot': () => raw(1, 1, 1, 3).png().toBuffer(),
    'a line of 20,000 × 10': () => raw(2, 20_000, 10, 3).png().toBuffer(),
    'a palette': () => raw(3, 40, 30, 3).png({ palette: true, colours: 16 }).toBuffer(),
    alpha: () => raw(4, 40, 30, 4).png().toBuffer(),
    grey: () => raw(5, 40, 30, 1).png().toBuffer(),
    CMYK: () => raw(6, 40, 30, 3).toColourspace('cmyk').jpeg().toBuffer(),
  }
  test.each(Object.keys(files))('%s gives a unit vector and classes', async (name) => {
    const item = { picture: { file: await files[name]!() } }
    const [vector] = await embed([item])
    expect(Math.hypot(...vector!)).toBeCloseTo(1, 5)
    const { scores } = (await firmware.ask({ task: 'match', items: [item] })).output.matches[0]!
    expect(scores).toHaveLength(CLASSES)
  })

  test.each<[string, object, string]>([
    [
      'a cut file',
      { items: [{ picture: { file: new Uint8Array(60).fill(137) } }], labels: ['a', 'b'] },
      'PICTURE_INVALID',
    ],
    ['no labels', { items: [picture(1)], labels: [] }, 'INVALID_REQUEST'],
    ['a label twice', { items: [picture(1)], labels: ['a', 'b', 'a'] }, 'INVALID_REQUEST'],
    ['an empty label', { items: [picture(1)], labels: ['a', ' '] }, 'INVALID_REQUEST'],
    ['a text without labels', { items: ['a text'] }, 'INVALID_REQUEST'],
    ['a video', { items: [{ video: { frames: [dots(1, 40, 30)], rateHz: 1 } }] }, 'NOT_AVAILABLE'],
  ])('%s is refused', async (_, request, code) => {
    await expect(firmware.ask({ task: 'match', ...request } as never)).rejects.toMatchObject({ code })
  })

  test('classes that are not named, and a confidence that is none, are errors of the image', async () => {
    using few = await build('few', { ...encoder(), files: { labels: source('few.json', '["cat"]') } })
    await expect(few.ask({ task: 'match', items: [picture(1)] })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    using odd = await build('odd', { ...encoder(), confidence: { logitScale: 0, threshold: 0.9 } })
    const asked = odd.ask({ task: 'match', items: [picture(1)], labels: ['a', 'b'] })
    await expect(asked).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })
})

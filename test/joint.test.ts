/** Path 3 over every encoder, and path 1 through a soft token, on `tiny-random`. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles, normalSource } from '../src/core/index.js'
import { buildFirmware, findRecipe, type Recipe } from '../src/firmware/index.js'
import { encodePng, encodeWav16, type Picture } from '../src/media/index.js'
import { type Firmware, type Item, openFirmware, type Request } from '../src/runtime/index.js'

const noise = (count: number, seed: number) => Float32Array.from({ length: count }, normalSource(seed))

const png = (seed: number, width = 40, height = 30) => {
  const data = Uint8Array.from(noise(width * height * 3, seed), (value) => 128 + 60 * value)
  return encodePng({ data, width, height })
}
const wav = (seconds: number, seed: number) =>
  encodeWav16(
    noise(16_000 * seconds, seed).map((value) => 0.1 * value),
    16_000,
  )
const fileOf = async (picture: Picture) => ({ file: await encodePng(picture) })
const motion = (samples: number, seed: number) => ({
  rows: Array.from({ length: samples }, (_, n) => Array.from(noise(6, 100 * seed + n))),
  sampleRateHz: 400,
})

let folder: string
let firmware: Firmware
let items: readonly Item[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-joint-'))
  const { path } = await buildFirmware(findRecipe('tiny-random'), { out: join(folder, 'image') })
  firmware = await openFirmware(path)
  items = ['a text', { picture: { file: await png(1) } }, { sound: { wav: wav(3, 2) } }, { motion: motion(90, 3) }]
})
afterAll(async () => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
  await rm(folder, { recursive: true, force: true })
})

const embed = async (...list: Item[]) => (await firmware.ask({ task: 'embed', items: list })).output.embeddings

describe('one space', () => {
  test('embed takes any mix, wakes only what it needs, and gives unit vectors in order', async () => {
    const { output, report } = await firmware.ask({ task: 'embed', items })
    expect(output.embeddings.map(({ length }) => length)).toEqual([32, 32, 32, 32])
    for (const vector of output.embeddings) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    expect(report.path).toBe(3)
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG', 'AUD-B', 'IMU', 'TXT'])
    for (const [i, item] of items.entries()) {
      const [alone] = await embed(item)
      expect(Math.max(...alone!.map((value, k) => Math.abs(value - output.embeddings[i]![k]!)))).toBeLessThan(1e-5)
    }
    const { report: one } = await firmware.ask({ task: 'embed', items: [items[1]!] })
    expect(one.modules.map(({ role }) => role)).toEqual(['IMG'])
  })

  test('what is embedded depends on every part of it', async () => {
    const [picture, other] = await embed(items[1]!, { picture: { file: await png(2) } })
    expect([...picture!]).not.toEqual([...other!])
    const [short, long] = await embed({ sound: { wav: wav(3, 2) } }, { sound: { wav: wav(5, 2) } })
    expect([...short!]).not.toEqual([...long!])
    // Two windows of 40 samples, the rest in none: the second counts.
    const { rows } = motion(90, 3)
    const [both, first] = await embed(
      { motion: { rows, sampleRateHz: 400 } },
      { motion: { rows: rows.slice(0, 41), sampleRateHz: 400 } },
    )
    expect([...both!]).not.toEqual([...first!])
  })

  test('samples, dots and times say the same as files and rates', async () => {
    const { rows } = motion(60, 4)
    const timesS = rows.map((_, n) => 10 + n / 400)
    const [a, b] = await embed({ motion: { rows, sampleRateHz: 400 } }, { motion: { rows, timesS } })
    expect(Math.max(...a!.map((value, i) => Math.abs(value - b![i]!)))).toBeLessThan(1e-3)
    const data = new Uint8Array(3 * 20 * 50).fill(200)
    const [dots, file] = await embed(
      { picture: { data, width: 50, height: 20 } },
      { picture: { file: await encodePng({ data, width: 50, height: 20 }) } },
    )
    expect([...dots!]).toEqual([...file!])
  })

  test('a video: crops of its clips, and only the frames that are looked at', async () => {
    const dots = (seed: number, width: number, height: number) => ({
      data: Uint8Array.from(noise(width * height * 3, seed), (value) => 128 + 60 * value),
      width,
      height,
    })
    // Nothing to resize or to cut: a still video is its picture.
    const still = dots(1, 28, 28)
    const [video, picture] = await embed(
      { video: { frames: Array.from({ length: 9 }, () => still), rateHz: 2 } },
      { picture: still },
    )
    expect(Math.max(...video!.map((value, i) => Math.abs(value - picture![i]!)))).toBeLessThan(1e-4)

    // 4 s of 4 frames each: clips begin at 0, 2, 4, 6, 8 and end 7 frames later.
    const frames = Array.from({ length: 16 }, (_, n) => dots(n, 40, 30))
    const changed = (n: number) => ({
      video: { frames: frames.map((frame, i) => (i === n ? dots(99, 40, 30) : frame)), rateHz: 4 },
    })
    const [whole, unseen, last] = await embed({ video: { frames, rateHz: 4 } }, changed(1), changed(15))
    expect([...unseen!]).toEqual([...whole!])
    expect([...last!]).not.toEqual([...whole!])

    const request = { items: [{ video: { frames, rateHz: 4 } }, items[1]!] } as const
    const { output, report } = await firmware.ask({ task: 'match', ...request, labels: ['cat', 'dog'] })
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG', 'TXT'])
    expect(output.matches).toHaveLength(2)
    const gallery = [items[1]!, { video: { frames: await Promise.all(frames.map(fileOf)), rateHz: 4 } }]
    const { results } = (await firmware.ask({ task: 'retrieve', ...request, gallery, top: 1 })).output
    expect(results.map(([best]) => best!.index)).toEqual([1, 0])
    const asked = await firmware.ask({ task: 'describe', items: [request.items[0]], maxTokens: 1 })
    expect(asked.report.modules.map(({ role }) => role)).toEqual(['IMG', 'backbone'])
  })

  test('similarity between items of any kind', async () => {
    const { similarities } = (await firmware.ask({ task: 'similarity', items, others: [items[1]!, 'x'] })).output
    expect(similarities.map((row) => row.length)).toEqual([2, 2, 2, 2])
    expect(similarities[1]![0]).toBeCloseTo(1, 5)
    const square = (await firmware.ask({ task: 'similarity', items })).output.similarities
    for (let i = 0; i < 4; i++) for (let k = 0; k < 4; k++) expect(square[i]![k]).toBeCloseTo(square[k]![i]!, 5)
  })

  test('match names pictures: cosines, and shares at the scale of the text encoder', async () => {
    const request = { task: 'match', items: [items[1]!, items[2]!], labels: ['cat', 'dog', 'car'] } as const
    const { output, report } = await firmware.ask(request)
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG', 'AUD-B', 'TXT'])
    const bare = await firmware.ask({ ...request, template: '{}' })
    expect(bare.output).toEqual(output)
    for (const { label, scores } of output.matches) {
      expect(label).toBe(scores[0]!.label)
      expect(scores.reduce((sum, { probability }) => sum + probability!, 0)).toBeCloseTo(1, 9)
      // All logarithms of shares lie on one line over the cosines: its slope is the scale.
      const [x, y, z] = scores.map(({ similarity, probability }) => [similarity!, Math.log(probability!)] as const)
      const slope = (a: readonly number[], b: readonly number[]) => (a[1]! - b[1]!) / (a[0]! - b[0]!)
      expect(slope(x!, z!)).toBeCloseTo(slope(x!, y!), 3)
      expect(slope(x!, z!)).toBeGreaterThan(0)
    }
  })

  test('retrieve: nearest first, galleries of earlier embeddings too', async () => {
    const gallery: Item[] = ['one', items[1]!, items[3]!, { picture: { file: await png(5) } }]
    const { results } = (await firmware.ask({ task: 'retrieve', items: [items[1]!, 'one'], gallery, top: 3 })).output
    expect(results.map((row) => row.length)).toEqual([3, 3])
    expect(results.map(([best]) => best!.index)).toEqual([1, 0])
    expect(results[0]![0]!.similarity).toBeCloseTo(1, 5)
    const kept = (await embed(...gallery)).map((embedding) => ({ embedding }))
    const again = await firmware.ask({ task: 'retrieve', items: [items[1]!, 'one'], gallery: kept, top: 3 })
    expect(again.output.results.map((row) => row.map(({ index }) => index))).toEqual(
      results.map((row) => row.map(({ index }) => index)),
    )
    expect(again.report.modules.map(({ role }) => role)).toEqual(['IMG', 'TXT'])
    const all = await firmware.ask({ task: 'retrieve', items: ['one'], gallery: ['a', 'b'] })
    expect(all.output.results[0]).toHaveLength(2)
  })
})

describe('describe', () => {
  test('a picture becomes a soft token, the backbone answers, and what was seen matters', async () => {
    const ask = (item: Item, question?: string) =>
      firmware.ask({ task: 'describe', items: [item], maxTokens: 12, ...(question ? { question } : {}) })
    const { output, report } = await ask(items[1]!)
    expect(report.path).toBe(1)
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG', 'backbone'])
    expect(report.stages.map(({ name }) => name)).toEqual(expect.arrayContaining(['encode', 'project', 'prefill']))
    expect(output.text).toBe((await ask(items[1]!)).output.text)
    const others = await Promise.all([ask({ picture: { file: await png(9) } }), ask(items[2]!), ask(items[3]!)])
    expect(new Set([output.text, ...others.map((other) => other.output.text)]).size).toBeGreaterThan(1)
    expect((await ask(items[1]!, 'Which?')).report.tokens.prompt).toBeLessThan(report.tokens.prompt)
  })

  test('several items are one soft token: no more places in the prompt', async () => {
    const [one, three] = await Promise.all(
      [[items[1]!], items.slice(1)].map((list) => firmware.ask({ task: 'describe', items: list, maxTokens: 1 })),
    )
    expect(three!.report.tokens.prompt).toBe(one!.report.tokens.prompt)
    expect(three!.report.modules.map(({ role }) => role)).toEqual(['IMG', 'AUD-B', 'IMU', 'backbone'])
  })
})

describe('bad input', () => {
  const dot = { data: new Uint8Array(3), width: 1, height: 1 }
  const cut = async () => (await png(1)).slice(0, 60)

  test.each<[string, () => Promise<Request> | Request, string]>([
    ['no items', () => ({ task: 'embed', items: [] }), 'EMPTY_INPUT'],
    ['texts and items', () => ({ task: 'embed', texts: ['x'], items: ['x'] }), 'INVALID_REQUEST'],
    ['neither', () => ({ task: 'match', labels: ['a', 'b'] }), 'INVALID_REQUEST'],
    ['no labels', () => ({ task: 'match', items, labels: [] }), 'INVALID_REQUEST'],
    ['a label twice', () => ({ task: 'match', items, labels: ['a', 'b', 'a'] }), 'INVALID_REQUEST'],
    ['an empty label', () => ({ task: 'match', items, labels: ['a', ' '] }), 'INVALID_REQUEST'],
    ['an unknown kind', () => ({ task: 'embed', items: [{ smell: 1 } as unknown as Item] }), 'INVALID_REQUEST'],
    ['a cut picture', async () => ({ task: 'embed', items: [{ picture: { file: await cut() } }] }), 'PICTURE_INVALID'],
    ['no picture', () => ({ task: 'embed', items: [{ picture: { file: Uint8Array.of(1, 2) } }] }), 'PICTURE_INVALID'],
    ['no sound', () => ({ task: 'embed', items: [{ sound: { wav: Uint8Array.of(1, 2) } }] }), 'AUDIO_INVALID'],
    ['a click', () => ({ task: 'embed', items: [{ sound: { wav: wav(0.05, 1) } }] }), 'AUDIO_INVALID'],
    ['no frames', () => ({ task: 'embed', items: [{ video: { frames: [], rateHz: 4 } }] }), 'EMPTY_INPUT'],
    [
      'a frame that is none',
      () => ({ task: 'embed', items: [{ video: { frames: [dot, 1 as never], rateHz: 4 } }] }),
      'INVALID_REQUEST',
    ],
    ['a slow video', () => ({ task: 'embed', items: [{ video: { frames: [dot], rateHz: 0.4 } }] }), 'INVALID_REQUEST'],
    [
      'uneven frames',
      () => ({
        task: 'embed',
        items: [{ video: { frames: [dot, { ...dot, height: 2, data: new Uint8Array(6) }], rateHz: 1 } }],
      }),
      'INVALID_REQUEST',
    ],
    ['no motion', () => ({ task: 'embed', items: [{ motion: { rows: [], sampleRateHz: 400 } }] }), 'EMPTY_INPUT'],
    ['motion too short', () => ({ task: 'embed', items: [{ motion: motion(9, 1) }] }), 'MOTION_INVALID'],
    [
      'five axes',
      () => ({ task: 'embed', items: [{ motion: { rows: [[1, 2, 3, 4, 5]], sampleRateHz: 400 } }] }),
      'MOTION_INVALID',
    ],
    [
      'uneven rows',
      () => ({ task: 'embed', items: [{ motion: { rows: [[1], [1, 2]], sampleRateHz: 4 } }] }),
      'MOTION_INVALID',
    ],
    [
      'a rate and times',
      () => ({ task: 'embed', items: [{ motion: { rows: [[1]], sampleRateHz: 4, timesS: [0] } }] }),
      'INVALID_REQUEST',
    ],
    [
      'zeros',
      () => ({ task: 'retrieve', items: ['x'], gallery: [{ embedding: new Float32Array(32) }] }),
      'INVALID_REQUEST',
    ],
    [
      'another width',
      () => ({ task: 'retrieve', items: ['x'], gallery: [{ embedding: noise(8, 1) }] }),
      'SHAPE_MISMATCH',
    ],
    ['an empty gallery', () => ({ task: 'retrieve', items: ['x'], gallery: [] }), 'EMPTY_INPUT'],
    ['top 0', () => ({ task: 'retrieve', items: ['x'], gallery: ['y'], top: 0 }), 'INVALID_REQUEST'],
    ['a text to describe', () => ({ task: 'describe', items: ['x'] }), 'INVALID_REQUEST'],
    ['no question', () => ({ task: 'describe', items: [items[1]!], question: ' ' }), 'EMPTY_INPUT'],
  ])('%s', async (_, request, code) => {
    await expect(firmware.ask(await request())).rejects.toMatchObject({ code })
  })
})

describe('images with less', () => {
  const { modules, ...rest } = findRecipe('tiny-random')
  const built = async (name: string, recipe: Recipe) =>
    openFirmware((await buildFirmware(recipe, { out: join(folder, name) })).path)

  test('texts of BERT lie in a space of their own', async () => {
    const bert = {
      architecture: 'bert',
      title: 'random BERT',
      weights: {
        random: {
          seed: 3,
          config: {
            vocabulary: 288,
            width: 32,
            feedForward: 64,
            layers: 2,
            heads: 4,
            contextLength: 128,
            normEpsilon: 1e-12,
          },
        },
      },
      quantisations: { fp16: { default: 'fp16' } },
      tokenizer: { from: 'tiny' },
    } as const
    using small = await built('bert', { ...rest, name: 'b', modules: { TXT: bert, IMG: modules.IMG! } })
    const { output } = await small.ask({ task: 'match', texts: ['zebra'], labels: ['q', 'zebra'], template: '{}' })
    expect(output.matches[0]).toMatchObject({ label: 'zebra', scores: [{ similarity: expect.closeTo(1, 5) }, {}] })
    expect(output.matches[0]!.scores[0]).not.toHaveProperty('probability')
    const { embeddings } = (await small.ask({ task: 'embed', texts: ['x'.repeat(300), 'y'], window: 'mean' })).output
    for (const vector of embeddings) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    await expect(small.ask({ task: 'match', items: [items[1]!], labels: ['a', 'b'] })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringMatching(/both a picture \(imagebind\) and a text \(none\)/),
    })
    await expect(small.ask({ task: 'embed', items: [items[2]!] })).rejects.toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringMatching(/no module AUD-B for a sound/),
    })
  })

  test('a backbone of the Persimmon family talks too', async () => {
    const config = {
      vocabulary: 288,
      width: 64,
      feedForward: 128,
      layers: 2,
      heads: 4,
      headWidth: 16,
      rotaryWidth: 8,
      contextLength: 128,
      normEpsilon: 1e-5,
      ropeTheta: 25_000,
      patchWidth: 48,
    }
    const backbone = {
      architecture: 'persimmon',
      title: 'random Fuyu',
      weights: { random: { seed: 1, config } },
      quantisations: { fp32: { default: 'fp32' } },
      tokenizer: { from: 'tiny' },
    } as const
    using fuyu = await built('fuyu', { ...rest, name: 'f', modules: { backbone } })
    const ask = () => fuyu.ask({ task: 'generate', prompt: 'Hello', maxTokens: 8 })
    expect((await ask()).output.text).toBe((await ask()).output.text)
    expect((await fuyu.ask({ task: 'classify', text: 'x', labels: ['a', 'b'] })).output.scores).toHaveLength(2)
  })

  test('without a projection nothing is described', async () => {
    const { graphs: _, ...backbone } = modules.backbone!
    using blind = await built('blind', { ...rest, name: 'c', modules: { backbone, IMG: modules.IMG! } })
    expect(blind.tasks()).not.toContain('describe')
    expect(firmware.tasks()).toEqual(expect.arrayContaining(['describe', 'retrieve']))
    await expect(blind.ask({ task: 'describe', items: [items[1]!] })).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
  })
})

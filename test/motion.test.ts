/** Motion in the frame of gravity: the graph against plain arithmetic, rotations that change nothing, and answers that can abstain. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles, normalSource } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, type Recipe } from '../src/firmware/index.js'
import { encodeModel, GraphBuilder } from '../src/graph/index.js'
import { gravityFrame, motionStatistics, statisticsWidth } from '../src/models/index.js'
import { type Firmware, type Motion, openFirmware } from '../src/runtime/index.js'

const SAMPLES = 48
const CHANNELS = 12

/** Somebody walks: gravity, steps at 2 Hz, turns. [6][N] */
const walk = (samples = SAMPLES, rateHz = 50) => {
  const next = normalSource(4)
  const step = (n: number, phase: number) => Math.sin((2 * Math.PI * 2 * n) / rateHz + phase)
  return Array.from({ length: 6 }, (_, c) =>
    Float32Array.from({ length: samples }, (_, n) => {
      const still = [1, -6, 7.6, 0.1, 0.3, -0.2][c]!
      return still + (c < 3 ? 2 : 0.8) * step(n, c) + 0.05 * next()
    }),
  )
}

/** About z, then about x. */
const rotated = (channels: readonly Float32Array[], a = 0.7, b = -1.9) => {
  const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)]
  return [0, 3].flatMap((first) => {
    const [x, y, z] = channels.slice(first, first + 3) as [Float32Array, Float32Array, Float32Array]
    const turned = x.map((value, n) => ca * value - sa * y[n]!)
    const other = x.map((value, n) => sa * value + ca * y[n]!)
    return [turned, other.map((value, n) => cb * value - sb * z[n]!), other.map((value, n) => sb * value + cb * z[n]!)]
  })
}

async function frameOf(channels: readonly Float32Array[]) {
  const g = new GraphBuilder('frame')
  const framed = gravityFrame(g, g.input('motion', 'float32', ['B', 6, SAMPLES]))
  g.output('channels', framed)
  g.output('statistics', motionStatistics(g, framed))
  const engine = await openEngine()
  using session = await engine.createSession({ bytes: await encodeModel(g.build()) })
  using motion = engine.tensor('float32', [1, 6, SAMPLES], Float32Array.from(channels.flatMap((each) => [...each])))
  const outputs = await session.run({ motion })
  using framedOut = outputs.channels!
  using statistics = outputs.statistics!
  const rows = Array.from({ length: CHANNELS }, (_, c) =>
    (framedOut.data as Float32Array).slice(c * SAMPLES, (c + 1) * SAMPLES),
  )
  return { rows, statistics: (statistics.data as Float32Array).slice() }
}

type Vector = readonly [number, number, number]
const dot = (a: Vector, b: Vector) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
const minus = (a: Vector, b: Vector, part: number) => a.map((value, i) => value - part * b[i]!) as unknown as Vector
const cross = (a: Vector, b: Vector): Vector => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
]

describe('the frame of gravity', () => {
  test('is what plain arithmetic makes of it', async () => {
    const channels = walk()
    const at = (n: number, first: number, by = 1) =>
      [0, 1, 2].map((i) => channels[first + i]![n]! / by) as unknown as Vector
    const mean = [0, 1, 2].map((i) => channels[i]!.reduce((a, b) => a + b, 0) / SAMPLES) as unknown as Vector
    const down = mean.map((value) => value / Math.hypot(...mean)) as unknown as Vector
    const { rows } = await frameOf(channels)
    for (let n = 0; n < SAMPLES; n++) {
      const [acceleration, rotation] = [at(n, 0, 9.80665), at(n, 3)]
      const [vertical, turn] = [dot(acceleration, down), dot(rotation, down)]
      const [level, tilt] = [minus(acceleration, down, vertical), minus(rotation, down, turn)]
      const invariant = [vertical, Math.hypot(...level), turn, Math.hypot(...tilt)]
      const expected = [...acceleration, ...rotation, ...invariant, dot(tilt, level), dot(cross(down, tilt), level)]
      expected.forEach((value, c) => {
        expect(rows[c]![n]).toBeCloseTo(value, 4)
      })
    }
  })

  test('statistics: mean, variance, and the spectrum with its phase', async () => {
    const { rows, statistics } = await frameOf(walk())
    expect(statistics).toHaveLength(statisticsWidth(CHANNELS))
    const perChannel = statistics.length / CHANNELS
    for (const [c, row] of rows.entries()) {
      const [mean, variance, ...rest] = statistics.slice(c * perChannel, (c + 1) * perChannel)
      const average = row.reduce((a, b) => a + b, 0) / SAMPLES
      expect(mean).toBeCloseTo(average, 4)
      const spread = row.reduce((sum, value) => sum + (value - average) ** 2, 0) / SAMPLES
      expect(variance).toBeCloseTo(Math.log(Math.max(spread, 1e-6)), 3)
      const bin = (k: number, kind: (angle: number) => number) =>
        (2 / SAMPLES) *
        row.reduce((sum, value, n) => sum + (value - average) * kind((2 * Math.PI * k * n) / SAMPLES), 0)
      const power = (k: number) => bin(k, Math.sin) ** 2 + bin(k, Math.cos) ** 2
      for (let k = 1; k <= 12; k++) if (power(k) > 1e-5) expect(rest[k - 1]).toBeCloseTo(Math.log(power(k)), 2)
      for (let k = 1; k <= 3; k++) {
        expect(rest[11 + k]).toBeCloseTo(bin(k, Math.sin), 4)
        expect(rest[14 + k]).toBeCloseTo(bin(k, Math.cos), 4)
      }
    }
  })

  test('six channels are the same whichever way the device is held, the measured ones are not', async () => {
    const [plain, turned] = [await frameOf(walk()), await frameOf(rotated(walk()))]
    const apart = (c: number) => Math.max(...plain.rows[c]!.map((value, n) => Math.abs(value - turned.rows[c]![n]!)))
    for (let c = 6; c < CHANNELS; c++) expect(apart(c)).toBeLessThan(1e-4)
    expect(apart(1)).toBeGreaterThan(0.1)
  })

  test('no gravity at all: numbers, not NaN', async () => {
    const { rows, statistics } = await frameOf(Array.from({ length: 6 }, () => new Float32Array(SAMPLES)))
    for (const row of [...rows, statistics]) expect(row.every(Number.isFinite)).toBe(true)
  })
})

describe('the motion of lite', () => {
  const { IMU, TXT } = findRecipe('lite').modules

  test('the recipe says what its record says', async () => {
    const record = JSON.parse(await readFile(new URL('../weights/lite/motion.json', import.meta.url), 'utf8'))
    const { sha256, bytes, metrics } = record
    expect(IMU!.weights).toMatchObject({ sha256, bytes })
    expect(IMU!.confidence!.logitScale).toBeCloseTo(metrics.logitScale.value, 2)
    expect(IMU!.confidence!.threshold).toBeCloseTo(metrics['confidence threshold'].value, 3)
    expect(IMU!.space).toBe(TXT!.space)
    expect(metrics.accuracy.value).toBeGreaterThan(0.75)
  })

  test('builds from the tree alone, and tells a device at rest from one that walks', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'm4-lite-motion-'))
    try {
      const recipe = { ...findRecipe('lite'), modules: { IMU: IMU! } }
      const { path } = await buildFirmware(recipe, { out: join(folder, 'image'), home: folder, offline: true })
      using firmware = await openFirmware(path)
      const next = normalSource(3)
      const rest = walk().map((_, c) =>
        Float32Array.from({ length: SAMPLES }, () => [0, 9.7, 1, 0, 0, 0][c]! + 0.03 * next()),
      )
      const items = [walk(), rotated(walk(), 0.2, 0.1), rest].map((channels) => ({ motion: motionOf(channels) }))
      const [a, b, c] = (await firmware.ask({ task: 'embed', items })).output.embeddings as [
        Float32Array,
        Float32Array,
        Float32Array,
      ]
      const cosine = (one: Float32Array, other: Float32Array) =>
        one.reduce((sum, value, i) => sum + value * other[i]!, 0)
      expect(a).toHaveLength(384)
      expect(cosine(a, b)).toBeGreaterThan(0.9)
      expect(cosine(a, c)).toBeLessThan(0.6)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

const motionOf = (channels: readonly Float32Array[], rateHz = 50): Motion => ({
  rows: Array.from(channels[0]!, (_, n) => channels.map((channel) => channel[n]!)),
  sampleRateHz: rateHz,
})

describe('an image that feels motion', () => {
  let folder: string
  const firmwares: Firmware[] = []

  /** A random tower with gravity, in the space of a random BERT. */
  const recipe = (facts: object): Recipe => {
    const tiny = findRecipe('tiny-random')
    const stem = { kind: 'windows', channels: 6, kernel: 4, step: 2, samples: SAMPLES, sampleRateHz: 50, gravity: true }
    const tower = { width: 32, feedForward: 64, layers: 2, heads: 4, maxScale: 100, normEpsilon: 1e-6 }
    const config = { modality: 'imu', joint: 32, positions: 25, stemNormEpsilon: 1e-5, ...tower, stem }
    const bert = {
      vocabulary: 288,
      width: 32,
      feedForward: 64,
      layers: 1,
      heads: 4,
      contextLength: 64,
      normEpsilon: 1e-5,
    }
    return {
      ...tiny,
      modules: {
        IMU: {
          ...tiny.modules.IMU!,
          weights: { random: { seed: 5, config } },
          encoderAdapters: false,
          space: 'toy',
          ...facts,
        },
        TXT: {
          architecture: 'bert',
          title: 'random BERT',
          weights: { random: { seed: 6, config: { ...bert, clsId: 1, sepId: 2, padId: 0 } } },
          quantisations: { fp32: { default: 'fp32' } },
          tokenizer: { from: 'tiny' },
          space: 'toy',
        },
      },
    }
  }
  const open = async (name: string, facts: object) => {
    const { path } = await buildFirmware(recipe(facts), { out: join(folder, name) })
    const firmware = await openFirmware(path)
    firmwares.push(firmware)
    return firmware
  }
  const match = async (firmware: Firmware, motion: Motion) =>
    (await firmware.ask({ task: 'match', items: [{ motion }], labels: ['sitting', 'walking', 'turning'] })).output
      .matches[0]!

  let plain: Firmware
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'm4-motion-'))
    plain = await open('plain', {})
  })
  afterAll(async () => {
    for (const firmware of firmwares) firmware.dispose()
    expect(liveHandles()).toEqual({})
    await rm(folder, { recursive: true, force: true })
  })

  test('shares at the scale of the module, and whether they may be believed', async () => {
    const motion = motionOf(walk())
    const bare = await match(plain, motion)
    expect(bare.scores[0]).not.toHaveProperty('probability')
    expect(bare).not.toHaveProperty('confident')
    const facts = (threshold: number) => ({ confidence: { logitScale: 20, threshold } })
    const [sure, unsure] = [await open('sure', facts(0.01)), await open('unsure', facts(0.9999))]
    const answer = await match(sure, motion)
    expect(answer.scores.map(({ label }) => label)).toEqual(bare.scores.map(({ label }) => label))
    const raised = answer.scores.map(({ similarity }) => Math.exp(20 * similarity!))
    const sum = raised.reduce((a, b) => a + b, 0)
    answer.scores.forEach(({ probability }, i) => {
      expect(probability).toBeCloseTo(raised[i]! / sum, 6)
    })
    expect(answer.confident).toBe(true)
    expect((await match(unsure, motion)).confident).toBe(false)
  })

  test('heads read the token and the statistics; windows are averaged', async () => {
    const features = async (channels: readonly Float32Array[]) =>
      (await plain.ask({ task: 'embed', of: 'features', items: [{ motion: motionOf(channels) }] })).output
        .embeddings[0]!
    const one = await features(walk())
    expect(one).toHaveLength(32 + statisticsWidth(CHANNELS))
    expect(Math.hypot(...one)).toBeCloseTo(1, 5)
    expect([...(await features(walk(2 * SAMPLES)))]).not.toEqual([...one])
  })

  test.each([10, 20, 102.4, 200])('%i Hz says much the same as 50 Hz', async (rateHz) => {
    const smooth = (hz: number) => walk(Math.ceil(1.2 * hz), hz)
    const embed = async (hz: number) =>
      (await plain.ask({ task: 'embed', items: [{ motion: motionOf(smooth(hz), hz) }] })).output.embeddings[0]!
    const [a, b] = [await embed(50), await embed(rateHz)]
    expect(a.reduce((sum, value, i) => sum + value * b[i]!, 0)).toBeGreaterThan(0.9)
  })

  const scaled = (factor: number) =>
    walk().map((channel, c) => (c < 3 ? channel.map((value) => value * factor) : channel))
  test.each<[string, Motion, string, RegExp]>([
    ['too short', motionOf(walk(47)), 'MOTION_INVALID', /47 samples at 50 Hz, expected 48/],
    ['readings in g', motionOf(scaled(1 / 9.81)), 'MOTION_INVALID', /about 9.8 m\/s², got a median of/],
    ['without gravity', motionOf(scaled(0)), 'MOTION_INVALID', /about 9.8 m\/s²/],
    ['three channels', motionOf(walk().slice(0, 3)), 'MOTION_INVALID', /3 channels, expected 6/],
    [
      'a value that is none',
      motionOf(walk().with(4, new Float32Array(SAMPLES).fill(Number.NaN))),
      'MOTION_INVALID',
      /NaN/,
    ],
    [
      'a pause',
      { rows: motionOf(walk(80)).rows, timesS: Array.from({ length: 80 }, (_, n) => n / 50 + (n > 40 ? 1 : 0)) },
      'MOTION_INVALID',
      /nothing was recorded for/,
    ],
    ['3 Hz', motionOf(walk(20), 3), 'MOTION_INVALID', /samples 0.333/],
  ])('%s is refused', async (_, motion, code, message) => {
    await expect(match(plain, motion)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })
})

/** What training is shown, what it learns of it, and how it judges itself: on motion that is made up. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint, writeSafetensors } from '../../../checkpoint/index.js'
import { liveHandles, normalSource } from '../../../core/index.js'
import { openEngine } from '../../../engine/index.js'
import { weightsOf } from '../../../firmware/build.js'
import { type ImageBindConfig, imagebindConfig, imagebindWeights, LITE_MOTION } from '../../../models/index.js'
import { toUnitLength } from '../../../runtime/tower.js'
import { fitSubject } from '../../fit.js'
import { OPTIMISER_DEFAULTS } from '../../schedule.js'
import { augmentedSample, chanceOf, plainSample, strangeSample } from './augment.js'
import { imagebindTensors } from './export.js'
import { accuracyOf, confidenceThreshold, judged, windowVectors } from './judge.js'
import { type HarRecording, harWindows, readHar } from './recordings.js'
import { GRID, motionSubject, motionTower } from './tower.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

/** Sits for two seconds, then walks for two: labels 0 and 2. */
function recording(seed: number, subject = 's01'): HarRecording {
  const next = normalSource(seed)
  const count = 400
  const channels = Array.from({ length: 6 }, (_, c) =>
    Float32Array.from({ length: count }, (_, n) => {
      const step = n < 200 ? 0 : Math.sin((2 * Math.PI * 2 * n) / 102.4 + c)
      return [0, 0, 9.81, 0, 0, 0][c]! + 0.05 * next() + (c < 3 ? 3 : 1) * step
    }),
  )
  return { subject, device: 'sp', channels, labels: Uint8Array.from({ length: count }, (_, n) => (n < 200 ? 0 : 2)) }
}

describe('windows', () => {
  test('by sample number, each with the label of most of it', () => {
    const windows = harWindows([recording(1)])
    expect(windows.map(({ start }) => start)).toEqual([0, 50, 100, 150, 200, 250, 300])
    expect(windows.map(({ label }) => label)).toEqual([0, 0, 0, 0, 2, 2, 2])
    const { motion, shares } = plainSample(windows[3]!, GRID)
    expect(motion).toHaveLength(6 * GRID.samples)
    expect(shares).toEqual([0.5, 0, 0.5, 0, 0].map((share) => expect.closeTo(share, 9)))
    // 50 Hz of 102.4 Hz: every 2.048th sample.
    expect(motion[2 * GRID.samples]).toBeCloseTo(windows[3]!.recording.channels[2]![150]!, 5)
  })

  test('as others might have given them: the same seed gives the same, lengths stay about gravity', () => {
    const [window] = harWindows([recording(2)])
    const one = augmentedSample(window!, GRID, chanceOf(3))
    expect(augmentedSample(window!, GRID, chanceOf(3))).toEqual(one)
    expect([...augmentedSample(window!, GRID, chanceOf(4)).motion]).not.toEqual([...one.motion])
    const n = GRID.samples
    for (let i = 0; i < n; i++) {
      const length = Math.hypot(...[0, 1, 2].map((axis) => one.motion[axis * n + i]!))
      expect(length).toBeGreaterThan(9.81 * 0.85)
      expect(length).toBeLessThan(9.81 * 1.15)
    }
    expect(one.shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9)
  })

  test('what nobody does is as likely any activity as another', () => {
    const strange = Array.from({ length: 40 }, (_, i) => strangeSample(5, GRID, chanceOf(i)))
    for (const { motion, shares } of strange) {
      expect(motion.every(Number.isFinite)).toBe(true)
      expect(shares).toEqual([0.2, 0.2, 0.2, 0.2, 0.2])
    }
  })
})

describe('the threshold of confidence', () => {
  const answers = [0.95, 0.9, 0.8, 0.8, 0.6].map((probability, i) => ({ probability, right: i !== 3 }))
  test('the lowest that still keeps the precision', () => {
    expect(confidenceThreshold(answers, 1)).toBe(0.9)
    expect(confidenceThreshold(answers, 0.8)).toBe(0.6)
    expect(confidenceThreshold([{ probability: 0.9, right: false }], 0.5)).toBe(1)
  })
})

const SMALL: ImageBindConfig = { ...LITE_MOTION, width: 32, layers: 1, heads: 2, feedForward: 64, joint: 16 }

test('a small tower learns to tell sitting from walking, and its file builds the same tower', async () => {
  const engine = await openEngine()
  const next = normalSource(9)
  const word = () => toUnitLength(Float32Array.from({ length: 16 }, next))
  const prompts = Array.from({ length: 5 }, () => [word(), word()])
  const words = { prompts, plain: prompts.map(([first]) => first!), others: [] }
  const windows = [1, 2, 3, 4].map((seed) => harWindows([recording(seed)]))
  const [train, evaluation] = [windows.slice(0, 3).flat(), windows[3]!]
  const tower = motionTower(SMALL, 7)
  const result = await fitSubject(engine, motionSubject(engine, tower, { train, evaluation, words, seed: 7 }), {
    steps: 40,
    batch: 21,
    seed: 7,
    evalEvery: 20,
    patience: 0,
    optimiser: { ...OPTIMISER_DEFAULTS, lr: 5e-3 },
  })
  expect(result.losses.at(-1)).toBeLessThan(result.losses[0]! - 0.3)
  const { weights, logitScale } = tower.trained(result.parameters)
  expect(logitScale).not.toBeCloseTo(20, 3)
  const pure = evaluation.filter(({ start }) => start !== 150)
  const samples = pure.map((window) => plainSample(window, GRID))
  const vectors = await windowVectors(engine, SMALL, weights, samples)
  const truth = pure.map(({ label }) => label)
  expect(accuracyOf(judged(vectors, truth, words.plain, logitScale))).toBe(1)

  const folder = mkdtempSync(join(tmpdir(), 'm4-motion-'))
  try {
    const path = join(folder, 'motion.safetensors')
    writeFileSync(path, writeSafetensors(imagebindTensors(SMALL, weights)))
    using checkpoint = await openCheckpoint(path)
    const metadata = { config: { modality: 'imu', heads: 2, step: 2, sampleRateHz: 50, gravity: 1 } }
    const config = imagebindConfig('imu', { format: 'safetensors', metadata, weights: weightsOf(checkpoint) })
    expect(config).toEqual(SMALL)
    const again = await windowVectors(engine, config, imagebindWeights(config, weightsOf(checkpoint)), samples)
    // Rounded to float16.
    again.forEach((vector, i) => {
      expect(vector.reduce((sum, value, c) => sum + value * vectors[i]![c]!, 0)).toBeGreaterThan(0.999)
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

describe('the data set', () => {
  const folder = mkdtempSync(join(tmpdir(), 'm4-har-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const write = (name: string, text: string) => {
    mkdirSync(join(folder, 'sp_sw_har', 'DATA', name.slice(0, 3)), { recursive: true })
    const packed = name.endsWith('.gz')
    writeFileSync(join(folder, 'sp_sw_har', 'DATA', name.slice(0, 3), name), packed ? gzipSync(text) : text)
  }
  const HEADER = 'x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label'

  test('phones and watches, packed or not', async () => {
    write('s01_01_sp.csv.gz', `${HEADER}\n1,2,3,4,5,6,1657534570154,WALKING\n`)
    write('s02_01_sw.csv', `${HEADER}\n1,2,3,4,5,6,1657534570154,SEATED\n`)
    const { recordings, files } = await readHar(folder)
    expect(recordings).toMatchObject([
      { subject: 's01', device: 'sp', labels: Uint8Array.of(2) },
      { subject: 's02', device: 'sw', labels: Uint8Array.of(0) },
    ])
    expect([...files.keys()]).toEqual([join('s01', 's01_01_sp.csv.gz'), join('s02', 's02_01_sw.csv')])
    expect((await readHar(folder, ['s02'])).recordings).toHaveLength(1)
  })

  test('an activity that is none, and no data at all', async () => {
    await expect(readHar(folder, ['s09'])).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    await expect(readHar(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    write('s03_01_sp.csv', `${HEADER}\n1,2,3,4,5,6,1657534570154,FLYING\n`)
    await expect(readHar(folder)).rejects.toMatchObject({ code: 'FORMAT_INVALID', message: /got FLYING/ })
  })
})

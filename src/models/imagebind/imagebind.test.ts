/**
 * The published ImageBind: weights and multiply-accumulates of the paper's Table 1, counted on full-size graphs without bytes; and
 * what is read out of a checkpoint.
 */

import { describe, expect, test } from 'vitest'
import { countMacs, countWeights } from '../../graph/index.js'
import type { WeightTensor } from '../weights.js'
import {
  cubicWeights,
  type ImageBindConfig,
  type ImageBindModality,
  imagebindConfig,
  imagebindGraph,
  imagebindLayout,
  imagebindShapes,
  imagebindWeights,
  interpolatePositions,
  withPictureSize,
  withTunedParts,
} from './index.js'

const COMMON = { joint: 1024, maxScale: 100, normEpsilon: 1e-6, stemNormEpsilon: 1e-5 }
const picture = (channels: number, frames: number, kernel: number) =>
  ({ kind: 'patches', channels, frames, kernel, stride: kernel, height: 224, width: 224 }) as const

const sizes = (modality: ImageBindModality, width: number, layers: number, heads: number, positions: number) => ({
  ...COMMON,
  modality,
  width,
  layers,
  heads,
  feedForward: 4 * width,
  positions,
})

/** Appendix of arXiv:2305.05665, as imagebind_huge has it. */
const HUGE: Readonly<Record<ImageBindModality, ImageBindConfig>> = {
  vision: { ...sizes('vision', 1280, 32, 16, 257), stem: picture(3, 2, 14) },
  text: { ...sizes('text', 1024, 24, 16, 77), stem: { kind: 'tokens', vocabulary: 49_408 } },
  audio: {
    ...sizes('audio', 768, 12, 12, 229),
    stem: { kind: 'patches', channels: 1, frames: 1, kernel: 16, stride: 10, height: 128, width: 204 },
  },
  imu: { ...sizes('imu', 512, 6, 8, 251), stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 2000 } },
  depth: { ...sizes('depth', 384, 12, 8, 197), stem: picture(1, 1, 16) },
  thermal: { ...sizes('thermal', 768, 12, 12, 197), stem: picture(1, 1, 16) },
}

/** Shapes only: reading a weight is an error, except for the scale, which is a constant of the graph. */
function unread(config: ImageBindConfig): Map<string, WeightTensor> {
  const weights = new Map<string, WeightTensor>()
  for (const [pattern, dims] of Object.entries(imagebindShapes(config)))
    for (let layer = 0; layer < (pattern.includes('{}') ? config.layers : 1); layer++) {
      const name = pattern.replace('{}', String(layer))
      const float32 = () => {
        if (name !== 'logScale') throw new Error(`${name} was read`)
        return Float32Array.of(Math.log(100))
      }
      weights.set(name, { name, dims, float32 })
    }
  return weights
}

const graphOf = (config: ImageBindConfig, adapters = false) =>
  imagebindGraph(config, unread(config), { quantisation: { default: 'fp32' }, embedding: 'fp32', adapters })

describe('Table 1', () => {
  test.each([
    ['vision', 632_829_440],
    ['text', 354_032_640],
    ['audio', 86_235_648],
    ['imu', 19_600_384],
    ['depth', 21_871_872],
    ['thermal', 86_211_072],
  ] as const)('%s has %i weights', (modality, weights) => {
    expect(countWeights(graphOf(HUGE[modality]))).toBe(weights)
  })

  test.each([
    ['vision', { B: 1, Q: 1, '?': 1 }, 167.5964],
    ['text', { B: 1, T: 77 }, 23.4189],
    ['audio', { B: 1, Q: 3 }, 61.468],
    ['imu', { B: 1 }, 5.1417],
  ] as const)('%s at %o takes %f G', (modality, bindings, expected) => {
    expect(countMacs(graphOf(HUGE[modality]), bindings) / 1e9).toBeCloseTo(expected, 4)
  })

  test('scores under a mask, where they are wanted', () => {
    expect(countMacs(graphOf(HUGE.text), { B: 1, T: 77 }, { maskedScores: true }) / 1e9).toBeCloseTo(23.5646, 4)
  })

  test('adapters of rank 0 cost nothing, of rank 4 their products', () => {
    const bare = countMacs(graphOf(HUGE.imu), { B: 1 })
    const graph = graphOf(HUGE.imu, true)
    expect(countMacs(graph, { B: 1, R: 0, '?': 1 })).toBe(bare)
    expect(countMacs(graph, { B: 1, R: 4, '?': 1 })).toBe(bare + 6 * 2 * 251 * 512 * 4)
  })

  test('a tower alone may be asked for at another length of text', () => {
    const [short, long] = [8, 77].map((T) => countMacs(graphOf(HUGE.text), { B: 1, T }))
    expect(short! / long!).toBeLessThan(8 / 77)
  })

  test('a size that is missing is told', () => {
    expect(() => countMacs(graphOf(HUGE.text), { B: 1 })).toThrow(/Give sizes for the symbols/)
  })
})

describe('positions', () => {
  const table = (positions: number, width: number, value: (row: number) => number): WeightTensor => ({
    name: 'positions',
    dims: [1, positions, width],
    float32: () => Float32Array.from({ length: positions * width }, (_, i) => value(Math.floor(i / width))),
  })
  const small: ImageBindConfig = {
    ...sizes('vision', 2, 1, 1, 17),
    stem: { ...picture(3, 2, 14), height: 56, width: 56 },
  }

  test('of the trained size stay as they are', () => {
    const trained = table(17, 2, (row) => row)
    expect(interpolatePositions(small, trained)).toBe(trained)
  })

  test("of another size, as torch has them; the class token's is copied", () => {
    // Row 1 + 4·y + x holds x. With a = -0.75 a slope is not kept exactly.
    const wide = interpolatePositions(
      withPictureSize(small, 112, 112),
      table(17, 2, (row) => (row === 0 ? 9 : (row - 1) % 4)),
    )
    expect(wide.dims).toEqual([1, 65, 2])
    const data = wide.float32()
    expect([data[0], data[1]]).toEqual([9, 9])
    expect([3, 4].map((x) => data[2 * (1 + 3 * 8 + x)])).toEqual([1.296875, 1.703125])
  })

  test('weights of neighbours sum to 1, and are the point itself where it lies on one', () => {
    expect(cubicWeights(0)).toEqual([-0, 1, 0, -0].map((weight) => expect.closeTo(weight, 12)))
    for (const t of [0.1, 0.25, 0.7]) expect(cubicWeights(t).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12)
  })

  test('of oblong pictures and of sounds are refused', () => {
    expect(() =>
      interpolatePositions(
        withPictureSize(small, 112, 56),
        table(17, 2, () => 0),
      ),
    ).toThrow(/square/)
    expect(() =>
      interpolatePositions(
        withPictureSize(HUGE.audio, 128, 404),
        table(229, 768, () => 0),
      ),
    ).toThrow(/square/)
    expect(() => withPictureSize(HUGE.text, 1, 1)).toThrow(/takes no pictures/)
  })
})

describe('sizes', () => {
  const facts = (weights: ReadonlyMap<string, WeightTensor>, config = {}) => ({
    format: 'torch',
    metadata: { config },
    weights,
  })
  /** A file of all towers that holds this one, under the published names. */
  const fileOf = (config: ImageBindConfig) => {
    const { names } = imagebindLayout(config.modality)
    const file = new Map<string, WeightTensor>()
    for (const [ours, dims] of Object.entries(imagebindShapes(config)))
      for (let layer = 0; layer < (ours.includes('{}') ? config.layers : 1); layer++) {
        const source = names[ours]!
        const name = (typeof source === 'string' ? source : source.name).replace('{}', String(layer))
        const rows = typeof source === 'string' ? dims : [3 * dims[0]!, ...dims.slice(1)]
        file.set(name, { name, dims: rows, float32: () => new Float32Array(1) })
      }
    return file
  }

  test.each(
    Object.values(HUGE).map((config) => [config.modality, config] as const),
  )('%s from its tensors', (_, huge) => {
    expect(imagebindConfig(huge.modality, facts(fileOf(huge)))).toEqual(huge)
  })

  test('recordings of another length than the positions are refused', () => {
    const imu = (step: number, samples: number) => () =>
      graphOf({ ...HUGE.imu, stem: { kind: 'windows', channels: 6, kernel: 8, step, samples } })
    expect(imu(2, 500)).not.toThrow()
    expect(imu(8, 2007)).not.toThrow()
    for (const wrong of [imu(8, 1999), imu(8, 2008), imu(2, 400), imu(2.5, 625)])
      expect(wrong).toThrow(/windows of the checkpoint/)
  })

  test('heads of another width must be said', () => {
    const small = { ...HUGE.imu, width: 32, feedForward: 128 }
    const file = fileOf(small)
    expect(() => imagebindConfig('imu', facts(file))).toThrow(/imu\/heads/)
    expect(imagebindConfig('imu', facts(file, { imu: { heads: 4 } })).heads).toBe(4)
    expect(() => imagebindConfig('imu', facts(file, { imu: { heads: 5 } }))).toThrow(/cannot share/)
  })

  test('a spectrogram that the positions do not fit is refused', () => {
    expect(() => imagebindConfig('audio', facts(fileOf(HUGE.audio), { audio: { frames: 300 } }))).toThrow(/patches/)
  })

  test("another tower's tensors are no mistake, unknown ones are", () => {
    const file = new Map([...fileOf(HUGE.imu), ...fileOf(HUGE.depth)])
    expect(imagebindWeights(HUGE.imu, file).size).toBeGreaterThan(0)
    file.set('modality_trunks.imu.blocks.9.norm_1.weight', {
      name: 'x',
      dims: [512],
      float32: () => new Float32Array(512),
    })
    expect(() => imagebindWeights(HUGE.imu, file)).toThrow(/blocks\.9/)
  })

  test('tuned heads must belong to the checkpoint', () => {
    const file = fileOf(HUGE.imu)
    const tensor = (dims: readonly number[]) => ({ name: 'tuned', dims, float32: () => new Float32Array(1) })
    const tuned = (name: string, dims: readonly number[]) => () =>
      withTunedParts(file, { heads: new Map([[name, tensor(dims)]]) })
    expect(tuned('imu.3.weight', [1024, 512])().get('modality_heads.imu.3.weight')!.name).toBe('tuned')
    expect(tuned('imu.4.weight', [1024, 512])).toThrow(/imu\.4/)
    expect(tuned('imu.3.weight', [1024, 500])).toThrow(/tuned on this checkpoint/)
  })
})

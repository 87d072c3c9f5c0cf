/** Encoders as programs: LoRA at their own inputs and at added ones, heads behind them, features kept, quantised trunks. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readImageBindLora, usableAdapter } from '../../adapters/index.js'
import { writeSafetensors } from '../../checkpoint/index.js'
import { liveHandles } from '../../core/disposal.js'
import { normalSource } from '../../core/random.js'
import { hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import type { Graph } from '../../graph/index.js'
import {
  IMAGEBIND_IMU,
  IMAGEBIND_VISION,
  type ImageBindConfig,
  imagebindGraph,
  imagebindRandom,
  type LinearKind,
} from '../../models/index.js'
import { classifierHead, headProgram, segmentationHead, type TaskHead } from '../heads/index.js'
import { learnProgram, made, openTestGraph, runGraph } from '../heads/testing/learn.js'
import { stepGraph } from '../step-graph.js'
import {
  cacheFeatures,
  type EncoderTraining,
  encoderFrozenWeights,
  encoderProgram,
  featureBatch,
  featureGraph,
  headPart,
  imagebindLoraFile,
  trainsInside,
  withLoraSites,
} from './index.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

const WIDTH = 32
const SMALL = { width: WIDTH, heads: 2, layers: 2, feedForward: 64, joint: 12 }
const IMU: ImageBindConfig = {
  ...IMAGEBIND_IMU,
  ...SMALL,
  positions: 6,
  stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 40 },
}
const VISION: ImageBindConfig = {
  ...IMAGEBIND_VISION,
  ...SMALL,
  positions: 10,
  stem: { kind: 'patches', channels: 3, frames: 2, kernel: 4, stride: 4, height: 12, width: 12 },
}

const tower = (config: ImageBindConfig, adapters: boolean, kind: LinearKind = 'fp32'): Graph =>
  imagebindGraph(config, imagebindRandom(config, 3), { quantisation: { default: kind }, embedding: 'fp32', adapters })

const motion = made([12, 6, 40], normalSource(4))
const labels = int64Tensor(
  [12],
  Array.from({ length: 12 }, (_, i) => i % 3),
)
const pixels = made([2, 1, 3, 1, 12, 12], normalSource(5))
const classifier = (width: number) =>
  classifierHead({ in: width, hidden: [], classes: 3, activation: 'relu' }) as TaskHead

const emptyLora = (graph: Graph, rank = 0, element: (i: number) => number = () => 0) =>
  Object.fromEntries(
    graph.inputs.flatMap(({ name, dims }) => {
      if (!name.startsWith('lora/')) return []
      const sizes = dims.map((dim, i) => (i === 0 ? 1 : dim === 'R' ? rank : Number(dim)))
      return [[name, made(sizes, element)]]
    }),
  )

describe('LoRA at added places', () => {
  const sites = [
    { path: 'layers.0/attn/qkv', products: ['layers.0/attn/q', 'layers.0/attn/k', 'layers.0/attn/v'] },
    { path: 'layers.1/mlp/fc1', products: ['layers.1/mlp/fc1'] },
  ]

  test.each<[LinearKind]>([
    ['fp32'],
    ['int8-b32'],
    ['w8a8'],
  ])('%s: rank 0 is the graph as it was, bit for bit', async (kind) => {
    const plain = tower(IMU, false, kind)
    const added = withLoraSites(plain, sites)
    expect(added.inputs.slice(1).map(({ name, dims }) => [name, dims])).toEqual([
      ['lora/layers.0/attn/qkv/A', ['?', WIDTH, 'R']],
      ['lora/layers.0/attn/qkv/B', ['?', 'R', 3 * WIDTH]],
      ['lora/layers.1/mlp/fc1/A', ['?', WIDTH, 'R']],
      ['lora/layers.1/mlp/fc1/B', ['?', 'R', 2 * WIDTH]],
    ])
    const { embedding } = await runGraph(plain, { motion })
    expect((await runGraph(added, { motion, ...emptyLora(added) })).embedding).toEqual(embedding)
    const next = normalSource(8)
    expect((await runGraph(added, { motion, ...emptyLora(added, 2, next) })).embedding).not.toEqual(embedding)
  })

  test('what cannot be is refused', () => {
    const plain = tower(IMU, false)
    const add =
      (...products: string[]) =>
      () =>
        withLoraSites(plain, [{ path: 'x', products }])
    expect(add('layers.0/attn/Q')).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }))
    expect(add('layers.0/attn/q', 'layers.1/attn/q')).toThrow(/products of one input/)
    expect(add('layers.0/attn/norm')).toThrow(/no product with a weight/)
    expect(() =>
      withLoraSites(plain, [
        { path: 'x', products: ['head'] },
        { path: 'y', products: ['head'] },
      ]),
    ).toThrow(/already/)
  })
})

describe('a classifier of motion', () => {
  const batch = { motion, 'target/labels': labels }
  const graph = tower(IMU, true)
  const learnAll = async (training: EncoderTraining, steps = 60) => {
    const { parameters, initial, program } = encoderProgram(training, classifier(WIDTH))
    const learned = await learnProgram(program, parameters, initial(1), batch, { steps, lr: 0.02 })
    return { ...learned, first: learned.losses[0]!, last: learned.losses.at(-1)! }
  }

  test("LoRA at the graph's own inputs: begins at the base, learns, the same way each time", async () => {
    const training = { graph, value: 'token', lora: { rank: 2 } }
    expect(trainsInside(training)).toBe(true)
    const { losses, first, last, parameters } = await learnAll(training)
    expect(last).toBeLessThan(0.05)
    expect((await learnAll(training)).losses).toEqual(losses)
    const headOnly = await learnAll({ graph, value: 'token' })
    expect(headOnly.first).toBe(first) // B begins at 0
    const one = await learnAll({ ...training, lora: { rank: 2, select: (path) => path === 'layers.1/attn' } })
    expect([...one.parameters.keys()].filter((name) => name.startsWith('lora/'))).toEqual([
      'lora/layers.1/attn/A',
      'lora/layers.1/attn/B',
    ])
    expect(headPart(parameters).get('layers.0')).toHaveLength(3 * WIDTH)
  })

  test('its pairs are a file of ImageBind-LoRA, which the device reads back', async () => {
    const { parameters } = await learnAll({ graph, value: 'token', lora: { rank: 2 } }, 5)
    const { tensors, layers } = imagebindLoraFile(parameters, IMU)
    expect(layers).toEqual([0, 1])
    expect(Object.entries(tensors).map(([name, { dims }]) => [name, dims])).toEqual([
      ['w_a_000', [2, WIDTH]],
      ['w_a_001', [2, WIDTH]],
      ['w_b_000', [WIDTH, 2]],
      ['w_b_001', [WIDTH, 2]],
    ])
    const folder = mkdtempSync(join(tmpdir(), 'm4-lora-'))
    try {
      const path = join(folder, 'imagebind-lora-imu_last.safetensors')
      writeFileSync(path, writeSafetensors(tensors))
      const { lora } = usableAdapter(readImageBindLora(path, IMU, layers))
      for (const [site, { rank, a, b }] of lora) {
        expect(rank).toBe(2)
        expect(a).toEqual(parameters.get(`lora/${site}/A`))
        expect(b).toEqual(parameters.get(`lora/${site}/B`))
      }
      expect(lora.size).toBe(2)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test.each<[LinearKind]>([['int8-b32'], ['w8a8']])('through a trunk of %s', async (kind) => {
    const quantised = tower(IMU, true, kind)
    const training = { graph: quantised, value: 'token', lora: { rank: 2 } }
    const build = (frozen: boolean) => {
      const weights = frozen ? encoderFrozenWeights(quantised) : undefined
      const { parameters, program } = encoderProgram(
        { ...training, ...(weights ? { frozen: weights } : {}) },
        classifier(WIDTH),
      )
      return () => stepGraph('q', parameters, program, 'gradients')
    }
    expect(build(false)).toThrow(expect.objectContaining({ code: 'NOT_AVAILABLE' }))
    expect(build(true)).not.toThrow()
    const { last } = await learnAll({ ...training, frozen: encoderFrozenWeights(quantised)! })
    expect(last).toBeLessThan(0.1)
    expect(encoderFrozenWeights(graph)).toBeUndefined()
  })

  test('features that are kept give the head what the encoder gives', async () => {
    const engine = await openEngine()
    const source = { graph, value: 'token' }
    using session = (await openTestGraph(featureGraph(source))).session
    const batches = [0, 5, 10].map((from) => {
      const to = Math.min(from + 5, 12)
      return { motion: hostTensor('float32', [to - from, 6, 40], motion.data.slice(from * 240, to * 240)) }
    })
    const seen: number[] = []
    const cache = await cacheFeatures(engine, session, batches, {
      count: 12,
      onProgress: ({ done }) => seen.push(done),
    })
    expect(seen).toEqual([5, 10, 12])
    expect(cache).toMatchObject({ count: 12, dims: [WIDTH] })
    const head = classifier(WIDTH)
    const all = Array.from({ length: 12 }, (_, i) => i)
    const { initial } = encoderProgram(source, head)
    expect(trainsInside(source)).toBe(false)
    const inputs = { features: featureBatch(cache, all), 'target/labels': labels }
    const fast = await learnProgram(headProgram(head), head.parameters, headPart(initial(1)), inputs, {
      steps: 60,
      lr: 0.02,
    })
    const slow = await learnAll(source)
    fast.losses.forEach((loss, i) => {
      expect(loss).toBeCloseTo(slow.losses[i]!, 4)
    })
    expect(featureBatch(cache, [7, 7]).data.slice(0, WIDTH)).toEqual(cache.data.slice(7 * WIDTH, 8 * WIDTH))

    const refused = (batch: typeof batches, options: { count: number; limitBytes?: number }) =>
      cacheFeatures(engine, session, batch, options)
    await expect(refused(batches, { count: 13 })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await expect(refused(batches, { count: 11 })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await expect(refused(batches, { count: 12, limitBytes: 1000 })).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' })
    await expect(
      cacheFeatures(engine, session, batches, { count: 12, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' })
    expect(() => featureBatch(cache, [12])).toThrow(/item 12/)
  })

  test('what cannot be is refused', () => {
    const plain = tower(IMU, false)
    const program =
      (training: EncoderTraining, head = classifier(WIDTH)) =>
      () => {
        const { parameters, program: build } = encoderProgram(training, head)
        return stepGraph('x', parameters, build, 'none')
      }
    const code = (wanted: string) => expect.objectContaining({ code: wanted })
    expect(program({ graph: plain, value: 'token', lora: { rank: 2 } })).toThrow(code('NOT_AVAILABLE'))
    expect(program({ graph, value: 'token', lora: { rank: 0 } })).toThrow(code('USAGE'))
    expect(program({ graph, value: 'tokens_' })).toThrow(code('UNKNOWN_NAME'))
    expect(program({ graph, value: 'token', skipTokens: 1 })).toThrow(code('SHAPE_MISMATCH'))
    expect(program({ graph, value: 'embedding' })).toThrow(code('SHAPE_MISMATCH'))
    expect(program({ graph, value: 'norm' })).toThrow(code('SHAPE_MISMATCH'))
  })
})

test.each([
  [true, 'with LoRA'],
  [false, 'trunk frozen'],
])('pictures: patches to pixels, %s (%s)', async (adapters) => {
  const graph = tower(VISION, true)
  const head = segmentationHead({ in: WIDTH, rows: 3, columns: 3, height: 6, width: 6, classes: 2 }) as TaskHead
  const training = { graph, value: 'norm', skipTokens: 1, ...(adapters ? { lora: { rank: 2 } } : {}) }
  const { parameters, initial, program } = encoderProgram(training, head)
  const truth = int64Tensor(
    [2, 6, 6],
    Array.from({ length: 72 }, (_, i) => Number(i % 6 < 3 === i < 36)),
  )
  const batch = { pixels, 'target/labels': truth }
  const { losses } = await learnProgram(program, parameters, initial(1), batch, { steps: 80, lr: 0.02 })
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 2)
  const features = await runGraph(featureGraph(training), { pixels })
  expect(features.features).toHaveLength(2 * 9 * WIDTH)
})

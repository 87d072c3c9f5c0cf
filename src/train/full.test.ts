/** Weights of the table as parameters: forward as before, gradients by differences, saved and read back by our names. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint, writeSafetensors } from '../checkpoint/index.js'
import { elementCount } from '../core/dims.js'
import { liveHandles } from '../core/disposal.js'
import { randomSource } from '../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import { weightsOf } from '../firmware/build.js'
import { type Graph, GraphBuilder } from '../graph/index.js'
import {
  ARCHITECTURES,
  IMAGEBIND_AUDIO,
  IMAGEBIND_IMU,
  IMAGEBIND_TEXT,
  IMAGEBIND_VISION,
  type ImageBindConfig,
  imagebindRandom,
  linear,
  stackRows,
  table,
  type WeightTensor,
  withOrigins,
} from '../models/index.js'
import { differentiable } from './autodiff/frozen.js'
import { imagebindTrainingGraph } from './encoders/index.js'
import { checkpointTensors, joinedParameters, ownCheckpoint, trainable, withTrained } from './full.js'
import { learnProgram, runGraph } from './heads/testing/learn.js'
import { mseLoss } from './losses/index.js'
import { type Program, stepGraph } from './step-graph.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

const random = (name: string, dims: readonly number[], seed: number): WeightTensor => {
  const next = randomSource(seed)
  const data = Float32Array.from({ length: elementCount(dims) }, () => next() - 0.5)
  const row = elementCount(dims.slice(1))
  return { name, dims, float32: (rows) => (rows ? data.subarray(rows.from * row, rows.to * row) : data) }
}

/** A tied table, a stack of three unequal parts, a vector. ids [B, T] → logits [B, T, V] */
function toyWeights(): Map<string, WeightTensor> {
  const embed = random('embed', [7, 4], 1)
  return withOrigins(
    new Map([
      ['embed', embed],
      ['q', random('q', [4, 4], 2)],
      ['k', random('k', [2, 4], 3)],
      ['v', random('v', [2, 4], 4)],
      ['o', random('o', [4, 8], 5)],
      ['o/bias', random('o/bias', [4], 6)],
      ['head', embed],
      ['logScale', random('logScale', [1], 7)],
    ]),
  )
}

function toyGraph(weights: ReadonlyMap<string, WeightTensor>): Graph {
  const g = new GraphBuilder('toy')
  const ids = g.input('ids', 'int64', ['B', 'T'])
  const x = g.op('Gather', [table(g, weights.get('embed')!, 'float32', 'embed'), ids], { axis: 0 }, 'x')
  const stack = stackRows(['q', 'k', 'v'].map((name) => weights.get(name)!))
  const wide = g.op('Tanh', [linear(g, x, stack, 'fp32', 'qkv')], {}, 'wide')
  const y = linear(g, wide, weights.get('o')!, 'fp32', 'o', weights.get('o/bias'))
  g.output('logits', linear(g, y, weights.get('head')!, 'fp32', 'head'))
  return g.build()
}

const ids = int64Tensor([2, 3], [0, 3, 3, 6, 1, 0])
const wanted = hostTensor(
  'float32',
  [2, 3, 7],
  Float32Array.from({ length: 42 }, (_, i) => Math.sin(i)),
)

/** Squared distance of an output to what is wanted, with the substitutes of `full`. */
function distanceTo(graph: Graph, output: string, full: ReturnType<typeof trainable>): Program {
  return (tape, parameter) => {
    const { g } = tape
    const substitutes = full.substitutes(tape, parameter, 'm/')
    const values = new Map(substitutes.values)
    for (const { name, dtype, dims } of graph.inputs) values.set(name, g.input(name, dtype, dims))
    const y = differentiable(tape, graph, { ...substitutes, values, prefix: 'm/', wanted: [output] }).get(output)!
    return { loss: mseLoss(tape, g.scope('loss'), y, g.input('wanted', 'float32', y.dims)), outputs: { y } }
  }
}

const parameterFeeds = (full: ReturnType<typeof trainable>, changed: ReadonlyMap<string, Float32Array> = new Map()) =>
  Object.fromEntries(
    full.parameters.map(({ name, dims, initial }) => [
      `p/${name}`,
      hostTensor('float32', dims, (changed.get(name) ?? initial()) as never),
    ]),
  )

describe('a tied table and a stack', () => {
  const weights = toyWeights()
  const graph = toyGraph(weights)
  const full = trainable(graph, weights)

  test('one parameter a weight of the table, in its layout; what is folded away is said', () => {
    expect(full.parameters.map(({ name, dims }) => [name, dims])).toEqual([
      ['embed', [7, 4]],
      ['q', [4, 4]],
      ['k', [2, 4]],
      ['v', [2, 4]],
      ['o', [4, 8]],
      ['o/bias', [4]],
    ])
    expect(full.fixed).toEqual(['logScale'])
    expect(trainable(graph, weights, { select: (name) => name === 'head' }).parameters[0]!.name).toBe('embed')
  })

  test('the untrained program gives what the graph gives', async () => {
    const program = stepGraph('same', full.parameters, distanceTo(graph, 'logits', full), 'none')
    const { y } = await runGraph(program, { ids, wanted, ...parameterFeeds(full) })
    const { logits } = await runGraph(graph, { ids })
    logits!.forEach((x, i) => {
      expect(y![i]).toBeCloseTo(x, 6)
    })
  })

  test.each([
    ['all', () => true],
    ['a part of the stack', (name: string) => name === 'k' || name === 'embed'],
  ])('gradients of %s are those of differences', async (_, select) => {
    const some = trainable(graph, weights, { select })
    const program = distanceTo(graph, 'logits', some)
    const found = await runGraph(stepGraph('g', some.parameters, program, 'gradients'), {
      ids,
      wanted,
      ...parameterFeeds(some),
    })
    const step = 1e-2
    const lossAt = stepGraph('l', some.parameters, program, 'none')
    for (const { name, initial } of some.parameters)
      for (const i of [0, initial().length - 1]) {
        const sides = await Promise.all(
          [step, -step].map(async (by) => {
            const data = initial()
            data[i]! += by
            return (await runGraph(lossAt, { ids, wanted, ...parameterFeeds(some, new Map([[name, data]])) })).loss![0]!
          }),
        )
        expect(found[`gradient/${name}`]![i]).toBeCloseTo((sides[0]! - sides[1]!) / (2 * step), 3)
      }
  })

  test('trained, saved, read back and built again: the same logits, the tied table in both places', async () => {
    const initial = new Map(full.parameters.map(({ name, initial: first }) => [name, first()]))
    const program = distanceTo(graph, 'logits', full)
    const { losses, parameters } = await learnProgram(
      program,
      full.parameters,
      initial,
      { ids, wanted },
      { steps: 60, lr: 0.03 },
    )
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2)
    const folder = mkdtempSync(join(tmpdir(), 'm4-full-'))
    try {
      const path = join(folder, 'model.safetensors')
      writeFileSync(path, writeSafetensors(checkpointTensors(withTrained(weights, parameters))))
      using file = openCheckpoint(path)
      expect([...file.tensors.keys()].sort()).toEqual(['embed', 'k', 'logScale', 'o', 'o/bias', 'q', 'v'])
      const again = ownCheckpoint(weightsOf(file), weights)
      const { logits } = await runGraph(toyGraph(again), { ids })
      const at = stepGraph('at', full.parameters, program, 'none')
      const { y } = await runGraph(at, { ids, wanted, ...parameterFeeds(full, parameters) })
      logits!.forEach((x, i) => {
        expect(x).toBeCloseTo(y![i]!, 5)
      })
      const without = new Map([...weightsOf(file)].filter(([name]) => name !== 'k'))
      expect(() => ownCheckpoint(without, weights)).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
      const more = new Map(weightsOf(file)).set('x', weights.get('k')!)
      expect(() => ownCheckpoint(more, weights)).toThrow(expect.objectContaining({ code: 'TENSOR_UNUSED' }))
      const other = new Map(weightsOf(file)).set('k', weights.get('q')!)
      expect(() => ownCheckpoint(other, weights)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('what does not belong together is refused', () => {
    const plain = toyGraph(new Map([...weights].map(([name, { origin: _, ...rest }]) => [name, rest])))
    expect(() => trainable(plain, weights)).toThrow(expect.objectContaining({ code: 'NOT_AVAILABLE' }))
    expect(() => trainable(graph, weights, { select: (name) => name === 'logScale' })).toThrow(/withOrigins/)
    const other = new Map(weights).set('k', random('k', [3, 4], 1))
    expect(() => trainable(graph, other)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    const less = new Map([...weights].filter(([name]) => name !== 'k'))
    expect(() => trainable(graph, less)).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
    expect(() => withTrained(weights, new Map([['head', new Float32Array(28)]]))).toThrow(/head/)
    expect(() => withTrained(weights, new Map([['q', new Float32Array(3)]]))).toThrow(/3 elements/)
  })
})

describe('towers of ImageBind', () => {
  const small = { width: 16, heads: 2, layers: 1, feedForward: 32, joint: 8 }
  const towers: readonly [ImageBindConfig, Record<string, HostTensor>][] = [
    [
      {
        ...IMAGEBIND_VISION,
        ...small,
        positions: 5,
        stem: { kind: 'patches', channels: 3, frames: 2, kernel: 4, stride: 4, height: 8, width: 8 },
      },
      {
        pixels: hostTensor(
          'float32',
          [2, 1, 3, 1, 8, 8],
          Float32Array.from({ length: 384 }, (_, i) => Math.sin(i)),
        ),
      },
    ],
    [
      {
        ...IMAGEBIND_AUDIO,
        ...small,
        positions: 10,
        stem: { kind: 'patches', channels: 1, frames: 1, kernel: 4, stride: 2, height: 8, width: 8 },
      },
      {
        mel: hostTensor(
          'float32',
          [2, 1, 1, 8, 8],
          Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)),
        ),
      },
    ],
    [
      {
        ...IMAGEBIND_IMU,
        ...small,
        positions: 6,
        stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 40 },
      },
      {
        motion: hostTensor(
          'float32',
          [2, 6, 40],
          Float32Array.from({ length: 480 }, (_, i) => Math.sin(i)),
        ),
      },
    ],
    [
      { ...IMAGEBIND_TEXT, ...small, positions: 6, stem: { kind: 'tokens', vocabulary: 20 } },
      {
        ids: int64Tensor([2, 5], [1, 5, 3, 19, 0, 2, 19, 0, 0, 0]),
        causal: hostTensor('float32', [2], Float32Array.of(1, 1)),
      },
    ],
  ]

  test.each(
    towers.map(([config, feeds]) => [config.modality, config, feeds] as const),
  )('%s: every weight but the scale, and the loss falls', async (_, config, feeds) => {
    const { graph, weights } = imagebindTrainingGraph(config, imagebindRandom(config, 3), { adapters: false })
    const full = trainable(graph, weights, { wanted: ['embedding'] })
    expect(full.fixed).toEqual(config.modality === 'vision' ? [] : ['logScale'])
    expect(full.parameters).toHaveLength(weights.size - full.fixed.length)
    const target = hostTensor(
      'float32',
      [2, 8],
      Float32Array.from({ length: 16 }, (_, i) => Math.cos(i)),
    )
    const program = distanceTo(graph, 'embedding', full)
    const initial = new Map(full.parameters.map(({ name, initial: first }) => [name, first()]))
    const batch = { ...feeds, wanted: target }
    const { losses, parameters } = await learnProgram(program, full.parameters, initial, batch, { steps: 30, lr: 0.01 })
    expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.7)
    for (const { name, initial: first } of full.parameters) expect(parameters.get(name), name).not.toEqual(first())
  })
})

test('LLaMA: both graphs together name the whole table', () => {
  const { llama } = ARCHITECTURES
  const config = {
    vocabulary: 32,
    width: 32,
    feedForward: 48,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headWidth: 16,
    contextLength: 32,
    normEpsilon: 1e-5,
    ropeTheta: 1e4,
  }
  const weights = withOrigins(llama.random(config, 1))
  const graphs = llama.graphs(config, weights, {
    quantisation: { default: 'fp32' },
    embedding: 'fp32',
    loraSites: ['qkv'],
  })
  const parts = ['embed', 'decode'].map((name) => trainable(graphs[name]!(), weights))
  const names = joinedParameters(parts).map(({ name }) => name)
  expect(names.sort()).toEqual([...weights.keys()].sort())
})

/** What the reference case of losses does not have: gradients by differences, masks, scales, and edges. */

import { afterAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { normalSource } from '../../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import { encodeModel, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { gradients } from '../autodiff/backward.js'
import { Tape } from '../autodiff/tape.js'
import { softplus } from '../heads/index.js'
import {
  binaryLoss,
  classDiceLoss,
  classLoss,
  cosineLoss,
  diceLoss,
  distillationLoss,
  divergence,
  fixedScale,
  focalElements,
  infoNce,
  l1Loss,
  learnedScale,
  meanWeights,
  mseLoss,
  smoothL1Loss,
  unitLength,
} from './index.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

type Inputs = Readonly<Record<string, HostTensor>>
type Loss = (tape: Tape, scope: Scope, x: (name: string) => Value) => Value

/** Value, and gradients of the inputs in `of`. */
async function evaluate(loss: Loss, inputs: Inputs, of: readonly string[] = []) {
  const g = new GraphBuilder('loss')
  const tape = new Tape(g)
  const values = new Map(Object.entries(inputs).map(([name, { dtype, dims }]) => [name, g.input(name, dtype, dims)]))
  const x = (name: string) => values.get(name)!
  const value = loss(tape, g.scope('loss'), x)
  const found = gradients(tape, value, of.map(x))
  g.output('value', value)
  of.forEach((name, i) => {
    g.output(`gradient/${name}`, found[i]!)
  })
  const engine = await openEngine()
  using session = await engine.createSession({ bytes: await encodeModel(g.build({ dropIdle: true })) })
  const read = new Set(session.inputs.map(({ name }) => name))
  const feeds = Object.entries(inputs).flatMap(([name, { dtype, dims, data }]) =>
    read.has(name) ? [[name, engine.tensor(dtype, dims, data)] as const] : [],
  )
  const results = Object.entries(await session.run(Object.fromEntries(feeds)))
  for (const [, tensor] of feeds) tensor.dispose()
  return Object.fromEntries(
    results.map(([name, tensor]) => {
      using result = tensor
      return [name, Array.from(result.data as Float32Array)]
    }),
  )
}

const tensor = (dims: readonly number[], seed: number, by = 1) => {
  const next = normalSource(seed)
  const count = dims.reduce((a, b) => a * b, 1)
  return hostTensor(
    'float32',
    dims,
    Float32Array.from({ length: count }, () => by * next()),
  )
}
const sum = (scope: Scope, y: Value) => scope.op('ReduceSum', [scope.op('Mul', [y, y])], { keepdims: 0 })

const a = tensor([4, 3], 1)
const b = tensor([4, 3], 2)
const yes = hostTensor(
  'float32',
  [4, 3],
  Float32Array.from({ length: 12 }, (_, i) => Number(i % 3 === 0)),
)
const labels = int64Tensor([4], [2, -100, 0, 1])
const mask = hostTensor('float32', [4, 1], Float32Array.of(1, 0, 1, 0.5))

const CASES: Readonly<Record<string, { loss: Loss; inputs: Inputs; of: readonly string[] }>> = {
  focal: {
    loss: (tape, scope, x) => scope.op('ReduceSum', [focalElements(tape, scope, x('a'), x('yes'))], { keepdims: 0 }),
    inputs: { a, yes },
    of: ['a'],
  },
  softplus: { loss: (tape, scope, x) => sum(scope, softplus(tape, scope, x('a'))), inputs: { a }, of: ['a'] },
  'unit length': {
    loss: (tape, scope, x) => {
      const u = unitLength(tape, scope, x('a'))
      return scope.op('ReduceSum', [scope.op('Mul', [u, x('b')])], { keepdims: 0 })
    },
    inputs: { a, b },
    of: ['a'],
  },
  'InfoNCE, learned scale': {
    loss: (tape, scope, x) => {
      const [u, v] = ['a', 'b'].map((name) => unitLength(tape, scope.scope(name), x(name)))
      return infoNce(tape, scope, u!, v!, learnedScale(scope, x('scale'), 100))
    },
    inputs: { a, b, scale: hostTensor('float32', [], Float32Array.of(0.7)) },
    of: ['a', 'b', 'scale'],
  },
  'masked numbers': {
    loss: (tape, scope, x) => {
      const weights = meanWeights(scope, x('mask'))
      const each = [l1Loss, mseLoss].map((loss, i) => loss(tape, scope.scope(`${i}`), x('a'), x('b'), weights))
      const smooth = smoothL1Loss(tape, scope.scope('smooth'), x('a'), x('b'), 0.4, weights)
      return scope.op('Add', [scope.op('Add', each), smooth])
    },
    inputs: { a, b, mask },
    of: ['a', 'b'],
  },
  'masked binary': {
    loss: (tape, scope, x) => binaryLoss(tape, scope, x('a'), x('yes'), { weights: meanWeights(scope, x('mask')) }),
    inputs: { a, yes, mask },
    of: ['a'],
  },
  'labels, smoothed, weighted, summed': {
    loss: (tape, scope, x) =>
      classLoss(tape, scope, x('a'), x('labels'), {
        smoothing: 0.2,
        classWeights: scope.float32([1, 2, 0.5]),
        reduction: 'sum',
      }),
    inputs: { a, labels },
    of: ['a'],
  },
  'distillation through a sum': {
    loss: (tape, scope, x) => {
      const own = distillationLoss(tape, scope.scope('own'), x('a'), x('b'), 3)
      return scope.op('Add', [own, cosineLoss(tape, scope.scope('cosine'), x('a'), x('b'))])
    },
    inputs: { a, b: tensor([4, 3], 9) },
    of: ['a'],
  },
}

test.each(Object.entries(CASES))('%s: gradients are those of differences', async (_, { loss, inputs, of }) => {
  const found = await evaluate(loss, inputs, of)
  const step = 1e-2
  for (const name of of) {
    const { dims, data } = inputs[name]!
    for (let i = 0; i < data.length; i++) {
      const at = async (by: number) => {
        const moved = (data as Float32Array).slice()
        moved[i]! += by
        return (await evaluate(loss, { ...inputs, [name]: hostTensor('float32', dims, moved) })).value![0]!
      }
      const slope = ((await at(step)) - (await at(-step))) / (2 * step)
      expect(Math.abs(found[`gradient/${name}`]![i]! - slope), `${name}[${i}]`).toBeLessThan(
        2e-3 * (1 + Math.abs(slope)),
      )
    }
  }
})

describe('edges', () => {
  test('a batch in which nothing counts costs nothing and moves nothing', async () => {
    const none = int64Tensor([4], [-100, -100, -100, -100])
    for (const smoothing of [0, 0.1]) {
      const found = await evaluate((t, s, x) => classLoss(t, s, x('a'), x('none'), { smoothing }), { a, none }, ['a'])
      expect(found.value).toEqual([0])
      expect(found['gradient/a']!.every((x) => x === 0)).toBe(true)
    }
  })

  test('logits in the thousands', async () => {
    const large = hostTensor('float32', [2, 3], Float32Array.of(5000, -5000, 0, -8000, 1, 2))
    const target = int64Tensor([2], [1, 0])
    const found = await evaluate((t, s, x) => classLoss(t, s, x('large'), x('target')), { large, target }, ['large'])
    expect(found.value![0]).toBeCloseTo((10_000 + 8_002) / 2, 0)
    expect(found['gradient/large']!.every(Number.isFinite)).toBe(true)
    const truth = hostTensor('float32', [2, 3], Float32Array.of(0, 1, 0, 1, 1, 0))
    const binary = await evaluate((t, s, x) => binaryLoss(t, s, x('large'), x('truth')), { large, truth }, ['large'])
    expect(binary.value![0]).toBeCloseTo(
      (5000 + 5000 + Math.LN2 + 8000 + Math.log1p(Math.exp(-1)) + 2 + Math.log1p(Math.exp(-2))) / 6,
      1,
    )
    expect(binary['gradient/large']!.every(Number.isFinite)).toBe(true)
  })

  test('a vector of zeros has a gradient', async () => {
    const zero = hostTensor('float32', [1, 3])
    const found = await evaluate((t, s, x) => sum(s, unitLength(t, s, x('zero'))), { zero }, ['zero'])
    expect(found.value).toEqual([0])
    expect(found['gradient/zero']!.every(Number.isFinite)).toBe(true)
  })

  test('equal numbers have slope 0', async () => {
    const found = await evaluate((t, s, x) => l1Loss(t, s, x('a'), x('same')), { a, same: a }, ['a'])
    expect(found['gradient/a']!.every((x) => x === 0)).toBe(true)
  })

  test('a distribution is at no distance from itself; probabilities of 0 do no harm', async () => {
    const hard = hostTensor('float32', [2, 2], Float32Array.of(1, 0, 0.5, 0.5))
    const logits = hostTensor('float32', [2, 2], Float32Array.of(80, -80, 3, 3))
    const found = await evaluate((t, s, x) => divergence(t, s, x('logits'), x('hard')), { logits, hard }, ['logits'])
    expect(found.value![0]).toBeCloseTo(0, 6)
    for (const x of found['gradient/logits']!) expect(x).toBeCloseTo(0, 6)
  })

  test('a scale that is cut off is learned no more', async () => {
    const of = (scale: number) =>
      evaluate(
        (_, s, x) => sum(s, learnedScale(s, x('scale'), 100)),
        { scale: hostTensor('float32', [], Float32Array.of(scale)) },
        ['scale'],
      )
    expect((await of(5)).value![0]).toBe(10_000)
    expect((await of(5))['gradient/scale']).toEqual([0])
    expect((await of(1))['gradient/scale']![0]).toBeCloseTo(2 * Math.exp(2), 3)
  })

  test('perfect regions have no Dice loss', async () => {
    const truth = int64Tensor([1, 2, 2], [0, 1, 1, -100])
    const logits = hostTensor('float32', [1, 2, 2, 2], Float32Array.of(50, -50, -50, 9, -50, 50, 50, -9))
    expect(
      (await evaluate((_, s, x) => classDiceLoss(s, x('logits'), x('truth')), { logits, truth })).value![0],
    ).toBeCloseTo(0, 6)
    const on = hostTensor('float32', [1, 2], Float32Array.of(1, 0))
    const sure = hostTensor('float32', [1, 2], Float32Array.of(50, -50))
    expect((await evaluate((_, s, x) => diceLoss(s, x('sure'), x('on')), { sure, on })).value![0]).toBeCloseTo(0, 6)
  })
})

describe('what does not fit', () => {
  const build = (loss: Loss, inputs: Inputs) => () => {
    const g = new GraphBuilder('wrong')
    const values = new Map(Object.entries(inputs).map(([name, { dtype, dims }]) => [name, g.input(name, dtype, dims)]))
    return loss(new Tape(g), g.scope('loss'), (name) => values.get(name)!)
  }

  test.each<[string, Loss, Inputs, string]>([
    [
      'labels with an axis of classes',
      (t, s, x) => classLoss(t, s, x('a'), x('l')),
      { a, l: int64Tensor([4, 1], [0, 0, 0, 0]) },
      'SHAPE_MISMATCH',
    ],
    [
      'too few class weights',
      (t, s, x) => classLoss(t, s, x('a'), x('labels'), { classWeights: s.float32([1, 2]) }),
      { a, labels },
      'SHAPE_MISMATCH',
    ],
    ['smoothing of 1', (t, s, x) => classLoss(t, s, x('a'), x('labels'), { smoothing: 1 }), { a, labels }, 'USAGE'],
    ['a temperature of 0', (_, s) => fixedScale(s, 0), {}, 'USAGE'],
    ['a teacher at temperature −1', (t, s, x) => distillationLoss(t, s, x('a'), x('b'), -1), { a, b }, 'USAGE'],
    ['a beta of 0', (t, s, x) => smoothL1Loss(t, s, x('a'), x('b'), 0), { a, b }, 'USAGE'],
    [
      'numbers of other dimensions',
      (t, s, x) => l1Loss(t, s, x('a'), x('c')),
      { a, c: tensor([3], 1) },
      'SHAPE_MISMATCH',
    ],
    ['Dice of plain classes', (_, s, x) => classDiceLoss(s, x('a'), x('labels')), { a, labels }, 'SHAPE_MISMATCH'],
  ])('%s', (_, loss, inputs, code) => {
    expect(build(loss, inputs)).toThrow(expect.objectContaining({ code }))
  })
})

/** What finite differences do not show: ties, repeated rows with more threads than one, adding into what is there. */

import { beforeAll, describe, expect, test } from 'vitest'
import { randomSource } from '../../core/random.js'
import { openEngine } from '../../engine/index.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel, GraphBuilder, type Value } from '../../graph/index.js'
import { gradients } from './backward.js'
import { Tape } from './tape.js'

let engine: Engine
beforeAll(async () => {
  engine = await openEngine({ threads: 2 })
})

interface Feed {
  readonly dims: readonly number[]
  readonly data: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>
}
const floats = (...values: number[]): Feed => ({ dims: [values.length], data: Float32Array.from(values) })

/** Gradients of the sum of what `emit` makes, with respect to its float32 inputs, by name; `runs` times. */
async function gradientsOf(
  feeds: Readonly<Record<string, Feed>>,
  emit: (g: GraphBuilder, inputs: Readonly<Record<string, Value>>) => Value,
  runs = 1,
): Promise<Record<string, Float32Array>[]> {
  const g = new GraphBuilder('rule')
  const dtypeOf = ({ data }: Feed) => (data instanceof Float32Array ? 'float32' : 'int64')
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, feed]) => [name, g.input(name, dtypeOf(feed), feed.dims)]),
  )
  const loss = g.op('ReduceSum', [emit(g, inputs)], { keepdims: 0 })
  const trained = Object.values(inputs).filter(({ dtype }) => dtype === 'float32')
  gradients(new Tape(g), loss, trained).forEach((gradient, i) => {
    g.output(`d/${trained[i]!.name}`, gradient!)
  })
  using session = await engine.createSession({ bytes: await encodeModel(g.build({ dropIdle: true })) })
  const tensors = Object.fromEntries(
    session.inputs.map(({ name }) => {
      const { dims, data } = feeds[name]!
      return [name, engine.tensor(dtypeOf(feeds[name]!), dims, data as never)]
    }),
  )
  const found: Record<string, Float32Array>[] = []
  for (let run = 0; run < runs; run++) {
    const results = await session.run(tensors)
    found.push(
      Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name.slice(2), (tensor.data as Float32Array).slice()]),
      ),
    )
    for (const tensor of Object.values(results)) tensor.dispose()
  }
  for (const tensor of Object.values(tensors)) tensor.dispose()
  return found
}

describe('where a function has a corner, as PyTorch', () => {
  test('equal operands of Max share the gradient', async () => {
    const [found] = await gradientsOf({ a: floats(1, 2, 3), b: floats(1, 3, 2) }, (g, { a, b }) => g.op('Max', [a, b]))
    expect([...found!.a!]).toEqual([0.5, 0, 1])
    expect([...found!.b!]).toEqual([0.5, 1, 0])
  })

  test('equal elements of ReduceMax share the gradient', async () => {
    const [found] = await gradientsOf({ x: floats(4, 1, 4, 4) }, (g, { x }) => g.op('ReduceMax', [x]))
    expect([...found!.x!]).toEqual([1, 0, 1, 1].map((share) => Math.fround(share / 3)))
  })

  test('Relu and Abs at 0; Clip passes at its limits', async () => {
    const x = floats(-1, 0, 1)
    const [relu] = await gradientsOf({ x }, (g, inputs) => g.op('Relu', [inputs.x]))
    expect([...relu!.x!]).toEqual([0, 0, 1])
    const [abs] = await gradientsOf({ x }, (g, inputs) => g.op('Abs', [inputs.x]))
    expect([...abs!.x!]).toEqual([-1, 0, 1])
    const [clip] = await gradientsOf({ x: floats(-2, -1, 0, 1, 2) }, (g, inputs) =>
      g.op('Clip', [inputs.x, g.float32(-1), g.float32(1)]),
    )
    expect([...clip!.x!]).toEqual([0, 1, 1, 1, 0])
  })
})

test('Gelu: 1/2 at 0, and good numbers far out and near 0', async () => {
  const x = floats(0, 1e-30, -1e-8, 1e-4, 40, -40, 6, -6)
  const [found] = await gradientsOf({ x }, (g, inputs) => g.op('Gelu', [inputs.x]))
  const expected = [0.5, 0.5, 0.5, 0.5 + 1e-4 * Math.sqrt(2 / Math.PI), 1, 0, 1, 0]
  for (const [i, slope] of expected.entries()) expect(found!.x![i]).toBeCloseTo(slope, 6)
})

describe('rows that are named again and again', () => {
  const [V, N, C] = [300, 4096, 64]
  const random = randomSource(7)
  const ids = BigInt64Array.from({ length: N }, () => BigInt(Math.floor(random() ** 3 * V)))
  const dy = Float32Array.from({ length: N * C }, () => random() - 0.5)
  const expected = new Float64Array(V * C)
  for (let n = 0; n < N; n++) for (let c = 0; c < C; c++) expected[Number(ids[n]) * C + c]! += dy[n * C + c]!
  const feeds = (table: Float32Array<ArrayBuffer>): Record<string, Feed> => ({
    table: { dims: [V, C], data: table },
    ids: { dims: [N], data: ids },
    dy: { dims: [N, C], data: dy },
  })
  const worst = (got: Float32Array, of: ArrayLike<number>) =>
    got.reduce((most, value, i) => Math.max(most, Math.abs(value - of[i]!)), 0)

  test('Gather: exact, and the same bytes each time with two threads', async () => {
    expect(engine.threads).toBe(2)
    const emit = (g: GraphBuilder, { table, ids: rows, dy: weights }: Readonly<Record<string, Value>>) =>
      g.op('Mul', [g.op('Gather', [table, rows], { axis: 0 }), weights])
    const found = await gradientsOf(feeds(new Float32Array(V * C)), emit, 4)
    expect(worst(found[0]!.table!, expected)).toBeLessThan(1e-3)
    for (const again of found.slice(1)) expect(again.table).toEqual(found[0]!.table)
  })

  test('GatherElements: likewise', async () => {
    const emit = (g: GraphBuilder, { table, ids: rows, dy: weights }: Readonly<Record<string, Value>>) => {
      const places = g.op('Expand', [g.op('Unsqueeze', [rows, g.int64([1])]), g.int64([N, C])])
      return g.op('Mul', [g.op('GatherElements', [table, places], { axis: 0 }), weights])
    }
    const found = await gradientsOf(feeds(new Float32Array(V * C)), emit, 4)
    expect(worst(found[0]!.table!, expected)).toBeLessThan(1e-3)
    for (const again of found.slice(1)) expect(again.table).toEqual(found[0]!.table)
  })

  test('a tied table: rows are added into the gradient of its other use', async () => {
    const table = Float32Array.from({ length: V * C }, () => random() - 0.5)
    const [found] = await gradientsOf(feeds(table), (g, { table: t, ids: rows, dy: weights }) => {
      const embedded = g.op('ReduceSum', [g.op('Mul', [g.op('Gather', [t, rows], { axis: 0 }), weights])], {
        keepdims: 0,
      })
      return g.op('Add', [embedded, g.op('ReduceSum', [g.op('Mul', [t, t])], { keepdims: 0 })])
    })
    const both = expected.map((value, i) => value + 2 * table[i]!)
    expect(worst(found!.table!, both)).toBeLessThan(1e-3)
  })
})

test('a value used many times gets the sum', async () => {
  const [found] = await gradientsOf({ x: floats(2, -3) }, (g, { x }) =>
    g.op('Add', [g.op('Mul', [x, x]), g.op('Mul', [g.op('Add', [x, x]), g.float32(3)])]),
  )
  expect([...found!.x!]).toEqual([10, 0])
})

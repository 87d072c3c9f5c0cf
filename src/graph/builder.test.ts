import { describe, expect, test } from 'vitest'
import { isM4Error } from '../core/errors.js'
import { GraphBuilder, lazyTensor, tensorFrom } from './index.js'
import type { Value } from './types.js'

const weight = (rows: number, columns: number) =>
  tensorFrom('float32', [rows, columns], new Float32Array(rows * columns))

/** Code and message of what `run` throws. */
function failure(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (isM4Error(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return 'nothing thrown'
}

function attention() {
  const g = new GraphBuilder('backbone')
  const x = g.input('x', 'float32', ['B', 'T', 64])
  const attn = g.scope('layers.3').scope('attn')
  const q = attn.op('MatMul', [x, attn.initializer('q/weight', weight(64, 96))], {}, 'q')
  return { g, x, attn, q }
}

describe('GraphBuilder', () => {
  test('names are paths, shapes are known at once', () => {
    const { g, attn, q } = attention()
    expect(q).toEqual({ name: 'layers.3/attn/q', dtype: 'float32', dims: ['B', 'T', 96] })
    const [a, b] = attn.ops('Split', [q, g.int64([32, 64])], { axis: -1 }, ['a', 'b'])
    expect(b.dims).toEqual(['B', 'T', 64])
    const anonymous = [attn.op('Relu', [a]), attn.op('Relu', [b])].map(({ name }) => name)
    expect(anonymous).toEqual(['layers.3/attn/relu1', 'layers.3/attn/relu2'])
  })

  test('shape arithmetic is followed symbolically', () => {
    const { g, attn, q } = attention()
    const shape = attn.op('Shape', [q], { end: 2 })
    const heads = attn.op('Reshape', [q, attn.op('Concat', [shape, g.int64([4, -1])], { axis: 0 })])
    expect(heads.dims).toEqual(['B', 'T', 4, 24])
    expect(attn.op('Reshape', [heads, g.int64([0, -1, 24])]).dims).toEqual(['B', '4*T', 24])
    const past = g.input('past', 'float32', ['B', 'P', 4, 24])
    const all = attn.op('Concat', [past, heads], { axis: 1 })
    expect(all.dims).toEqual(['B', 'P+T', 4, 24])
    const length = attn.op('Gather', [attn.op('Shape', [all]), g.int64(1)])
    expect(attn.op('Range', [g.int64(0), length, g.int64(1)]).dims).toEqual(['P+T'])
    expect(attn.op('Expand', [g.float32(0), attn.op('Unsqueeze', [length, g.int64([0])])]).dims).toEqual(['P+T'])
  })

  test('sizes that only the run knows are fresh symbols, which the author may name', () => {
    const { g, attn, q } = attention()
    const shape = g.input('shape', 'int64', [3])
    const free = attn.op('Reshape', [q, shape], {}, 'free')
    expect(new Set(free.dims).size).toBe(3)
    expect(g.refine(free, ['B', 'S', 96]).dims).toEqual(['B', 'S', 96])
    expect(attn.op('Identity', [free]).dims).toEqual(['B', 'S', 96])
    expect(failure(() => g.refine(q, ['B', 'T', 97]))).toMatch(
      /SHAPE_MISMATCH: refine layers\.3\/attn\/q: expected \[B, T, 96\]/,
    )
  })

  test('mistakes are refused where they are made', () => {
    const { g, x, attn, q } = attention()
    expect(failure(() => attn.op('MatMul', [q, attn.initializer('k', weight(64, 8))], {}, 'bad'))).toBe(
      'SHAPE_MISMATCH: MatMul layers.3/attn/bad: expected [B, T, 64] to multiply [64, 8], got [B, T, 96].',
    )
    expect(failure(() => attn.op('Relu', [q], {}, 'q'))).toMatch(/^USAGE: .*"layers.3\/attn\/q" again/)
    expect(failure(() => attn.op('Softmax', [q], { axes: 1 } as never))).toMatch(/^UNKNOWN_NAME: .*axis/)
    expect(failure(() => attn.op('Concat', [q], {} as never))).toMatch(/^USAGE: .*"axis" \(int\) is missing/)
    expect(failure(() => attn.op('Softmax', [q], { axis: 0.5 }))).toMatch(/^USAGE: .*as int/)
    expect(failure(() => attn.op('Add', [q, undefined]))).toMatch(/^USAGE: .*input "b"/)
    expect(failure(() => attn.op('Add', [q]))).toMatch(/^USAGE: .*expected 2 inputs/)
    expect(failure(() => attn.op('Add', [q, g.int64(1)]))).toMatch(/^SHAPE_MISMATCH: .*Insert a Cast/)
    expect(failure(() => attn.op('Relu', [{ ...x, name: 'elsewhere' }]))).toMatch(/^USAGE: .*does not belong/)
    expect(failure(() => tensorFrom('float32', [2], new Float32Array(3)))).toMatch(/^SHAPE_MISMATCH/)
  })

  test('a refused node leaves no trace', () => {
    const { g, attn, q } = attention()
    const run = () => attn.ops('Split', [q], { axis: -1, num_outputs: 2 }, ['a', 'q'])
    expect(failure(run)).toMatch(/^USAGE/)
    g.output('y', q)
    expect(g.build().nodes.map(({ op }) => op)).toEqual(['MatMul'])
    expect(attn.op('Relu', [q], {}, 'a').name).toBe('layers.3/attn/a')
  })

  test('equal constants are one', () => {
    const g = new GraphBuilder('constants')
    expect(g.int64([1, -1])).toBe(g.scope('a').int64([1, -1]))
    expect(g.int64([1, -1]).name).toBe('constants/int64/[1,-1]')
    expect(g.int64(1)).toMatchObject({ name: 'constants/int64/1', dims: [] })
    expect(g.float32(0)).not.toBe(g.float32(-0))
    expect(g.float32([1, 2, 3, 4], [2, 2]).dims).toEqual([2, 2])
    expect(g.float32([1, 2, 3, 4], [4, 1])).not.toBe(g.float32([1, 2, 3, 4], [2, 2]))
    expect(g.float32(0.1)).toBe(g.float32(Math.fround(0.1)))
    expect(failure(() => g.int64(0.5))).toMatch(/^USAGE/)
  })

  test('outputs rename their values; inputs and repeated values get an Identity', () => {
    const { g, x, q, attn } = attention()
    const y = attn.op('Relu', [q], {}, 'y')
    g.output('q', q)
    g.output('again', q)
    g.output('through', x)
    g.output('layers.3/attn/y', y)
    const graph = g.build()
    expect(graph.outputs.map(({ name, dims }) => [name, dims[2]])).toEqual([
      ['q', 96],
      ['again', 96],
      ['through', 64],
      ['layers.3/attn/y', 96],
    ])
    expect(graph.nodes.map(({ op, inputs, outputs }) => [op, inputs[0], outputs[0]])).toEqual([
      ['MatMul', 'x', 'q'],
      ['Relu', 'q', 'layers.3/attn/y'],
      ['Identity', 'q', 'again'],
      ['Identity', 'x', 'through'],
    ])
  })

  test('what no output depends on is an error', () => {
    const { g, attn, q } = attention()
    expect(failure(() => g.build())).toMatch(/^USAGE: .*at least one output/)
    g.output('q', q)
    attn.initializer('k/weight', weight(2, 2))
    attn.op('Relu', [q], {}, 'idle')
    expect(failure(() => g.build())).toBe(
      'USAGE: Graph backbone: no output depends on Relu layers.3/attn/idle, initializer layers.3/attn/k/weight. Use them, or leave them out.',
    )
  })

  test('absent optional inputs and outputs are empty names', () => {
    const g = new GraphBuilder('norm')
    const x: Value = g.input('x', 'float32', ['B', 'T', 8])
    const gamma = g.initializer('gamma', tensorFrom('float32', [8], new Float32Array(8)))
    const outputs = g.ops('SkipSimplifiedLayerNormalization', [x, x, gamma], {}, ['y', undefined, undefined, 'sum'])
    g.output('y', outputs[0])
    g.output('sum', outputs[3])
    const clipped = g.op('Clip', [outputs[0], undefined, g.float32(1)], {}, 'clipped')
    g.output('clipped', clipped)
    const [norm, clip] = g.build().nodes
    expect(norm!.outputs).toEqual(['y', '', '', 'sum'])
    expect(clip!.inputs).toEqual(['y', '', 'constants/float32/1'])
  })

  test('large weights are not read while building', () => {
    const g = new GraphBuilder('lazy')
    const huge = lazyTensor('float32', [64, 1 << 20], () => {
      throw new Error('read')
    })
    g.output('y', g.op('MatMul', [g.input('x', 'float32', ['T', 64]), g.initializer('w', huge)]))
    expect(g.build().outputs[0]!.dims).toEqual(['T', 1 << 20])
  })
})

import { describe, expect, test } from 'vitest'
import { isM4Error } from '../core/errors.js'
import { interleavedRow, sourceHeadRow } from '../core/heads.js'
import { llamaConfig, llamaWeights } from './llama-weights.js'
import { mapColumns, mapRows, resolveWeights, stackRows, type Weights, type WeightTensor } from './weights.js'

/** rows × columns, element = 100·row + column + offset; with codes where columns allow. */
function matrix(name: string, rows: number, columns: number, offset = 0): WeightTensor {
  const value = (row: number, column: number) => offset + 100 * row + column
  const range = (from: number, to: number) =>
    Float32Array.from({ length: (to - from) * columns }, (_, i) => value(from + Math.floor(i / columns), i % columns))
  return { name, dims: [rows, columns], float32: ({ from, to } = { from: 0, to: rows }) => range(from, to) }
}

const coded = (rows: number, first: number): WeightTensor => ({
  ...matrix('coded', rows, 32),
  codes32: ({ from, to } = { from: 0, to: rows }) => ({
    codes: Int8Array.from({ length: (to - from) * 32 }, (_, i) => first + from + Math.floor(i / 32)),
    scales: Float32Array.from({ length: to - from }, (_, i) => first + from + i),
  }),
})

describe('views', () => {
  test('stacked rows read across borders, values and codes alike', () => {
    const stacked = stackRows([coded(2, 10), coded(3, 20)])
    expect(stacked.dims).toEqual([5, 32])
    expect([...stacked.codes32!({ from: 1, to: 4 })!.scales]).toEqual([11, 20, 21])
    expect(stacked.codes32!({ from: 1, to: 4 })!.codes[32]).toBe(20)
    expect([...stacked.float32({ from: 1, to: 3 })].filter((_, i) => i % 32 === 0)).toEqual([100, 0])
    expect(stackRows([coded(2, 0), matrix('plain', 2, 32)]).codes32!()).toBeUndefined()
  })

  test('mapped rows: any range equals the same rows of the whole', () => {
    const layout = { from: 6, to: 8, rotary: true }
    const mapped = mapRows(matrix('q', 12, 3), { rows: 16, group: 8, sourceGroup: 6 }, (row) =>
      sourceHeadRow(row, layout),
    )
    const whole = mapped.float32()
    for (const [from, to] of [
      [0, 16],
      [3, 5],
      [7, 9],
      [8, 16],
      [15, 16],
    ] as const)
      expect(mapped.float32({ from, to })).toEqual(whole.slice(from * 3, to * 3))
    // Halves of three rows each end in one row of zeros.
    expect([...whole].filter((_, i) => i % 3 === 0)).toEqual([
      0, 100, 200, 0, 300, 400, 500, 0, 600, 700, 800, 0, 900, 1000, 1100, 0,
    ])
  })

  test('mapped columns', () => {
    const mapped = mapColumns(matrix('o', 2, 2), 4, (column) => (column < 2 ? column : -1))
    expect([...mapped.float32()]).toEqual([0, 1, 0, 0, 100, 101, 0, 0])
  })

  test('interleaved rows: pairs (2j, 2j+1) become (j, j + D/2)', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((row) => interleavedRow(row, 4))).toEqual([0, 2, 1, 3, 4, 6, 5, 7])
  })
})

describe('resolving names', () => {
  const table = { names: { 'layers.{}/w': 'blk.{}.w', top: 'top' }, optional: ['top'], ignore: [/^freqs$/] }
  const weights = (...names: string[]): Weights => new Map(names.map((name) => [name, matrix(name, 2, 3)]))
  const shapes = { 'layers.{}/w': [2, 3], top: [2, 3] }
  const code = (act: () => unknown) => {
    try {
      act()
    } catch (error) {
      return isM4Error(error) ? error.code : error
    }
    return 'none'
  }

  test('fills layers, leaves out what is optional, ignores what is of no use', () => {
    const resolved = resolveWeights(weights('blk.0.w', 'blk.1.w', 'freqs'), table, 2, shapes)
    expect([...resolved.keys()]).toEqual(['layers.0/w', 'layers.1/w'])
  })

  test('missing, unused and misshapen tensors are errors', () => {
    expect(code(() => resolveWeights(weights('blk.0.w'), table, 2, shapes))).toBe('TENSOR_MISSING')
    expect(code(() => resolveWeights(weights('blk.0.w', 'extra'), table, 1, shapes))).toBe('TENSOR_UNUSED')
    expect(code(() => resolveWeights(weights('blk.0.w'), table, 1, { ...shapes, 'layers.{}/w': [3, 2] }))).toBe(
      'SHAPE_MISMATCH',
    )
  })

  test('sizes of one do not matter: ggml writes a bias as [n, 1]', () => {
    const bias = new Map([['top', { ...matrix('top', 6, 1), dims: [6, 1] }]])
    const resolved = resolveWeights(bias, { names: { top: 'top' } }, 0, { top: [6] })
    expect(resolved.get('top')!.dims).toEqual([6])
  })
})

test('LLaMA: a head that the checkpoint leaves out is the embedding', () => {
  const sizes: Record<string, [number, number]> = {
    'tok_embeddings.weight': [40, 32],
    'layers.0.attention.wq.weight': [32, 32],
    'layers.0.attention.wk.weight': [32, 32],
    'layers.0.attention.wv.weight': [32, 32],
    'layers.0.attention.wo.weight': [32, 32],
    'layers.0.feed_forward.w1.weight': [48, 32],
    'layers.0.feed_forward.w3.weight': [48, 32],
    'layers.0.feed_forward.w2.weight': [32, 48],
  }
  const weights = new Map<string, WeightTensor>(
    Object.entries(sizes).map(([name, [r, c]]) => [name, matrix(name, r, c)]),
  )
  for (const name of ['layers.0.attention_norm.weight', 'layers.0.ffn_norm.weight', 'norm.weight'])
    weights.set(name, { name, dims: [32], float32: () => new Float32Array(32) })
  const config = llamaConfig({ format: 'torch', metadata: { n_heads: 2 }, weights })
  expect(config).toMatchObject({
    vocabulary: 40,
    width: 32,
    feedForward: 48,
    layers: 1,
    heads: 2,
    kvHeads: 2,
    headWidth: 16,
  })
  const resolved = llamaWeights(config, weights)
  expect(resolved.get('head')).toBe(resolved.get('embed'))
  // Meta pairs neighbours; inside, pairs are half a head apart.
  expect(resolved.get('layers.0/attn/q')!.float32({ from: 1, to: 2 })[0]).toBe(200)
})

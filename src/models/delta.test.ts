/** Base and delta as one model. */

import { expect, test } from 'vitest'
import { withDelta } from './delta.js'
import type { WeightTensor } from './weights.js'

const tensor = (name: string, dims: number[], values: number[]): [string, WeightTensor] => {
  const width = dims.slice(1).reduce((a, b) => a * b, 1)
  const data = Float32Array.from(values)
  return [name, { name, dims, float32: (rows) => (rows ? data.subarray(rows.from * width, rows.to * width) : data) }]
}
const EMBED = 'model.embed_tokens.weight'

test('sums, by rows too; new tokens have the delta alone; neither side is changed', () => {
  const base = new Map([tensor('a', [2, 2], [1, 2, 3, 4]), tensor(EMBED, [1, 2], [5, 6])])
  const delta = new Map([tensor('a', [2, 2], [10, 20, 30, 40]), tensor(EMBED, [3, 2], [1, 1, 7, 8, 9, 10])])
  const sums = withDelta(base, delta)
  expect(Array.from(sums.get('a')!.float32())).toEqual([11, 22, 33, 44])
  expect(Array.from(sums.get('a')!.float32({ from: 1, to: 2 }))).toEqual([33, 44])
  expect(sums.get(EMBED)!.dims).toEqual([3, 2])
  expect(Array.from(sums.get(EMBED)!.float32())).toEqual([6, 7, 7, 8, 9, 10])
  expect(Array.from(sums.get(EMBED)!.float32({ from: 1, to: 3 }))).toEqual([7, 8, 9, 10])
  expect(Array.from(delta.get('a')!.float32())).toEqual([10, 20, 30, 40])
})

test('what is on one side alone, or of another shape', () => {
  const one = new Map([tensor('a', [2], [1, 2])])
  expect(() => withDelta(one, new Map())).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
  expect(() => withDelta(one, new Map([tensor('a', [3], [1, 2, 3])]))).toThrow(
    expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
  )
  const frequencies = new Map([tensor('model.layers.0.self_attn.rotary_emb.inv_freq', [1], [1])])
  expect(withDelta(frequencies, new Map()).size).toBe(0)
})

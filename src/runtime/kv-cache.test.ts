/** Growing KV buffers, with an engine that only makes tensors. */

import { expect, test } from 'vitest'
import { allocate, type DataOf, type DType } from '../core/dtypes.js'
import type { Binding, Engine, Tensor } from '../engine/types.js'
import { cacheShape, createKvCache } from './kv-cache.js'

function fakes() {
  let live = 0
  let refuse = false
  const bound = new Map<string, Tensor>()
  const engine = {
    tensor<T extends DType>(dtype: T, dims: readonly number[], data?: DataOf<T>): Tensor {
      if (refuse) throw new RangeError('Array buffer allocation failed')
      live++
      const count = dims.reduce((a, b) => a * b, 1)
      let disposed = false
      const dispose = () => {
        if (!disposed) live--
        disposed = true
      }
      return {
        dtype,
        dims,
        data: data ?? allocate(dtype, count),
        get disposed() {
          return disposed
        },
        dispose,
        [Symbol.dispose]: dispose,
      }
    },
  } as unknown as Engine
  const binding = {
    bindInput: (name: string, tensor: Tensor) => bound.set(name, tensor),
    bindOutput: (name: string, tensor: Tensor) => bound.set(name, tensor),
  } as unknown as Binding
  return { engine, binding, bound, live: () => live, refuseMore: () => (refuse = true) }
}

const info = (name: string) => ({ name, dtype: 'float32' as const, dims: ['B', 2, 'S', 3] })
const shape = cacheShape([info('past/layers.0/key'), info('past/layers.0/value'), info('inputs_embeds')])

test('rows keep their place in each head when the buffers grow', () => {
  const { engine, binding, bound, live } = fakes()
  const cache = createKvCache(engine, binding, shape, 700)
  cache.reserve(5, 0)
  expect(cache.capacity).toBe(256)
  const rows = Float32Array.from({ length: 2 * 5 * 3 }, (_, i) => i + 1)
  cache.write('layers.0/key', rows, 5)
  cache.reserve(256, 5)
  expect(cache.capacity).toBe(256)
  cache.reserve(257, 5)
  expect(cache.capacity).toBe(512)
  const data = bound.get('past/layers.0/key')!.data as Float32Array
  expect(bound.get('present/layers.0/key')).toBe(bound.get('past/layers.0/key'))
  expect([...data.subarray(0, 15)]).toEqual([...rows.subarray(0, 15)])
  expect([...data.subarray(512 * 3, 512 * 3 + 15)]).toEqual([...rows.subarray(15)])
  cache.reserve(700, 5)
  expect(cache.capacity).toBe(700)
  expect(cache.bytes).toBe(2 * 2 * 700 * 3 * 4)
  expect(live()).toBe(2)
  cache.dispose()
  expect(live()).toBe(0)
})

test('too little memory leaves the old buffers in place', () => {
  const { engine, binding, live, refuseMore } = fakes()
  const cache = createKvCache(engine, binding, shape, 10_000)
  cache.reserve(1, 0)
  refuseMore()
  expect(() => cache.reserve(1000, 1)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }))
  expect(cache.capacity).toBe(256)
  expect(live()).toBe(2)
})

test('a session without caches is told', () => {
  expect(() => cacheShape([info('inputs_embeds')])).toThrow(/past/)
})

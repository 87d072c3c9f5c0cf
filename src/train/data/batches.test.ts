import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Batch, type BatchOptions, batches } from './batches.js'

function take(count: number, steps: number, options: BatchOptions): Batch[] {
  const source = batches(count, options)
  return Array.from({ length: steps }, () => source.next().value)
}

describe('batches', () => {
  test('each epoch serves every sample once, in another order', () => {
    const [first, second] = [take(10, 3, { size: 4, seed: 1 }), take(10, 6, { size: 4, seed: 1 }).slice(3)]
    const flat = (part: Batch[]) => part.flatMap(({ indices }) => indices)
    expect(first.map(({ indices }) => indices.length)).toEqual([4, 4, 2])
    expect(flat(first).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(flat(second).sort()).toEqual(flat(first).sort())
    expect(second.map(({ epoch }) => epoch)).toEqual([1, 1, 1])
    const orders = [take(10, 3, { size: 4, seed: 1 }), second, take(10, 3, { size: 4, seed: 2 })]
    expect(new Set(orders.map((order) => flat(order).join())).size).toBe(3)
  })

  test('samples of about one length go together, each once, and a resumed run agrees', () => {
    const lengthOf = (i: number) => (i * 37) % 101
    const options = { size: 4, seed: 3, lengthOf }
    const served = take(90, 40, options)
    const first = served.slice(0, 23).flatMap(({ indices }) => indices)
    expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: 90 }, (_, i) => i))
    const spread = (batch: Batch) => {
      const lengths = batch.indices.map(lengthOf)
      return Math.max(...lengths) - Math.min(...lengths)
    }
    const mean = (all: Batch[]) => all.reduce((sum, batch) => sum + spread(batch), 0) / all.length
    expect(mean(served.slice(0, 23))).toBeLessThan(mean(take(90, 23, { size: 4, seed: 3 })) / 3)
    expect(take(90, 10, { ...options, from: served[12]!.next })).toEqual(served.slice(13, 23))
  })

  test('without shuffling, in order', () => {
    expect(take(3, 3, { size: 2, seed: 1, shuffle: false }).map(({ indices }) => indices)).toEqual([
      [0, 1],
      [2],
      [0, 1],
    ])
  })

  test('short batches can be dropped', () => {
    const served = take(10, 5, { size: 4, seed: 1, partial: 'drop' })
    expect(served.every(({ indices }) => indices.length === 4)).toBe(true)
    expect(served.map(({ epoch }) => epoch)).toEqual([0, 0, 1, 1, 2])
  })

  test('a resumed run serves what an uninterrupted one does', () => {
    const numbers = fc.integer({ min: 1, max: 20 })
    fc.assert(
      fc.property(
        numbers,
        numbers,
        fc.nat({ max: 15 }),
        fc.nat(),
        fc.constantFrom('keep', 'drop'),
        (count, size, stop, seed, partial) => {
          fc.pre(partial === 'keep' || size <= count)
          const options = { size, seed, partial: partial as 'keep' | 'drop' }
          const whole = take(count, 20, options)
          const next = JSON.parse(JSON.stringify(whole[stop]!.next)) as Batch['next']
          expect(take(count, 19 - stop, { ...options, from: next })).toEqual(whole.slice(stop + 1))
        },
      ),
      { seed: 1 },
    )
  })

  test('what cannot be served is refused at once', () => {
    const cases: [number, BatchOptions][] = [
      [0, { size: 1, seed: 1 }],
      [5, { size: 0, seed: 1 }],
      [5, { size: 1.5, seed: 1 }],
      [5, { size: 6, seed: 1, partial: 'drop' }],
      [5, { size: 1, seed: 1, from: { epoch: 0, position: 6 } }],
      [5, { size: 1, seed: 1, from: { epoch: -1, position: 0 } }],
      [5, { size: 1, seed: Number.NaN }],
    ]
    for (const [count, options] of cases)
      expect(() => batches(count, options)).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test('neighbouring seeds and epochs share no order', () => {
    const orders = [0, 1, 2].flatMap((seed) =>
      Array.from({ length: 50 }, (_, epoch) =>
        take(8, 1, { size: 8, seed, from: { epoch, position: 0 } })[0]!.indices.join(),
      ),
    )
    // Of 40,320 orders 150 are drawn: a few meetings would be chance, many a fault.
    expect(new Set(orders).size).toBeGreaterThan(145)
  })
})

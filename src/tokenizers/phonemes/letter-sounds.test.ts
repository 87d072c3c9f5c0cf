import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeSounds, LETTER_COUNT, letterIds } from './letter-sounds.js'

test('letters have ids below the count, 0 is none of them', () => {
  expect(letterIds("o'z a")).toEqual([16, 1, 27, 2])
  expect(letterIds('é5-')).toEqual([])
  for (const id of letterIds("abcdefghijklmnopqrstuvwxyz'")) {
    expect(id).toBeGreaterThan(0)
    expect(id).toBeLessThan(LETTER_COUNT)
  }
})

const SOUNDS = ['', 'AE0', 'AE1', 'K', 'K S', 'T']
const scores = (...rows: number[][]) => Float32Array.from(rows.flat())

test('each letter says its best; a silent one says nothing', () => {
  const cat = scores([0, 0, 0, 5, 0, 0], [0, 1, 4, 0, 0, 0], [5, 0, 0, 0, 0, 4], [0, 0, 0, 0, 3, 0])
  expect(decodeSounds(cat, SOUNDS)).toBe('K AE1 K S')
})

test('of two main stresses the surer stays, of none the nearest comes', () => {
  expect(decodeSounds(scores([0, 3, 4, 0, 0, 0], [0, 1, 4, 0, 0, 0]), SOUNDS)).toBe('AE0 AE1')
  expect(decodeSounds(scores([0, 4, 2, 0, 0, 0], [0, 4, 3, 0, 0, 0]), SOUNDS)).toBe('AE0 AE1')
})

test('any scores give one main stress', () => {
  const row = fc.array(fc.float({ noNaN: true, min: -9, max: 9 }), { minLength: 6, maxLength: 6 })
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 8 }), (rows) => {
      expect(decodeSounds(scores(...rows), SOUNDS).match(/1/g)).toHaveLength(1)
    }),
    { seed: 7 },
  )
})

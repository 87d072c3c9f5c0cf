/** Shrinking as PIL does; sharp's triangle is the same filter with another rounding. */

import sharp from 'sharp'
import { expect, test } from 'vitest'
import { randomSource } from '../core/random.js'
import type { Picture } from './image.js'
import { shrinkToFit } from './shrink.js'

const noise = (width: number, height: number, seed = 1): Picture => {
  const uniform = randomSource(seed)
  return { data: Uint8Array.from({ length: width * height * 3 }, () => Math.floor(uniform() * 256)), width, height }
}

test.each([
  [40, 30, 40, 30, 'as it is'],
  [41, 30, 40, 29, 'wide'],
  [30, 90, 10, 30, 'tall'],
  [400, 2, 40, 1, 'a strip keeps a dot'],
])('%i × %i in 40 × 30 is %i × %i: %s', (width, height, wanted, tall) => {
  const picture = noise(width, height)
  const small = shrinkToFit(picture, { width: 40, height: 30 })
  expect([small.width, small.height, small.data.length]).toEqual([wanted, tall, wanted * tall * 3])
  expect(small === picture).toBe(wanted === width && tall === height)
})

test('values of the triangle: halved, and one colour stays', () => {
  // A dot counts 3, its neighbours beyond the pair 1; what is outside counts nothing.
  const picture = { data: Uint8Array.of(0, 0, 0, 70, 70, 70, 140, 0, 7, 210, 70, 7), width: 4, height: 1 }
  const { data } = shrinkToFit(picture, { width: 2, height: 9 })
  expect([...data]).toEqual([50, 30, 31, 160, 40, 16])
  const plain = { data: new Uint8Array(3 * 50 * 70).fill(93), width: 50, height: 70 }
  expect(new Set(shrinkToFit(plain, { width: 20, height: 20 }).data)).toEqual(new Set([93]))
})

test('agrees with libvips within its rounding', async () => {
  const picture = noise(57, 43, 2)
  const { data, width, height } = shrinkToFit(picture, { width: 40, height: 30 })
  const theirs = await sharp(picture.data, { raw: { width: 57, height: 43, channels: 3 } })
    .resize(width, height, { kernel: 'linear', fit: 'fill', fastShrinkOnLoad: false })
    .raw()
    .toBuffer()
  const off = data.reduce((sum, value, i) => sum + Math.abs(value - theirs[i]!), 0) / data.length
  expect(off).toBeLessThan(1)
})

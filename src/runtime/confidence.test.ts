import { expect, test } from 'vitest'
import { confidenceOf, isConfident } from './confidence.js'

test('the largest probability is held against the threshold', () => {
  const confidence = confidenceOf({ config: { confidence: { threshold: 0.8, precision: 0.95 } } })!
  expect(isConfident([0.1, 0.8, 0.1], confidence)).toBe(true)
  expect(isConfident([0.79, 0.21], confidence)).toBe(false)
  expect(confidenceOf({ config: {} })).toBeUndefined()
})

/** The rule of comparison at its edges. */

import { describe, expect, test } from 'vitest'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import type { OutputSpec } from './case.js'
import { compareTensor, countReport } from './compare.js'

const spec = (over: Partial<OutputSpec> = {}): OutputSpec => ({
  name: 'y',
  tensor: 'output.y',
  shape: [],
  atol: 0.1,
  rtol: 0.01,
  meanAbs: undefined,
  bitPattern: false,
  ...over,
})
const floats = (...values: number[]): HostTensor => hostTensor('float32', [values.length], Float32Array.from(values))

describe('floats', () => {
  test('atol + rtol · |expected|, element by element', () => {
    const report = compareTensor(spec(), floats(0, 100, -100), floats(0.09, 101, -98.95))
    expect(report.pass).toBe(true)
    expect(report.maxAbs).toBeCloseTo(1.05, 4)
    expect(report.maxRel).toBeCloseTo(0.0105, 5)
    expect(compareTensor(spec(), floats(0, 100), floats(0.11, 101)).note).toMatch(/1 of 2 .* first at 0/)
    expect(compareTensor(spec(), floats(0, 100), floats(0, 101.2)).pass).toBe(false)
  })

  test('NaN and infinities are equal to themselves alone', () => {
    const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    expect(compareTensor(spec(), floats(...odd), floats(...odd))).toMatchObject({ pass: true, maxAbs: 0 })
    for (const value of [0, Number.NaN, Number.NEGATIVE_INFINITY])
      expect(compareTensor(spec(), floats(Number.POSITIVE_INFINITY), floats(value)).pass).toBe(false)
    expect(compareTensor(spec(), floats(1), floats(Number.NaN)).pass).toBe(false)
    expect(compareTensor(spec(), floats(Number.NaN), floats(1)).pass).toBe(false)
  })

  test('reports are JSON, whatever happens', () => {
    const report = compareTensor(spec(), floats(1), floats(Number.NaN))
    expect(JSON.parse(JSON.stringify(report))).toEqual(report)
  })

  test('a mean may be bounded too', () => {
    expect(compareTensor(spec({ meanAbs: 0.01 }), floats(0, 0), floats(0.05, 0)).note).toMatch(/mean/)
    expect(compareTensor(spec({ meanAbs: 0.05 }), floats(0, 0), floats(0.05, 0)).pass).toBe(true)
  })

  test('another shape or kind of number', () => {
    expect(compareTensor(spec(), floats(1, 2), floats(1)).note).toMatch(/shape/)
    expect(compareTensor(spec(), hostTensor('float32', [], Float32Array.of(1)), floats(1)).pass).toBe(false)
    expect(compareTensor(spec(), floats(1), int64Tensor([1], [1])).note).toBe('expected float32, got int64')
  })

  test('halves are compared as numbers', () => {
    const half = hostTensor('float16', [1], Uint16Array.of(0x3c00))
    expect(compareTensor(spec(), half, floats(1.05)).pass).toBe(true)
  })
})

test('integers are exact, whatever the tolerance', () => {
  expect(compareTensor(spec({ atol: 9 }), int64Tensor([2], [1, 2]), int64Tensor([2], [1, 3]))).toMatchObject({
    pass: false,
    maxAbs: 1,
  })
  const big = (value: bigint) => hostTensor('int64', [1], BigInt64Array.of(value))
  expect(compareTensor(spec(), big(2n ** 62n), big(2n ** 62n + 1n)).pass).toBe(false)
  expect(compareTensor(spec(), big(2n ** 62n), big(2n ** 62n)).pass).toBe(true)
})

test('bit patterns: -0 and the payload of a NaN count', () => {
  expect(compareTensor(spec(), floats(0), floats(-0)).pass).toBe(true)
  expect(compareTensor(spec({ bitPattern: true }), floats(0), floats(-0)).note).toMatch(/element 0/)
  const nan = (payload: number) => hostTensor('float32', [1], new Float32Array(Uint32Array.of(payload).buffer))
  expect(compareTensor(spec(), nan(0x7fc00000), nan(0x7fc00001), true).pass).toBe(false)
  expect(compareTensor(spec(), nan(0x7fc00001), nan(0x7fc00001), true).pass).toBe(true)
  expect(compareTensor(spec(), floats(1), hostTensor('float64', [1], Float64Array.of(1)), true).pass).toBe(false)
})

test('counts', () => {
  expect(countReport('texts', [])).toEqual({ name: 'texts', maxAbs: 0, maxRel: 0, pass: true })
  expect(countReport('texts', ['a', 'b'])).toMatchObject({ maxAbs: 2, pass: false, note: '2 differ; first: a' })
})

import { expect, test } from 'vitest'
import { backwardMatrix, floatMatrix, forwardMatrix } from './int8-matrices.js'

const rows = 70
const columns = 33
const value = (n: number, k: number) => Math.sin(n * 3.1 + k) * (1 + (k % 5))
const weight = floatMatrix({
  rows,
  columns,
  row: (n, target) => {
    for (let k = 0; k < columns; k++) target[k] = value(n, k)
  },
})

test('the backward matrix keeps the order of W and a scale per input', () => {
  const { codes, scales } = backwardMatrix(weight, rows, columns)
  for (let n = 0; n < rows; n++)
    for (let k = 0; k < columns; k++)
      expect(Math.abs(codes[n * columns + k]! * scales[k]! - value(n, k))).toBeLessThanOrEqual(scales[k]! * 0.501)
})

test('the forward matrix is turned and has a scale per output', () => {
  const { codes, scales } = forwardMatrix(weight, rows, columns)
  for (let n = 0; n < rows; n++)
    for (let k = 0; k < columns; k++)
      expect(Math.abs(codes[k * rows + n]! * scales[n]! - value(n, k))).toBeLessThanOrEqual(scales[n]! * 0.501)
})

test('rows of zeros stay zeros', () => {
  const zeros = new Float32Array(6)
  expect([...backwardMatrix(zeros, 2, 3).codes, ...forwardMatrix(zeros, 2, 3).codes].every((code) => code === 0)).toBe(
    true,
  )
})

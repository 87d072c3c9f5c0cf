import { describe, expect, test } from 'vitest'
import { normalSource } from '../core/random.js'
import { quantiseBlocks, quantiseBlocks6, quantisePerOutput } from './pack.js'
import type { WeightTensor } from './weights.js'

function matrix(rows: number, columns: number, value: (i: number) => number): WeightTensor {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => value(i))
  return {
    name: 'w',
    dims: [rows, columns],
    float32: (range = { from: 0, to: rows }) => data.slice(range.from * columns, range.to * columns),
  }
}

/** Six bits as the graph expands them: 8-bit blocks. */
function dequantise6(weight: WeightTensor): Float32Array {
  const { codes, scales } = quantiseBlocks6(weight)
  const [rows, columns] = weight.dims as [number, number]
  const blocks = Math.ceil(columns / 32)
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    const block = row * blocks + (column >> 5)
    const j = column & 31
    const part = (k: number) => codes[block * 24 + (j & 7) + 8 * k]! >> 6
    const code = j < 24 ? codes[block * 24 + j]! & 63 : part(0) + 4 * part(1) + 16 * part(2)
    return (4 * code - 128) * scales[block]!
  })
}

/** What the kernel computes from packed blocks: (code − zero point) · scale. */
function dequantise(weight: WeightTensor, bits: 4 | 6 | 8, block: 32 | 128): Float32Array {
  if (bits === 6) return dequantise6(weight)
  const { codes, scales } = quantiseBlocks(weight, bits, block)
  const [rows, columns] = weight.dims as [number, number]
  const blocks = Math.ceil(columns / block)
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const row = Math.floor(i / columns)
    const column = i % columns
    const at = row * blocks * block + column
    const code = bits === 8 ? codes[at]! - 128 : ((codes[at >> 1]! >> (4 * (at & 1))) & 15) - 8
    return code * scales[row * blocks + Math.floor(column / block)]!
  })
}

const energy = (values: Float32Array) => values.reduce((sum, v) => sum + v * v, 0)
function relativeError(weight: WeightTensor, bits: 4 | 6 | 8, block: 32 | 128): number {
  const source = weight.float32()
  const got = dequantise(weight, bits, block)
  return energy(got.map((v, i) => v - source[i]!)) / energy(source)
}

describe('blockwise packing', () => {
  const next = normalSource(7)
  const gaussian = matrix(600, 256, next) // more rows than are converted at a time

  // Error budgets for normal weights, as candle names them per bit width.
  test.each([
    [8, 32, 3e-5],
    [8, 128, 5e-5],
    [6, 32, 5e-4],
    [4, 32, 8e-3],
    [4, 128, 1.4e-2],
  ] as const)('%i bit, block %i: relative error below %f', (bits, block, budget) => {
    const error = relativeError(gaussian, bits, block)
    expect(error).toBeLessThan(budget)
    expect(error).toBeGreaterThan(budget / 20)
  })

  test('a last block that is not full is padded and exact where the values are', () => {
    const short = matrix(3, 40, (i) => (i % 15) - 7)
    expect(relativeError(short, 4, 32)).toBeLessThan(1e-12)
    // Four codes in three bytes, the last block of a row included.
    expect(
      relativeError(
        matrix(3, 40, (i) => 10 * (i % 4) + 1),
        6,
        32,
      ),
    ).toBeLessThan(1e-12)
    expect(quantiseBlocks6(short).codes.length).toBe(3 * 2 * 24)
  })

  test('zeros stay zeros', () => {
    expect(
      dequantise(
        matrix(2, 64, () => 0),
        4,
        32,
      ),
    ).toEqual(new Float32Array(128))
    expect(
      dequantise(
        matrix(2, 64, () => 0),
        8,
        32,
      ),
    ).toEqual(new Float32Array(128))
  })

  test('the least-squares scale beats plain rounding by the largest value', () => {
    const plain = matrix(64, 32, normalSource(3))
    const source = plain.float32()
    let roundingError = 0
    for (let b = 0; b < 64; b++) {
      const values = source.subarray(b * 32, b * 32 + 32)
      const scale = Math.max(...values.map(Math.abs)) / 7
      roundingError += energy(values.map((v) => v - Math.round(v / scale) * scale))
    }
    expect(relativeError(plain, 4, 32)).toBeLessThan((roundingError / energy(source)) * 0.9)
  })
})

describe('sources that store codes themselves', () => {
  const levels = [8, 25, 43, -8, -25, -43]
  const next = normalSource(5)
  const codes = Int8Array.from({ length: 4 * 64 }, () => levels[Math.floor(Math.abs(next()) * 1e3) % 6]!)
  const scales = Float32Array.from({ length: 8 }, (_, i) => 0.01 * (i + 1))
  const values = Float32Array.from(codes, (code, i) => code * scales[i >> 5]!)
  const coded: WeightTensor = {
    ...matrix(4, 64, (i) => values[i]!),
    codes32: (rows = { from: 0, to: 4 }) => ({
      codes: codes.slice(rows.from * 64, rows.to * 64),
      scales: scales.slice(rows.from * 2, rows.to * 2),
    }),
  }

  test('8 bit keeps them bit for bit', () => {
    expect(dequantise(coded, 8, 32)).toEqual(values)
  })

  test('4 bit maps 8:25:43 to 1:3:5 and is as good as the search over values', () => {
    const { codes: packed } = quantiseBlocks(coded, 4, 32)
    const used = new Set([...packed].flatMap((byte) => [Math.abs((byte & 15) - 8), Math.abs((byte >> 4) - 8)]))
    expect([...used].sort()).toEqual([1, 3, 5])
    const searched = relativeError(
      matrix(4, 64, (i) => values[i]!),
      4,
      32,
    )
    expect(relativeError(coded, 4, 32)).toBeLessThanOrEqual(searched * 1.000001)
    expect(relativeError(coded, 4, 32)).toBeLessThan(6e-4)
  })
})

test('one scale per output: transposed, within half a step', () => {
  const weight = matrix(5, 48, normalSource(9))
  const { codes, scales } = quantisePerOutput(weight)
  const signed = new Int8Array(codes.buffer)
  const source = weight.float32()
  for (let row = 0; row < 5; row++)
    for (let i = 0; i < 48; i++)
      expect(Math.abs(signed[i * 5 + row]! * scales[row]! - source[row * 48 + i]!)).toBeLessThanOrEqual(
        scales[row]! * 0.5001,
      )
})

import { expect, test } from 'vitest'
import type { Graph, GraphNode } from '../../graph/index.js'
import { type QuantisedRows, quantisedRows } from './dequantise.js'
import { backwardMatrix, bothMatrices, floatMatrix, forwardMatrix, type Int8Matrix } from './int8-matrices.js'

const node = (op: string, attributes: Record<string, number> = {}) =>
  ({ op, name: 'q', inputs: ['x', 'codes', 'scales'], attributes }) as unknown as GraphNode

function graphOf(codes: Uint8Array | Int8Array, dims: readonly number[], scales: Float32Array): Graph {
  const bytes = (data: ArrayBufferView) => () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const dtype = codes instanceof Int8Array ? 'int8' : 'uint8'
  return {
    initializers: new Map([
      ['codes', { dtype, dims, bytes: bytes(codes) }],
      ['scales', { dtype: 'float32', dims: [scales.length], bytes: bytes(scales) }],
    ]),
  } as unknown as Graph
}

/** Some of them negative or zero: what a quantiser by least squares may write. */
const scaleOf = (i: number) => (i % 11 === 3 ? 0 : Math.fround(Math.sin(i * 1.7) / 64))
const codeOf = (i: number) => (Math.imul(i, 2654435761) >>> 11) & 255

function inBlocks(rows: number, columns: number, bits: 4 | 8, block: number): QuantisedRows {
  const perRow = Math.ceil(columns / block)
  const codes = Uint8Array.from({ length: (rows * perRow * block * bits) / 8 }, (_, i) => codeOf(i))
  const scales = Float32Array.from({ length: rows * perRow }, (_, i) => scaleOf(i))
  const attributes = { N: rows, K: columns, bits, block_size: block }
  return quantisedRows(graphOf(codes, [rows, perRow, (block * bits) / 8], scales), node('MatMulNBits', attributes))
}

function perOutput(rows: number, columns: number): QuantisedRows {
  const codes = Int8Array.from({ length: rows * columns }, (_, i) => codeOf(i))
  const scales = Float32Array.from({ length: rows }, (_, i) => scaleOf(i))
  return quantisedRows(graphOf(codes, [columns, rows], scales), node('DynamicQuantizeMatMul'))
}

/** One weight after the other, as the definition says. */
function plainly(weight: QuantisedRows, direction: 'backward' | 'forward'): Int8Matrix {
  const { rows, columns } = weight
  const values = floatMatrix(weight)
  const isBackward = direction === 'backward'
  const largest = new Float32Array(isBackward ? columns : rows)
  const own = (i: number) => (isBackward ? i % columns : Math.floor(i / columns))
  values.forEach((value, i) => {
    largest[own(i)] = Math.max(largest[own(i)]!, Math.abs(value))
  })
  const scales = largest.map((size) => size / 127)
  const inverse = largest.map((size, i) => (size === 0 ? 0 : isBackward ? 1 / scales[i]! : 127 / size))
  const codes = new Int8Array(rows * columns)
  values.forEach((value, i) => {
    const at = isBackward ? i : (i % columns) * rows + Math.floor(i / columns)
    codes[at] = Math.floor(value * inverse[own(i)]! + 0.5)
  })
  return { codes, scales }
}

test.each<[string, QuantisedRows]>([
  ['4-bit blocks', inBlocks(70, 96, 4, 32)],
  ['4-bit blocks, more rows than a tile', inBlocks(515, 64, 4, 32)],
  ['8-bit blocks', inBlocks(37, 256, 8, 128)],
  ['8-bit blocks, one row', inBlocks(1, 32, 8, 32)],
  ['a last block that is short', inBlocks(9, 41, 8, 32)],
  ['4-bit blocks of 16', inBlocks(9, 48, 4, 16)],
  ['a scale per output, stored turned', perOutput(261, 33)],
])('%s: byte for byte as weight by weight', (_, weight) => {
  expect(backwardMatrix(weight)).toEqual(plainly(weight, 'backward'))
  expect(forwardMatrix(weight)).toEqual(plainly(weight, 'forward'))
  const both = { backward: plainly(weight, 'backward'), forward: plainly(weight, 'forward') }
  expect(bothMatrices(weight)).toEqual(both)
})

test('a matrix after a larger one has nothing of it, and may be written to a place of one’s own', () => {
  const weight = inBlocks(6, 32, 8, 32)
  backwardMatrix(inBlocks(70, 160, 8, 32))
  const room = new Int8Array(6 * 32).fill(77)
  const { codes, scales } = forwardMatrix(weight, room)
  expect(codes).toBe(room)
  expect({ codes, scales }).toEqual(plainly(weight, 'forward'))
})

test('codes times scales are the weight, to half a step', () => {
  const weight = inBlocks(70, 96, 4, 32)
  const values = floatMatrix(weight)
  const { codes, scales } = backwardMatrix(weight)
  values.forEach((value, i) => {
    const scale = scales[i % 96]!
    expect(Math.abs(codes[i]! * scale - value)).toBeLessThanOrEqual(scale * 0.501)
  })
})

test('zeros, and sizes too small to have an inverse, become zeros', () => {
  const scales = [0, 1e-45, 1e-39]
  for (const scale of scales) {
    const codes = Uint8Array.from({ length: 64 }, (_, i) => i)
    const graph = graphOf(codes, [2, 1, 32], new Float32Array(2).fill(scale))
    const weight = quantisedRows(graph, node('MatMulNBits', { N: 2, K: 32, bits: 8, block_size: 32 }))
    for (const matrix of [backwardMatrix(weight), forwardMatrix(weight)])
      expect(Math.max(...matrix.codes.map(Math.abs)), String(scale)).toBe(0)
  }
})

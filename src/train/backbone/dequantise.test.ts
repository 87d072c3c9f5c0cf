import { expect, test } from 'vitest'
import type { Graph, GraphNode } from '../../graph/index.js'
import { quantisedRows } from './dequantise.js'

const rows = 3
const columns = 41 // the second block of 32 is short
const block = 32
const perRow = 2
const code = (n: number, k: number, bits: number) => (n * 7 + k * 5) % 2 ** bits
const scales = Float32Array.from({ length: rows * perRow }, (_, i) => (i + 1) / 8)

/** MatMulNBits' layout: [N, blocks, block · bits / 8], the low half of a byte first. */
function codes(bits: number): Uint8Array {
  const packed = new Uint8Array((rows * perRow * block * bits) / 8)
  for (let n = 0; n < rows; n++)
    for (let k = 0; k < columns; k++) {
      const at = n * perRow * block + k
      if (bits === 8) packed[at] = code(n, k, bits)
      else packed[at >> 1]! |= code(n, k, bits) << (4 * (at & 1))
    }
  return packed
}

test.each([
  [8, 128],
  [4, 8],
])('MatMulNBits of %i bits: scale · (code − %i), also in a short last block', (bits, zeroPoint) => {
  const graph = {
    initializers: new Map([
      ['codes', { dtype: 'uint8', bytes: () => codes(bits) }],
      ['scales', { dtype: 'float32', bytes: () => new Uint8Array(scales.buffer) }],
    ]),
  } as unknown as Graph
  const node = {
    op: 'MatMulNBits',
    name: 'q',
    inputs: ['x', 'codes', 'scales'],
    attributes: { K: columns, N: rows, bits, block_size: block },
  } as unknown as GraphNode
  const weight = quantisedRows(graph, node)
  const row = new Float32Array(columns)
  for (let n = 0; n < rows; n++) {
    weight.row(n, row)
    for (let k = 0; k < columns; k++)
      expect(row[k]).toBe(scales[n * perRow + (k >> 5)]! * (code(n, k, bits) - zeroPoint))
  }
})

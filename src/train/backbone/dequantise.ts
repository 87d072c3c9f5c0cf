/** Rows of quantised matrices of a decoder graph as float32, a few at a time. */

import { M4Error } from '../../core/errors.js'
import { viewAs } from '../../core/tensor.js'
import type { Graph, GraphNode } from '../../graph/index.js'

export interface QuantisedRows {
  /** N: outputs of the product. */
  readonly rows: number
  /** K: its inputs. */
  readonly columns: number
  /** Writes row `n` of W [N, K] to `target`. */
  readonly row: (n: number, target: Float32Array) => void
}

const plain = (value: unknown): number => Number(value ?? 0)

/** N and K of a product node with a quantised weight. */
export function matrixSize(graph: Graph, { op, inputs, attributes }: GraphNode): { rows: number; columns: number } {
  if (op === 'MatMulNBits') return { rows: plain(attributes.N), columns: plain(attributes.K) }
  const [columns, rows] = graph.initializers.get(inputs[1]!)!.dims as [number, number]
  return { rows, columns }
}

/**
 * The weight of a product node: MatMulNBits (4 or 8 bit) or DynamicQuantizeMatMul.
 * @throws M4Error `NOT_AVAILABLE` for a weight that the graph computes itself (6 bit) or that has zero points
 */
export function quantisedRows(graph: Graph, node: GraphNode): QuantisedRows {
  const read = (index: number) => {
    const tensor = graph.initializers.get(node.inputs[index] ?? '')
    if (!tensor)
      throw new M4Error(
        'NOT_AVAILABLE',
        `${node.name}: its weight is no stored matrix, so it cannot be trained through.`,
        {
          hint: 'Use an image with 8-bit or 4-bit weights, e.g. `m4fm build lite --quant int8`.',
          details: { node: node.name },
        },
      )
    return viewAs(tensor.dtype, tensor.bytes()) as Int8Array | Uint8Array | Float32Array
  }
  if (node.op === 'DynamicQuantizeMatMul') return perOutput(graph, node, read(1) as Int8Array, read(2) as Float32Array)
  if (node.op === 'MatMulNBits' && (node.inputs[3] ?? '') === '') {
    const { K, N, bits, block_size: block } = node.attributes
    const facts = {
      rows: plain(N),
      columns: plain(K),
      block: plain(block),
      codes: read(1) as Uint8Array,
      scales: read(2) as Float32Array,
    }
    return plain(bits) === 4 ? blocks4(facts) : blocks8(facts)
  }
  throw new M4Error('NOT_AVAILABLE', `${node.op} ${node.name}: no way to read its weight.`, {
    details: { node: node.name },
  })
}

/** Codes [K, N] with a scale per column. */
function perOutput(graph: Graph, node: GraphNode, codes: Int8Array, scales: Float32Array): QuantisedRows {
  const { rows, columns } = matrixSize(graph, node)
  return {
    rows,
    columns,
    row: (n, target) => {
      const scale = scales[n]!
      for (let k = 0; k < columns; k++) target[k] = scale * codes[k * rows + n]!
    },
  }
}

interface Blocks {
  readonly rows: number
  readonly columns: number
  readonly block: number
  readonly codes: Uint8Array
  readonly scales: Float32Array
}

/** One block of a row: codes from byte `at` on, `target[start..end)` filled. */
type Unpack = (codes: Uint8Array, at: number, scale: number, target: Float32Array, start: number, end: number) => void

/** Rows of blocks, the last block of a row padded. */
const blockRows =
  (codesPerByte: 1 | 2, unpack: Unpack) =>
  ({ rows, columns, block, codes, scales }: Blocks): QuantisedRows => {
    const perRow = Math.ceil(columns / block)
    const blockBytes = block / codesPerByte
    return {
      rows,
      columns,
      row: (n, target) => {
        for (let b = 0; b < perRow; b++) {
          const start = b * block
          const end = Math.min(start + block, columns)
          const index = n * perRow + b
          unpack(codes, index * blockBytes, scales[index]!, target, start, end)
        }
      },
    }
  }

/** Zero point 128. */
const blocks8 = blockRows(1, (codes, at, scale, target, start, end) => {
  for (let k = start; k < end; k++) target[k] = scale * (codes[at + k - start]! - 128)
})

/** Two codes a byte, the low half first; zero point 8. */
const blocks4 = blockRows(2, (codes, at, scale, target, start, end) => {
  for (let k = start; k < end; k += 2) {
    const byte = codes[at + ((k - start) >> 1)]!
    target[k] = scale * ((byte & 15) - 8)
    if (k + 1 < end) target[k + 1] = scale * ((byte >> 4) - 8)
  }
})

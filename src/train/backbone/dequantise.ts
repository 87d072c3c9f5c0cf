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
  /** How rows are stored, where in blocks. */
  readonly blocks?: Blocks
  /** Wᵀ [K, N], where that is what is stored: its rows are read at once, those of W from everywhere. */
  readonly turned?: QuantisedRows
}

/** Each row is blocks of `size` inputs, `bytes` of codes and a scale each, the last one padded. */
export interface Blocks {
  readonly size: number
  readonly bytes: number
  /** Of 8 bits, zero point 128, or two of 4 bits a byte, the low half first, zero point 8. */
  readonly codes: Uint8Array
  readonly scales: Float32Array
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
    const { rows, columns } = matrixSize(graph, node)
    const { bits, block_size: size } = node.attributes
    const bytes = (plain(size) * plain(bits)) / 8
    return inBlocks(rows, columns, {
      size: plain(size),
      bytes,
      codes: read(1) as Uint8Array,
      scales: read(2) as Float32Array,
    })
  }
  throw new M4Error('NOT_AVAILABLE', `${node.op} ${node.name}: no way to read its weight.`, {
    details: { node: node.name },
  })
}

/** Codes [K, N] with a scale per output. */
function perOutput(graph: Graph, node: GraphNode, codes: Int8Array, scales: Float32Array): QuantisedRows {
  const { rows, columns } = matrixSize(graph, node)
  return {
    rows,
    columns,
    row: (n, target) => {
      const scale = scales[n]!
      for (let k = 0; k < columns; k++) target[k] = scale * codes[k * rows + n]!
    },
    turned: {
      rows: columns,
      columns: rows,
      row: (k, target) => {
        const own = codes.subarray(k * rows, (k + 1) * rows)
        for (let n = 0; n < rows; n++) target[n] = scales[n]! * own[n]!
      },
    },
  }
}

/** One block of a row: codes from byte `at` on, `target[start..end)` filled. */
type Unpack = (codes: Uint8Array, at: number, scale: number, target: Float32Array, start: number, end: number) => void

function inBlocks(rows: number, columns: number, blocks: Blocks): QuantisedRows {
  const { size, bytes, codes, scales } = blocks
  const perRow = Math.ceil(columns / size)
  const unpack = bytes === size ? unpack8 : unpack4
  return {
    rows,
    columns,
    blocks,
    row: (n, target) => {
      for (let b = 0; b < perRow; b++) {
        const start = b * size
        const end = Math.min(start + size, columns)
        const index = n * perRow + b
        unpack(codes, index * bytes, scales[index]!, target, start, end)
      }
    },
  }
}

const unpack8: Unpack = (codes, at, scale, target, start, end) => {
  for (let k = start; k < end; k++) target[k] = scale * (codes[at + k - start]! - 128)
}

const unpack4: Unpack = (codes, at, scale, target, start, end) => {
  for (let k = start; k < end; k += 2) {
    const byte = codes[at + ((k - start) >> 1)]!
    target[k] = scale * ((byte & 15) - 8)
    if (k + 1 < end) target[k + 1] = scale * ((byte >> 4) - 8)
  }
}

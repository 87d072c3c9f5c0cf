/** Matrices for gradients through a quantised encoder, made from its own weights when the training graph is written. */

import { bytesOf } from '../../core/tensor.js'
import { type Graph, lazyTensor } from '../../graph/index.js'
import type { FrozenWeights } from '../autodiff/frozen.js'
import { quantisedRows } from '../backbone/dequantise.js'
import { backwardMatrix, type Int8Matrix } from '../backbone/int8-matrices.js'

/**
 * dy·W in int8, one scale per column of W; forwards, products run as the device runs them. An encoder's matrices are made in
 * memory: one byte a weight, 86 MB for a ViT-B. Undefined for a graph whose weights are all float: the rules of MatMul suffice.
 * @throws M4Error `NOT_AVAILABLE` (when the graph is written) for a weight that is no stored matrix
 */
export function encoderFrozenWeights(graph: Graph): FrozenWeights | undefined {
  if (!graph.nodes.some(({ op }) => op === 'MatMulNBits' || op === 'DynamicQuantizeMatMul')) return undefined
  const made = new Map<string, Int8Matrix>()
  return {
    backward: (node) => {
      const source = quantisedRows(graph, node)
      const { rows, columns } = source
      const matrix = () => {
        const known = made.get(node.name) ?? backwardMatrix(source)
        made.set(node.name, known)
        return known
      }
      return {
        codes: lazyTensor('int8', [rows, columns], () => bytesOf(matrix().codes)),
        scales: lazyTensor('float32', [columns], () => bytesOf(matrix().scales)),
      }
    },
  }
}

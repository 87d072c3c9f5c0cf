/** Token embedding tables: a Gather, from float or from 8-bit blocks. */

import { DTYPES } from '../core/dtypes.js'
import { bytesOf } from '../core/tensor.js'
import { lazyTensor, type Scope, type Value } from '../graph/index.js'
import { table } from './linear.js'
import { quantiseBlocks } from './pack.js'
import type { WeightTensor } from './weights.js'

export type EmbeddingKind = 'fp32' | 'fp16' | 'int8-b32'

type Emit = (scope: Scope, ids: Value, weight: WeightTensor, name: string) => Value

const EMIT: { readonly [K in EmbeddingKind]: Emit } = {
  fp32: (scope, ids, weight, name) =>
    scope.op('Gather', [table(scope, weight, 'float32', `${name}/weight`), ids], { axis: 0 }, name),
  // The rows are widened after the look-up, so that the table itself stays half precision in memory.
  fp16: (scope, ids, weight, name) => {
    const rows = scope.op(
      'Gather',
      [table(scope, weight, 'float16', `${name}/weight`), ids],
      { axis: 0 },
      `${name}/rows`,
    )
    return scope.op('Cast', [rows], { to: DTYPES.float32.onnx }, name)
  },
  'int8-b32': (scope, ids, weight, name) => {
    const [rows, width] = [weight.dims[0]!, weight.dims[1]!]
    const packed = () => quantiseBlocks(weight, 8, 32)
    const codes = lazyTensor('uint8', [rows, width], () => packed().codes)
    const scales = lazyTensor('float32', [rows, width / 32], () => bytesOf(packed().scales))
    const inputs = [scope.initializer(`${name}/weight`, codes), ids, scope.initializer(`${name}/scales`, scales)]
    return scope.op('GatherBlockQuantized', inputs, { bits: 8, block_size: 32, gather_axis: 0, quantize_axis: 1 }, name)
  },
}

/** ids int64 [B, T] → float32 [B, T, C] */
export function embeddingTable(
  scope: Scope,
  ids: Value,
  weight: WeightTensor,
  kind: EmbeddingKind,
  name: string,
): Value {
  return EMIT[kind](scope, ids, weight, name)
}

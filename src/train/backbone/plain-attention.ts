/**
 * The decoder's attention in plain operators, for prefix tuning: the operator of inference takes a past only one row at a time.
 * Its gradient follows from those of its parts.
 */

import type { GraphNode, Scope, Value } from '../../graph/index.js'
import { byHead, causalMask, grouped, joined } from '../autodiff/rules/attention.js'
import { product } from '../autodiff/rules/products.js'

/**
 * `node` is a GroupQueryAttention over packed q|k|v with rotary positions and a past of P rows.
 * query [B, T, (H+2K)·D], past [B, K, P, D] → [B, T, H·D]
 */
export function plainAttention(scope: Scope, node: GraphNode, inputs: readonly (Value | undefined)[]): Value {
  const [query, , , pastKey, pastValue, , , cos, sin] = inputs as Value[]
  const [H, K] = [Number(node.attributes.num_heads), Number(node.attributes.kv_num_heads)]
  const D = Number(query!.dims[2]) / (H + 2 * K)
  const { scale = { float: 1 / Math.sqrt(D) } } = node.attributes
  const [q, k, v] = scope.ops('Split', [query, scope.int64([H * D, K * D, K * D])], { axis: -1 }, ['q', 'k', 'v'])
  const rows = scope.op('Shape', [query], { start: 1, end: 2 })
  const past = scope.op('Shape', [pastKey], { start: 2, end: 3 })
  const turned = (x: Value, heads: number) =>
    scope.op('RotaryEmbedding', [byHead(scope, x, heads, D), past, cos, sin], {})
  const keys = scope.op('Concat', [pastKey, turned(k!, K)], { axis: 2 }, 'keys') // [B, K, P + T, D]
  const values = scope.op('Concat', [pastValue, byHead(scope, v!, K, D)], { axis: 2 }, 'values')
  const columns = scope.op('Add', [past, rows])
  const scores = product(scope, grouped(scope, turned(q!, H), K, D), keys, false, true, floatOf(scale))
  const apart = scope.op('Reshape', [scores, scope.op('Concat', [scope.int64([0, H, -1]), columns], { axis: 0 })])
  const masked = scope.op('Add', [apart, causalMask(scope, rows, columns)]) // [B, H, T, P + T]
  const weights = scope.op('Softmax', [masked], { axis: -1 }, 'weights')
  const shared = scope.op('Reshape', [weights, scope.op('Concat', [scope.int64([0, K, -1]), columns], { axis: 0 })])
  const mixed = product(scope, shared, values) // [B, K, G·T, D]
  return joined(scope, scope.op('Reshape', [mixed, scope.int64([0, H, -1, D])]), H * D)
}

const floatOf = (attribute: unknown): number => (attribute as { readonly float: number }).float

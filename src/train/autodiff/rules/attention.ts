/**
 * Gradients of attention. The forward pass keeps no scores: they are computed again from queries and keys, which costs one product
 * and saves [B, H, T, S] for every layer.
 *
 * With P = softmax(scale·q·kᵀ + mask) and o = P·v:
 *   dv = Pᵀ·do · dP = do·vᵀ · dS = P ⊙ (dP − rowsum(do ⊙ o)) · dq = scale·dS·k · dk = scale·dSᵀ·q
 *
 * @paper row sum of do ⊙ o instead of dP ⊙ P: arXiv:2205.14135 (FlashAttention), appendix B.4
 */

import { M4Error } from '../../../core/errors.js'
import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { product } from './products.js'

interface Scores {
  readonly scope: Scope
  /** [B, K, G·T, D], the queries of a group one after the other */
  readonly q: Value
  /** [B, K, S, D] */
  readonly k: Value
  readonly v: Value
  /** [B, K, G·T, D] */
  readonly o: Value
  readonly dO: Value
  readonly scale: number
  /** Adds to scores [B, K, G·T, S] what the forward pass adds. */
  readonly masked: (scores: Value) => Value
}

/** dq [B, K, G·T, D], dk and dv [B, K, S, D], and dS for a bias. */
function scoreGradients({ scope, q, k, v, o, dO, scale, masked }: Scores) {
  const p = scope.op('Softmax', [masked(product(scope, q, k, false, true, scale))], { axis: -1 }, 'weights')
  const dv = product(scope, p, dO, true)
  const dP = product(scope, dO, v, false, true)
  const level = scope.op('ReduceSum', [scope.op('Mul', [dO, o]), scope.int64([-1])], { keepdims: 1 })
  const dS = scope.op('Mul', [p, scope.op('Sub', [dP, level])], {}, 'dScores')
  return { dq: product(scope, dS, k, false, false, scale), dk: product(scope, dS, q, true, false, scale), dv, dS }
}

/** [B, T, H·D] → [B, H, T, D]. */
export const byHead = (scope: Scope, x: Value, heads: number, width: number): Value =>
  scope.op('Transpose', [scope.op('Reshape', [x, scope.int64([0, -1, heads, width])])], { perm: [0, 2, 1, 3] })

/** [B, H, T, D] → [B, T, H·D]. */
export const joined = (scope: Scope, x: Value, width: number): Value =>
  scope.op('Reshape', [scope.op('Transpose', [x], { perm: [0, 2, 1, 3] }), scope.int64([0, -1, width])])

/** [B, H, T, D] → [B, K, G·T, D]: no copy, groups are consecutive heads. */
export const grouped = (scope: Scope, x: Value, groups: number, width: number): Value =>
  scope.op('Reshape', [x, scope.int64([0, groups, -1, width])])

const LEAST = -1e30

/** 0 where row t of T sees key s of S (s ≤ t + S − T), else a large negative number. [T, S] */
export function causalMask(scope: Scope, rows: Value, columns: Value): Value {
  const range = (count: Value) =>
    scope.op('Range', [scope.int64(0), scope.op('Squeeze', [count, scope.int64([0])]), scope.int64(1)])
  const last = scope.op('Add', [range(rows), scope.op('Sub', [columns, rows])])
  const hidden = scope.op('Less', [scope.op('Unsqueeze', [last, scope.int64([1])]), range(columns)])
  return scope.op('Where', [hidden, scope.float32(LEAST), scope.float32(0)])
}

const plain = ({ node, attributes }: RuleContext<'GroupQueryAttention'>): void => {
  const { softcap, local_window_size: window, smooth_softmax: smooth, rotary_interleaved: interleaved } = attributes
  if (softcap || (window ?? -1) > 0 || smooth || interleaved || node.inputs.slice(9).some((name) => name !== ''))
    throw new M4Error(
      'NOT_AVAILABLE',
      `${node.name}: no gradient for soft caps, windows, sinks or biases of this operator.`,
    )
}

/**
 * Rows are all of one length (shorter ones padded behind, where no loss looks): `seqlens_k` must be the total less one for each.
 * Keys that come out of the operator are already turned; queries are turned again here.
 */
const groupQuery: Backward<'GroupQueryAttention'> = (context) => {
  plain(context)
  const { scope, attributes, inputs, outputs, dys, wanted, once } = context
  const [query, key, , pastKey] = inputs as [Value, Value?, Value?, Value?]
  const { num_heads: H, kv_num_heads: K } = attributes
  const [presentKey, presentValue] = [outputs[1]!, outputs[2]!]
  const packed = !key
  const total = query.dims[2]
  if (typeof total !== 'number')
    throw new M4Error('NOT_AVAILABLE', `${context.node.name}: the width of queries must be known.`)
  const D = packed ? total / (H + 2 * K) : total / H
  if (dys[1] || dys[2])
    throw new M4Error('NOT_AVAILABLE', `${context.node.name}: no gradient through the cache that comes out.`)

  const rowCount = scope.op('Shape', [query], { start: 1, end: 2 })
  const columnCount = scope.op('Shape', [presentKey], { start: 2, end: 3 })
  const sizes = `${query.dims[1]}/${presentKey.dims[2]}/${inputs[6]!.name}`
  const mask = once(`causal/${sizes}`, () => causalMask(scope, rowCount, columnCount))
  const turn = rotation(context, rowCount, columnCount, sizes)

  const flatQuery = packed
    ? scope.op('Slice', [query, scope.int64([0]), scope.int64([H * D]), scope.int64([2])])
    : query
  const q = grouped(scope, turn(byHead(scope, flatQuery, H, D), 1), K, D)
  const [o, dO] = [outputs[0]!, dys[0]!].map((x) => grouped(scope, byHead(scope, x, H, D), K, D)) as [Value, Value]
  const masked = (scores: Value) => {
    if (H === K) return scope.op('Add', [scores, mask])
    const columns = scope.op('Concat', [scope.int64([0, H, -1]), columnCount], { axis: 0 })
    const apart = scope.op('Reshape', [scores, columns]) // [B, H, T, S]
    const back = scope.op('Concat', [scope.int64([0, K, -1]), columnCount], { axis: 0 })
    return scope.op('Reshape', [scope.op('Add', [apart, mask]), back])
  }
  const scale = attributes.scale || 1 / Math.sqrt(D)
  const { dq, dk, dv } = scoreGradients({ scope, q, k: presentKey, v: presentValue, o, dO, scale, masked })

  const dQuery = joined(scope, turn(scope.op('Reshape', [dq, scope.int64([0, H, -1, D])]), -1), H * D)
  const isNew = (x: Value) =>
    pastKey ? scope.op('Slice', [x, scope.op('Sub', [columnCount, rowCount]), columnCount, scope.int64([2])]) : x
  const isPast = (x: Value) =>
    scope.op('Slice', [x, scope.int64([0]), scope.op('Sub', [columnCount, rowCount]), scope.int64([2])])
  const dKey = joined(scope, turn(isNew(dk), -1), K * D)
  const dValue = joined(scope, isNew(dv), K * D)
  const past = [wanted[3] ? isPast(dk) : undefined, wanted[4] ? isPast(dv) : undefined]
  if (packed) return [scope.op('Concat', [dQuery, dKey, dValue], { axis: -1 }), undefined, undefined, ...past]
  return [dQuery, dKey, dValue, ...past]
}

/** Rotary positions of this step's rows, forwards (1) or back (-1); nothing where the operator turns nothing. */
function rotation(
  { scope, attributes, inputs, once }: RuleContext<'GroupQueryAttention'>,
  rows: Value,
  total: Value,
  sizes: string,
): (x: Value, direction: 1 | -1) => Value {
  const [cos, sin] = [inputs[7], inputs[8]]
  if (!attributes.do_rotary || !cos || !sin) return (x) => x
  const places = once(`places/${sizes}`, () => {
    const scalar = (count: Value) => scope.op('Squeeze', [count, scope.int64([0])])
    const first = scope.op('Sub', [total, rows])
    return scope.op('Range', [scalar(first), scalar(total), scope.int64(1)])
  })
  const rowsOf = (table: Value, name: string) =>
    once(`${name}/${sizes}/${table.name}`, () => scope.op('Gather', [table, places], { axis: 0 }))
  const [c, s] = [rowsOf(cos, 'cos'), rowsOf(sin, 'sin')] // [T, D/2]
  const back = once(`back/${sizes}/${sin.name}`, () => scope.op('Neg', [s]))
  // Positions start at 0 in the tables cut for this step: one start for all rows.
  return (x, direction) => scope.op('RotaryEmbedding', [x, scope.int64([0]), c, direction === 1 ? s : back])
}

/** Query [B, T, H·D], key and value [B, S, H·D]; an added bias and causal masks as the operator has them. */
const multiHead: Backward<'MultiHeadAttention'> = (context) => {
  const { scope, node, attributes, inputs, outputs, dys, wanted, once } = context
  const [query, key, value, bias, padding, attentionBias, pastKey] = inputs
  const { num_heads: H } = attributes
  if (bias || padding || pastKey || !key || !value || key.dims.length !== 3 || value.dims.length !== 3)
    throw new M4Error(
      'NOT_AVAILABLE',
      `${node.name}: gradients only for separate 3-D query, key and value without padding mask, bias or cache.`,
    )
  const width = query!.dims[2]
  const valueWidth = value.dims[2]
  if (typeof width !== 'number' || typeof valueWidth !== 'number')
    throw new M4Error('NOT_AVAILABLE', `${node.name}: the width of queries must be known.`)
  const [D, E] = [width / H, valueWidth / H]
  const rows = scope.op('Shape', [query], { start: 1, end: 2 })
  const columns = scope.op('Shape', [key], { start: 1, end: 2 })
  const masked = (scores: Value) => {
    const biased = attentionBias ? scope.op('Add', [scores, attentionBias]) : scores
    if (!attributes.unidirectional) return biased
    return scope.op('Add', [
      biased,
      once(`causal/${query!.dims[1]}/${key.dims[1]}`, () => causalMask(scope, rows, columns)),
    ])
  }
  const heads = (x: Value, each: number) => byHead(scope, x, H, each)
  const scale = attributes.scale || 1 / Math.sqrt(D)
  const { dq, dk, dv, dS } = scoreGradients({
    scope,
    q: heads(query!, D),
    k: heads(key, D),
    v: heads(value, E),
    o: heads(outputs[0]!, E),
    dO: heads(dys[0]!, E),
    scale,
    masked,
  })
  if (wanted[5]) throw new M4Error('NOT_AVAILABLE', `${node.name}: no gradient for the attention bias.`)
  void dS
  return [joined(scope, dq, width), joined(scope, dk, width), joined(scope, dv, valueWidth)]
}

export const ATTENTION_GRADIENTS = {
  GroupQueryAttention: groupQuery,
  MultiHeadAttention: multiHead,
  RotaryEmbedding: ({ scope, attributes, inputs, dys }) => {
    const [, ids, cos, sin] = inputs as [Value, Value, Value, Value]
    const { interleaved, num_heads, rotary_embedding_dim, is_packed_batching } = attributes
    const given = {
      interleaved: interleaved!,
      num_heads: num_heads!,
      rotary_embedding_dim: rotary_embedding_dim!,
      is_packed_batching: is_packed_batching!,
    }
    return [scope.op('RotaryEmbedding', [dys[0]!, ids, cos, scope.op('Neg', [sin])], given)]
  },
} as const satisfies { [K in OpName]?: GradientRule<K> }

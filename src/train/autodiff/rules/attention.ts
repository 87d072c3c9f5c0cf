/**
 * Gradients of attention. The forward pass keeps no scores: they are computed again from queries and keys, which costs one product
 * and saves [B, H, T, S] for every layer.
 *
 * With P = softmax(scale·q·kᵀ + mask) and o = P·v:
 *   dv = Pᵀ·do · dP = do·vᵀ · dS = P ⊙ (dP − rowsum(do ⊙ o)) · dq = scale·dS·k · dk = scale·dSᵀ·q
 *
 * @paper row sum of do ⊙ o instead of dP ⊙ P: arXiv:2205.14135 (FlashAttention), appendix B.4
 */

import { DTYPES } from '../../../core/dtypes.js'
import { isOpen, type OpName, type Scope, type Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { filled, noGradient, numbersTo, sizesOf, sumTo } from './like.js'
import { product } from './products.js'

interface Scores {
  readonly scope: Scope
  /** [B, K, G·T, D], the queries of a group one after the other */
  readonly q: Value
  /** [B, K, S, D] */
  readonly k: Value
  readonly v: Value
  readonly dO: Value
  /** rowsum(do ⊙ o) [B, K, G·T, 1] */
  readonly level: Value
  readonly scale: number
  /** Adds to scores [B, K, G·T, S] what the forward pass adds. */
  readonly masked: (scores: Value) => Value
}

/** dq [B, K, G·T, D], dk and dv [B, K, S, D], and dS [B, K, G·T, S]. */
function scoreGradients({ scope, q, k, v, dO, level, scale, masked }: Scores) {
  const p = scope.op('Softmax', [masked(product(scope, q, k, false, true, scale))], { axis: -1 }, 'weights')
  const dP = product(scope, dO, v, false, true)
  const dS = scope.op('Mul', [p, scope.op('Sub', [dP, level])], {}, 'dScores')
  return {
    dq: product(scope, dS, k, false, false, scale),
    dk: product(scope, dS, q, true, false, scale),
    dv: product(scope, p, dO, true),
    dS,
  }
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

/** rowsum(do ⊙ o) [B, K, G·T, 1] for do and o [B, T, H·D]: summed before the heads are moved, so that little is moved. */
function levels(scope: Scope, dO: Value, o: Value, heads: number, groups: number, width: number): Value {
  const apart = scope.op('Reshape', [scope.op('Mul', [dO, o]), scope.int64([0, -1, heads, width])])
  const sums = scope.op('ReduceSum', [apart, scope.int64([-1])], { keepdims: 0 }) // [B, T, H]
  return scope.op('Reshape', [scope.op('Transpose', [sums], { perm: [0, 2, 1] }), scope.int64([0, groups, -1, 1])])
}

const plus = (scope: Scope, x: Value, more: Value | undefined): Value => (more ? scope.op('Add', [x, more]) : x)

/** Names a size for keys of `once`: a symbol is the same everywhere, an open size is this value's own. */
const sizeKey = (value: Value, axis: number): string => {
  const dim = value.dims[axis]!
  return isOpen(dim) ? `${value.name}:${axis}` : String(dim)
}

const LEAST = -1e30

/**
 * 0 where row t of T (`rows`) sees key s of S (`columns`), which is s ≤ first + t, else a large negative number; `groups` times one
 * below the other. Sizes and `first` are int64 [1]; without `first` the last row sees all keys. [G·T, S]
 */
export function causalMask(scope: Scope, rows: Value, columns: Value, given?: Value, groups = 1): Value {
  const first = given ?? scope.op('Sub', [columns, rows])
  const last = scope.op('Unsqueeze', [scope.op('Add', [numbersTo(scope, rows), first]), scope.int64([1])]) // [T, 1]
  const hidden = scope.op('Less', [last, numbersTo(scope, columns)])
  const mask = scope.op('Where', [hidden, scope.float32(LEAST), scope.float32(0)]) // [T, S]
  if (groups === 1) return mask
  const copies = scope.op('Expand', [mask, scope.int64([groups, 1, 1])])
  return scope.op('Reshape', [copies, scope.op('Concat', [scope.int64([-1]), columns], { axis: 0 })])
}

/** Inputs from here on are biases, sinks, scales and norms. */
const FIRST_EXTRA = 9

function assertPlain({ node, attributes, inputs }: RuleContext<'GroupQueryAttention'>): void {
  const { softcap, local_window_size: window, smooth_softmax: smooth, k_quant_type, v_quant_type } = attributes
  if (k_quant_type !== 'NONE' || v_quant_type !== 'NONE') throw noGradient(node, 'its cache is quantised')
  if (softcap) throw noGradient(node, 'its scores are capped')
  if ((window ?? -1) > 0) throw noGradient(node, 'its window is limited')
  if (smooth || inputs.slice(FIRST_EXTRA).some(Boolean))
    throw noGradient(node, 'it has positions, biases, sinks or norms of its own')
}

/**
 * Rows are all of one length (shorter ones padded behind, where no loss looks): `seqlens_k` must be the total less one for each.
 * Keys that come out of the operator are already turned; queries are turned again here.
 */
const groupQuery: Backward<'GroupQueryAttention'> = (context) => {
  assertPlain(context)
  const { scope, node, attributes, inputs, outputs, dys, wanted, once } = context
  const [query, key, , pastKey, , , total] = inputs as [Value, Value?, Value?, Value?, Value?, Value?, Value?]
  const { num_heads: H, kv_num_heads: K } = attributes
  const [presentKey, presentValue] = [outputs[1]!, outputs[2]!]
  const width = query.dims[2]
  if (typeof width !== 'number') throw noGradient(node, 'the width of its queries must be known')
  const D = key ? width / H : width / (H + 2 * K)
  const scale = attributes.scale || 1 / Math.sqrt(D)
  const place = `${sizeKey(query, 1)}/${total!.name}`

  const rows = sizesOf(scope, query, [1])
  const end = once(`end/${total!.name}`, () => {
    const known = context.integers(total)
    if (known) return scope.int64([known[0]!])
    return scope.op('Reshape', [scope.op('Cast', [total], { to: DTYPES.int64.onnx }), scope.int64([1])])
  })
  // The place of this step's first row among all rows.
  const first = pastKey ? once(`first/${place}`, () => scope.op('Sub', [end, rows])) : scope.int64([0])
  // Not the shape of present: ONNX Runtime takes it for that of a past whose size is known.
  const columns = () => (pastKey ? scope.op('Max', [sizesOf(scope, pastKey, [2]), end]) : rows)
  const mask = () =>
    once(`causal/${place}/${pastKey ? sizeKey(pastKey, 2) : ''}/${H / K}`, () =>
      causalMask(scope, rows, columns(), first, H / K),
    )
  const turn = rotation(context, first, D)

  const queries = key ? query : scope.op('Slice', [query, scope.int64([0]), scope.int64([H * D]), scope.int64([2])])
  const dO = dys[0] ?? filled(scope, outputs[0]!)
  const { dq, dk, dv } = scoreGradients({
    scope,
    q: grouped(scope, turn(byHead(scope, queries, H, D), H, 1), K, D),
    k: presentKey,
    v: presentValue,
    dO: grouped(scope, byHead(scope, dO, H, D), K, D),
    level: levels(scope, dO, outputs[0]!, H, K, D),
    scale,
    masked: (scores) => (attributes.causal ? scope.op('Add', [scores, mask()]) : scores),
  })
  const [dAllKeys, dAllValues] = [plus(scope, dk, dys[1]), plus(scope, dv, dys[2])]

  const cut = (x: Value, from: Value, to: Value) => scope.op('Slice', [x, from, to, scope.int64([2])])
  const added = (x: Value) => (pastKey ? cut(x, first, end) : x)
  // A buffer may be longer than what it holds; what is behind has no part in the loss.
  const past = (x: Value) => {
    const room = scope.op('Sub', [sizesOf(scope, pastKey!, [2]), first])
    const pads = scope.op('Concat', [scope.int64([0]), room], { axis: 0 })
    return scope.op('Pad', [cut(x, scope.int64([0]), first), pads, scope.float32(0), scope.int64([2])])
  }
  const dQuery = joined(scope, turn(scope.op('Reshape', [dq, scope.int64([0, H, -1, D])]), H, -1), H * D)
  const dKey = joined(scope, turn(added(dAllKeys), K, -1), K * D)
  const dValue = joined(scope, added(dAllValues), K * D)
  const dPast = [wanted[3] ? past(dAllKeys) : undefined, wanted[4] ? past(dAllValues) : undefined]
  if (key) return [dQuery, dKey, dValue, ...dPast]
  return [scope.op('Concat', [dQuery, dKey, dValue], { axis: -1 }), undefined, undefined, ...dPast]
}

/** Turns rows [B, heads, T, D] by their positions, from `first` on, forwards (1) or back (-1); nothing without rotary tables. */
function rotation(
  { scope, node, attributes, inputs, once }: RuleContext<'GroupQueryAttention'>,
  first: Value,
  D: number,
): (x: Value, heads: number, direction: 1 | -1) => Value {
  const [cos, sin] = [inputs[7], inputs[8]]
  if (!attributes.do_rotary || !cos || !sin) return (x) => x
  const pairs = cos.dims[1]
  if (typeof pairs !== 'number') throw noGradient(node, 'the width of its rotary tables must be known')
  const back = once(`back/${sin.name}`, () => scope.op('Neg', [sin]))
  const interleaved = attributes.rotary_interleaved!
  return (x, heads, direction) => {
    const partly = 2 * pairs === D ? {} : { rotary_embedding_dim: 2 * pairs, num_heads: heads }
    return scope.op('RotaryEmbedding', [x, first, cos, direction === 1 ? sin : back], { interleaved, ...partly })
  }
}

/** Query [B, T, H·D]; key and value [B, S, H·D] or [B, H, S, D]; with causal mask, padding mask [B, S], bias and cache. */
const multiHead: Backward<'MultiHeadAttention'> = (context) => {
  const { scope, node, attributes, inputs, outputs, dys, wanted } = context
  const [query, key, value, bias, , attentionBias, pastKey] = inputs
  const { num_heads: H } = attributes
  if (bias) throw noGradient(node, 'it adds a projection bias')
  if (!key || !value || key.dims.length === 5) throw noGradient(node, 'its queries, keys and values are packed')
  if (pastKey && !(outputs[1] && outputs[2])) throw noGradient(node, 'its cache goes in but does not come out')
  if (dys[3]) throw noGradient(node, 'the loss depends on its scores')
  const [width, valueWidth] = [query!.dims[2], outputs[0]!.dims[2]]
  if (typeof width !== 'number' || typeof valueWidth !== 'number')
    throw noGradient(node, 'the width of its queries and values must be known')
  const [D, E] = [width / H, valueWidth / H]
  const flat = key.dims.length === 3
  const heads = (x: Value, each: number) => (x.dims.length === 3 ? byHead(scope, x, H, each) : x)
  const dO = dys[0] ?? filled(scope, outputs[0]!)
  const k = pastKey ? outputs[1]! : heads(key, D)
  const { dq, dk, dv, dS } = scoreGradients({
    scope,
    q: heads(query!, D),
    k,
    v: pastKey ? outputs[2]! : heads(value, E),
    dO: heads(dO, E),
    level: levels(scope, dO, outputs[0]!, H, H, E),
    scale: attributes.scale || 1 / Math.sqrt(D),
    masked: (scores) => masked(context, scores, k),
  })
  const [dKeys, dValues] = [plus(scope, dk, dys[1]), plus(scope, dv, dys[2])]
  const split = pastKey && sizesOf(scope, pastKey, [2])
  const part = (x: Value, from: Value, to: Value) => scope.op('Slice', [x, from, to, scope.int64([2])])
  const added = (x: Value) => (split ? part(x, split, scope.int64([END])) : x)
  const past = (x: Value) => part(x, scope.int64([0]), split!)
  const own = (x: Value, each: number) => (flat ? joined(scope, added(x), each) : added(x))
  return [
    joined(scope, dq, width),
    own(dKeys, width),
    own(dValues, valueWidth),
    undefined,
    undefined,
    wanted[5] ? sumTo(scope, dS, attentionBias!) : undefined,
    wanted[6] ? past(dKeys) : undefined,
    wanted[7] ? past(dValues) : undefined,
  ]
}

const END = 2 ** 31 - 1

/** Scores [B, H, T, S] with all that this operator adds to them. */
function masked(context: RuleContext<'MultiHeadAttention'>, scores: Value, k: Value): Value {
  const { scope, node, attributes, inputs, once } = context
  const [query, , , , padding, attentionBias, pastKey] = inputs
  let sum = plus(scope, scores, attentionBias)
  if (padding) {
    if (padding.dims.length !== 2) throw noGradient(node, 'its padding mask is not [B, S]')
    const hides = once(`padding/${padding.name}/${attributes.mask_filter_value}`, () => {
      const hidden = scope.op('Equal', [padding, scope.int32(0)])
      const addend = scope.op('Where', [hidden, scope.float32(attributes.mask_filter_value!), scope.float32(0)])
      return scope.op('Unsqueeze', [addend, scope.int64([1, 2])]) // [B, 1, 1, S]
    })
    sum = scope.op('Add', [sum, hides])
  }
  if (!attributes.unidirectional) return sum
  const mask = once(`causal/${sizeKey(query!, 1)}/${sizeKey(k, 2)}/${pastKey ? sizeKey(pastKey, 2) : ''}`, () => {
    const first = pastKey ? sizesOf(scope, pastKey, [2]) : scope.int64([0])
    return causalMask(scope, sizesOf(scope, query!, [1]), sizesOf(scope, k, [2]), first, 1)
  })
  return scope.op('Add', [sum, mask])
}

const rotaryEmbedding: Backward<'RotaryEmbedding'> = ({ scope, node, inputs, dys, wanted }) => {
  const [, ids, cos, sin] = inputs as [Value, Value, Value, Value]
  if (wanted[2] || wanted[3]) throw noGradient(node, 'its tables are constants')
  return [scope.op('RotaryEmbedding', [dys[0]!, ids, cos, scope.op('Neg', [sin])], node.attributes)]
}

export const ATTENTION_GRADIENTS = {
  GroupQueryAttention: groupQuery,
  MultiHeadAttention: multiHead,
  RotaryEmbedding: rotaryEmbedding,
} as const satisfies { [K in OpName]?: GradientRule<K> }

/**
 * Shape rules of ONNX Runtime's attention operators. Query [B, T, H*D]; keys and values [B, T, K*D]; caches [B, K, S, D].
 *
 * @see https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention
 */

import { type Dim, formatDims } from '../../core/dims.js'
import { addDims, divideExactly, mulDims } from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  input,
  mismatch,
  type Place,
  type RuleContext,
  type ShapeRule,
  sameDtype,
  type Typed,
  wantDims,
  wantDtype,
  wantFloat,
  wantRank,
} from './context.js'

const heads = (place: Place, width: Dim, count: number, what: string): Dim =>
  divideExactly(width, count) ?? mismatch(place, `${what} that divides into ${count} heads`, String(width))

const groupQuery: ShapeRule<'GroupQueryAttention'> = (context) => {
  const [query, key, value, pastKey, pastValue] = context.inputs as readonly Typed[]
  const { num_heads: H, kv_num_heads: K } = context.attributes
  if (H < 1 || K < 1 || H % K !== 0) mismatch(context, 'num_heads a multiple of kv_num_heads', `${H} and ${K}`)
  wantFloat(context, query!, 'query')
  wantRank(context, query!, [3], 'query')
  sameDtype(context, query!, key, value)
  if (!key !== !value) mismatch(context, 'key and value, or packed query without both', 'one of them')
  if (!pastKey !== !pastValue) mismatch(context, 'past_key and past_value together', 'one of them')
  const [B, T, width] = query!.dims as [Dim, Dim, Dim]
  const D = heads(context, width, key ? H : H + 2 * K, 'query width')
  for (const [type, what] of [
    [key, 'key'],
    [value, 'value'],
  ] as const)
    if (type) wantDims(context, type, [B, '?', mulDims(D, K)], what)
  wantDtype(context, input(context, 5), ['int32'], 'seqlens_k')
  wantDtype(context, input(context, 6), ['int32'], 'total_sequence_length')
  wantRotary(context, D)
  const stored = cacheWidth(context, D)
  if (pastKey) wantDims(context, pastKey, [B, K, '?', stored], 'past_key')
  if (pastValue) wantDims(context, pastValue, pastKey!.dims, 'past_value')
  const length = presentLength(context, pastKey?.dims[2], key ? key.dims[1]! : T)
  const present = { dtype: pastKey?.dtype ?? query!.dtype, dims: [B, K, length, stored] }
  const total = input(context, 6).content?.[0] ?? context.fresh()
  return [
    { dtype: query!.dtype, dims: [B, T, mulDims(D, H)] },
    present,
    present,
    { dtype: query!.dtype, dims: [B, H, T, total] },
  ]
}

/** Width of one cached row: 4-bit caches keep two values in a byte. */
function cacheWidth(context: RuleContext<'GroupQueryAttention'>, D: Dim): Dim {
  const { kv_cache_bit_width: bits, k_quant_type: mode } = context.attributes
  if (mode === 'NONE' || bits !== 4) return D
  return typeof D === 'number' ? Math.ceil(D / 2) : (divideExactly(D, 2) ?? context.fresh())
}

/**
 * Rows of the cache that comes out: the buffer's own length while it suffices (past and present then share memory), else past
 * and new rows together. Only known lengths can tell; else it is a new symbol, which `GraphBuilder.refine` may name.
 */
function presentLength(context: RuleContext<'GroupQueryAttention'>, past: Dim | undefined, added: Dim): Dim {
  if (past === undefined) return added
  if (context.attributes.sliding_window_cache) return past
  const total = input(context, 6).content?.[0]
  if (typeof total === 'number' && typeof past === 'number') return Math.max(total, past)
  return context.fresh()
}

function wantRotary(context: RuleContext<'GroupQueryAttention'>, D: Dim): void {
  const [cos, sin] = [context.inputs[7], context.inputs[8]]
  if (!context.attributes.do_rotary) return
  if (!cos || !sin) mismatch(context, 'cos_cache and sin_cache, as do_rotary asks', 'no cache')
  const half = divideExactly(D, 2)
  for (const [type, what] of [
    [cos, 'cos_cache'],
    [sin, 'sin_cache'],
  ] as const) {
    wantRank(context, type, [2], what)
    const [, columns] = type.dims
    if (typeof columns === 'number' && typeof half === 'number' && columns > half)
      mismatch(context, `${what} [positions, ${half}]`, formatDims(type.dims))
  }
}

const multiHead: ShapeRule<'MultiHeadAttention'> = (context) => {
  const [query, key, value, bias, , attentionBias, pastKey, pastValue] = context.inputs as readonly Typed[]
  const { num_heads: H } = context.attributes
  wantFloat(context, query!, 'query')
  sameDtype(context, query!, key, value, bias, attentionBias, pastKey, pastValue)
  const { B, T, S, C, D, valueWidth } = attentionSizes(context, query!, key, value, H)
  if (bias) wantDims(context, bias, [addDims(addDims(C, C), valueWidth)], 'bias')
  if (!pastKey !== !pastValue) mismatch(context, 'past_key and past_value together', 'one of them')
  if (pastKey) wantDims(context, pastKey, [B, H, '?', D], 'past_key')
  const total = pastKey ? addDims(pastKey.dims[2]!, S) : S
  const { dtype } = query!
  return [
    { dtype, dims: [B, T, valueWidth] },
    { dtype, dims: [B, H, total, D] },
    { dtype, dims: [B, H, total, heads(context, valueWidth, H, 'value width')] },
    { dtype, dims: [B, H, T, total] },
  ]
}

interface AttentionSizes {
  readonly B: Dim
  readonly T: Dim
  /** New keys. */
  readonly S: Dim
  readonly C: Dim
  readonly D: Dim
  readonly valueWidth: Dim
}

/** The layouts that the operator takes: three tensors, packed QKV, query with packed KV, query with [B, H, S, D] keys. */
function attentionSizes(
  context: RuleContext<'MultiHeadAttention'>,
  query: Typed,
  key: Typed | undefined,
  value: Typed | undefined,
  H: number,
): AttentionSizes {
  if (query.dims.length === 5) {
    const [B, T, , , D] = query.dims as [Dim, Dim, Dim, Dim, Dim] // [B, T, H, 3, D]
    wantDims(context, query, [B, T, H, 3, D], 'packed query')
    if (key || value) mismatch(context, 'no key and value beside a packed query', 'both layouts')
    return { B, T, S: T, C: mulDims(D, H), D, valueWidth: mulDims(D, H) }
  }
  wantRank(context, query, [3, 5], 'query')
  const [B, T, C] = query.dims as [Dim, Dim, Dim]
  const D = heads(context, C, H, 'query width')
  if (!key) mismatch(context, 'a key, or a packed query [B, T, H, 3, D]', `query ${formatDims(query.dims)} alone`)
  if (key.dims.length === 5) {
    wantDims(context, key, [B, '?', H, 2, D], 'packed key')
    return { B, T, S: key.dims[1]!, C, D, valueWidth: C }
  }
  if (!value) mismatch(context, 'a value beside an unpacked key', 'none')
  wantRank(context, key, [3, 4, 5], 'key')
  if (key.dims.length === 4) {
    wantDims(context, key, [B, H, '?', D], 'key')
    wantDims(context, value, [B, H, key.dims[2]!, '?'], 'value')
    return { B, T, S: key.dims[2]!, C, D, valueWidth: mulDims(value.dims[3]!, H) }
  }
  wantDims(context, key, [B, '?', C], 'key')
  wantDims(context, value, [B, key.dims[1]!, '?'], 'value')
  return { B, T, S: key.dims[1]!, C, D, valueWidth: value.dims[2]! }
}

export const ATTENTION_RULES = {
  GroupQueryAttention: groupQuery,
  MultiHeadAttention: multiHead,
} as const satisfies { [K in OpName]?: ShapeRule<K> }

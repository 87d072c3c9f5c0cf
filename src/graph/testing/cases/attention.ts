/** Cases of ONNX Runtime's attention operators: 4 query heads over 2 key/value heads, heads 16 wide (rotary needs multiples of 16). */

import type { OpName } from '../../ops.js'
import { appendRows, attention, rotate, splitHeads } from '../attention-reference.js'
import { type CaseTensor, constant, f32, i8, i32, type OpCase, steps } from '../case-types.js'
import { at, generate, reshaped, transpose } from '../reference.js'

const [B, T, P, H, K, D] = [1, 3, 2, 4, 2, 16]
const QUERY = f32([B, T, H * D], 1)
const KEY = f32([B, T, K * D], 2)
const VALUE = f32([B, T, K * D], 3)
const PAST_KEY = f32([B, K, P, D], 4)
const PAST_VALUE = f32([B, K, P, D], 5)
const GROUPED = { num_heads: H, kv_num_heads: K }
const key4 = splitHeads(KEY, K)
const value4 = splitHeads(VALUE, K)
const query4 = splitHeads(QUERY, H)
/** seqlens_k and total_sequence_length for `total` rows. */
const lengths = (total: number, batch = B): CaseTensor[] => [
  i32(
    [batch],
    Array.from({ length: batch }, () => total - 1),
  ),
  i32([], [total]),
]

/** Tables for 16 positions, rotary base 10000. */
const angle = (position: number, pair: number) => position / 10000 ** ((2 * pair) / D)
const COS = constant(generate([16, D / 2], ([p, i]) => Math.cos(angle(p!, i!))))
const SIN = constant(generate([16, D / 2], ([p, i]) => Math.sin(angle(p!, i!))))

const allKeys = appendRows(PAST_KEY, key4)
const allValues = appendRows(PAST_VALUE, value4)
const PACKED = generate([B, T, (H + 2 * K) * D], ([b, t, c]) =>
  c! < H * D
    ? at(QUERY, [b!, t!, c!])
    : c! < (H + K) * D
      ? at(KEY, [b!, t!, c! - H * D])
      : at(VALUE, [b!, t!, c! - (H + K) * D]),
)
/** A buffer of 7 rows of which 2 are filled: what past and present share when the cache does not grow. */
const buffer = (past: CaseTensor) => generate([B, K, 7, D], ([b, h, s, d]) => (s! < P ? at(past, [b!, h!, s!, d!]) : 0))

const [S, C] = [5, H * D]
const MEMORY_KEY = f32([B, S, C], 6)
const MEMORY_VALUE = f32([B, S, C], 7)
const cross = attention(query4, splitHeads(MEMORY_KEY, H), splitHeads(MEMORY_VALUE, H))
const MASK = f32([1, 1, T, S], 8)
const OWN_KEY = f32([B, T, C], 6)
const OWN_VALUE = f32([B, T, C], 7)
const PAST_4 = [f32([B, H, P, D], 9), f32([B, H, P, D], 10)] as const
const grown = [appendRows(PAST_4[0], splitHeads(OWN_KEY, H)), appendRows(PAST_4[1], splitHeads(OWN_VALUE, H))] as const
const QKV_BIAS = constant(f32([3 * C], 11))
const biased = (x: CaseTensor, from: number) => generate(x.dims, (i) => at(x, i) + QKV_BIAS.values[from + i[2]!]!)

export const ATTENTION_CASES = {
  GroupQueryAttention: [
    {
      name: 'prompt',
      inputs: [QUERY, KEY, VALUE, undefined, undefined, ...lengths(T)],
      attributes: GROUPED,
      outputs: 3,
      expected: [attention(query4, key4, value4, { causalOffset: 0 }), key4, value4],
    },
    {
      name: 'packed',
      inputs: [PACKED, undefined, undefined, undefined, undefined, ...lengths(T)],
      attributes: GROUPED,
      outputs: 3,
      expected: [attention(query4, key4, value4, { causalOffset: 0 }), key4, value4],
    },
    {
      name: 'growing cache',
      inputs: [QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, ...lengths(P + T)],
      attributes: GROUPED,
      outputs: 3,
      expected: [attention(query4, allKeys, allValues, { causalOffset: P }), allKeys, allValues],
    },
    {
      name: 'roomy cache',
      inputs: [QUERY, KEY, VALUE, buffer(PAST_KEY), buffer(PAST_VALUE), ...lengths(P + T)],
      attributes: GROUPED,
      outputs: 3,
      expected: [attention(query4, allKeys, allValues, { causalOffset: P }), undefined, undefined],
    },
    {
      name: 'constant length',
      inputs: [QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, lengths(P + T)[0], constant(lengths(P + T)[1]!)],
      attributes: GROUPED,
      outputs: 3,
    },
    {
      name: 'rotary',
      inputs: [QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, ...lengths(P + T), COS, SIN],
      attributes: { ...GROUPED, do_rotary: 1, scale: 0.5 },
      outputs: 3,
      expected: [
        attention(rotate(query4, COS, SIN, P), appendRows(PAST_KEY, rotate(key4, COS, SIN, P)), allValues, {
          causalOffset: P,
          scale: 0.5,
        }),
        appendRows(PAST_KEY, rotate(key4, COS, SIN, P)),
        allValues,
      ],
    },
    {
      name: 'softcap',
      inputs: [QUERY, KEY, VALUE, undefined, undefined, ...lengths(T)],
      attributes: { ...GROUPED, softcap: 0.5 },
      outputs: 3,
      expected: [attention(query4, key4, value4, { causalOffset: 0, softcap: 0.5 })],
    },
    {
      name: 'not causal',
      inputs: [QUERY, KEY, VALUE, undefined, undefined, ...lengths(T)],
      attributes: { ...GROUPED, causal: 0 },
      outputs: 3,
      expected: [attention(query4, key4, value4)],
    },
    {
      name: 'one step, batch 2',
      inputs: [
        f32([2, 1, H * D], 1),
        f32([2, 1, K * D], 2),
        f32([2, 1, K * D], 3),
        f32([2, K, P, D], 4),
        f32([2, K, P, D], 5),
        ...lengths(P + 1, 2),
      ],
      attributes: GROUPED,
      outputs: 3,
    },
    {
      name: 'int8 cache',
      inputs: [
        QUERY,
        KEY,
        VALUE,
        i8([B, K, P, D], steps(B * K * P * D, -100, 100)),
        i8([B, K, P, D], steps(B * K * P * D, -90, 90)),
        ...lengths(P + T),
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
        constant(f32([1], [0.01])),
        constant(f32([1], [0.01])),
      ],
      attributes: { ...GROUPED, k_quant_type: 'PER_TENSOR', v_quant_type: 'PER_TENSOR', kv_cache_bit_width: 8 },
      outputs: 3,
    },
  ],
  MultiHeadAttention: [
    {
      name: 'self',
      inputs: [QUERY, OWN_KEY, OWN_VALUE],
      attributes: { num_heads: H },
      expected: [attention(query4, splitHeads(OWN_KEY, H), splitHeads(OWN_VALUE, H))],
    },
    { name: 'cross', inputs: [QUERY, MEMORY_KEY, MEMORY_VALUE], attributes: { num_heads: H }, expected: [cross] },
    {
      name: 'scale, causal',
      inputs: [QUERY, OWN_KEY, OWN_VALUE],
      attributes: { num_heads: H, scale: 0.25, unidirectional: 1 },
      expected: [attention(query4, splitHeads(OWN_KEY, H), splitHeads(OWN_VALUE, H), { scale: 0.25, causalOffset: 0 })],
    },
    {
      name: 'attention bias',
      inputs: [QUERY, MEMORY_KEY, MEMORY_VALUE, undefined, undefined, MASK],
      attributes: { num_heads: H },
      expected: [attention(query4, splitHeads(MEMORY_KEY, H), splitHeads(MEMORY_VALUE, H), { bias: MASK })],
    },
    {
      name: 'projection bias',
      inputs: [QUERY, OWN_KEY, OWN_VALUE, QKV_BIAS],
      attributes: { num_heads: H },
      expected: [
        attention(
          splitHeads(biased(QUERY, 0), H),
          splitHeads(biased(OWN_KEY, C), H),
          splitHeads(biased(OWN_VALUE, 2 * C), H),
        ),
      ],
    },
    {
      name: 'cache',
      inputs: [QUERY, OWN_KEY, OWN_VALUE, undefined, undefined, undefined, ...PAST_4],
      attributes: { num_heads: H },
      outputs: 3,
      expected: [attention(query4, ...grown), ...grown],
    },
    {
      name: 'keys by head',
      inputs: [QUERY, splitHeads(MEMORY_KEY, H), splitHeads(MEMORY_VALUE, H)],
      attributes: { num_heads: H },
      expected: [cross],
    },
    {
      name: 'narrow values',
      inputs: [QUERY, MEMORY_KEY, f32([B, S, H * 4], 7)],
      attributes: { num_heads: H },
      expected: [attention(query4, splitHeads(MEMORY_KEY, H), splitHeads(f32([B, S, H * 4], 7), H))],
    },
    {
      name: 'present only',
      inputs: [QUERY, OWN_KEY, OWN_VALUE],
      attributes: { num_heads: H },
      outputs: 3,
      expected: [
        undefined,
        splitHeads(OWN_KEY, H),
        reshaped(transpose(reshaped(OWN_VALUE, [B, T, H, D]), [0, 2, 1, 3]), [B, H, T, D]),
      ],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

/** Cases of the operators that only gradients use, and more cases of others for the checks of their gradients. */

import { DTYPES } from '../../../core/dtypes.js'
import type { OpName } from '../../ops.js'
import { type CaseTensor, constant, f32, i32, i64, ints, type OpCase } from '../case-types.js'
import { at, generate, matMul } from '../reference.js'

const NONE = {}
const A = f32([2, 3, 4], 1)
const B = f32([5, 4], 2)
const TABLE = f32([4, 3], 3)

const flipped = (x: typeof B) =>
  generate([...x.dims.slice(0, -2), x.dims.at(-1)!, x.dims.at(-2)!], (index) =>
    at(x, [...index.slice(0, -2), index.at(-1)!, index.at(-2)!]),
  )
/** [B, C, N] with filters [C, M, k], stride s: every input writes a whole filter. */
const transposed1d = (x: typeof A, w: typeof A, stride: number) => {
  const [batch, channels, length] = x.dims as [number, number, number]
  const [, filters, k] = w.dims as [number, number, number]
  return generate([batch, filters, stride * (length - 1) + k], ([b, m, n]) => {
    let sum = 0
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < length; i++) {
        const j = n! - stride * i
        if (j >= 0 && j < k) sum += at(x, [b!, c, i]) * at(w, [c, m!, j])
      }
    return sum
  })
}
const COS = f32([6, 2], 4)
const SIN = f32([6, 2], 5)
const ROTATED = f32([1, 2, 3, 4], 6)

export const TRAINING_CASES = {
  FusedMatMul: [
    {
      name: 'b transposed',
      inputs: [A, B],
      attributes: { transB: 1 },
      expected: [matMul(A, flipped(B), [2, 3, 5])],
    },
    {
      name: 'a transposed, scaled',
      inputs: [f32([3, 4], 1), f32([3, 5], 2)],
      attributes: { transA: 1, alpha: 0.5 },
      expected: [
        generate([4, 5], ([i, j]) => at(matMul(flipped(f32([3, 4], 1)), f32([3, 5], 2), [4, 5]), [i!, j!]) * 0.5),
      ],
    },
    {
      name: 'both transposed, batched',
      inputs: [f32([2, 4, 3], 1), f32([2, 5, 4], 2)],
      attributes: { transA: 1, transB: 1 },
      expected: [matMul(flipped(f32([2, 4, 3], 1)), flipped(f32([2, 5, 4], 2)), [2, 3, 5])],
    },
  ],
  RotaryEmbedding: [
    {
      name: 'heads apart, positions 2, 3, 4',
      inputs: [ROTATED, i64([1, 3], [2, 3, 4]), COS, SIN],
      attributes: NONE,
      expected: [
        generate(ROTATED.dims, ([b, h, t, d]) => {
          const [c, s] = [at(COS, [t! + 2, d! % 2]), at(SIN, [t! + 2, d! % 2])]
          const [own, other] = [at(ROTATED, [b!, h!, t!, d!]), at(ROTATED, [b!, h!, t!, (d! + 2) % 4])]
          return own * c + (d! < 2 ? -other : other) * s
        }),
      ],
    },
  ],
  ConvTranspose: [
    {
      name: 'stride 2',
      inputs: [f32([1, 2, 4], 1), f32([2, 3, 3], 2)],
      attributes: { strides: [2] },
      expected: [transposed1d(f32([1, 2, 4], 1), f32([2, 3, 3], 2), 2)],
    },
    {
      name: 'picture, pads, group',
      inputs: [f32([1, 4, 3, 3], 1), f32([4, 1, 3, 3], 2)],
      attributes: { pads: [1, 1, 1, 1], strides: [2, 2], output_padding: [1, 1], group: 2 },
    },
  ],
  GatherElements: [
    {
      name: 'one of each row',
      inputs: [TABLE, i64([4, 1], [2, 0, 1, 2])],
      attributes: { axis: 1 },
      expected: [generate([4, 1], ([i]) => at(TABLE, [i!, [2, 0, 1, 2][i!]!]))],
    },
  ],
  ScatterElements: [
    {
      name: 'one of each row',
      inputs: [TABLE, i64([4, 1], [2, 0, 1, 2]), f32([4, 1], [9, 8, 7, 6])],
      attributes: { axis: 1 },
      expected: [generate([4, 3], ([i, j]) => (j === [2, 0, 1, 2][i!] ? [9, 8, 7, 6][i!]! : at(TABLE, [i!, j!])))],
    },
  ],
  ScatterND: [
    {
      name: 'rows',
      inputs: [TABLE, i64([2, 1], [3, 1]), f32([2, 3], 9)],
      attributes: NONE,
      expected: [
        generate([4, 3], ([i, j]) =>
          i === 3 ? at(f32([2, 3], 9), [0, j!]) : i === 1 ? at(f32([2, 3], 9), [1, j!]) : at(TABLE, [i!, j!]),
        ),
      ],
    },
  ],
  Unique: [
    {
      name: 'sorted, with inverse',
      inputs: [i64([2, 3], [5, 2, 5, 7, 2, 5])],
      attributes: NONE,
      outputs: [true, false, true, false],
      expected: [i64([3], [2, 5, 7]), undefined, i64([6], [1, 0, 1, 2, 0, 1])],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

const WIDE = f32([2, 3, 4], 1)
const POSITIVE: CaseTensor = { ...WIDE, values: WIDE.values.map((value) => Math.fround(Math.abs(value) + 0.5)) }
const [BATCH, ROWS, HEADS, GROUPS, WIDTH] = [2, 3, 4, 2, 16]
const lengths = (total: number): CaseTensor[] => [i32([BATCH], [total - 1, total - 1]), i32([], [total])]
const angles = (f: (angle: number) => number) =>
  constant(generate([8, WIDTH / 2], ([p, i]) => f(p! / 10 ** ((8 * i!) / WIDTH))))
const QUERIES = f32([BATCH, ROWS, HEADS * WIDTH], 1)
const MEMORY = [f32([BATCH, 5, HEADS * WIDTH], 2), f32([BATCH, 5, HEADS * WIDTH], 3)] as const

/**
 * Broadcasting both ways, several and negative axes, indices named again and again, every layout of attention and convolution.
 * Without expected numbers: the operators have cases of their own, and these are compared with finite differences.
 */
export const GRADIENT_CASES = {
  Add: [{ name: 'inner axes of 1', inputs: [f32([2, 1, 4], 1), f32([3, 1], 2)], attributes: NONE }],
  Sub: [{ name: 'scalar left', inputs: [f32([], [0.5]), WIDE], attributes: NONE }],
  Mul: [
    { name: 'inner axes of 1', inputs: [f32([2, 1, 4], 1), f32([2, 3, 1], 2)], attributes: NONE },
    { name: 'square', inputs: [WIDE, f32([1, 1, 1], [0.7])], attributes: NONE },
  ],
  Div: [{ name: 'wider divisor', inputs: [f32([3, 1], 2), POSITIVE], attributes: NONE }],
  ReduceSum: [
    { name: 'negative axes, dropped', inputs: [WIDE, ints([-1, 0])], attributes: { keepdims: 0 } },
    { name: 'no axes given', inputs: [WIDE, ints([])], attributes: NONE },
  ],
  ReduceMean: [{ name: 'negative axes, dropped', inputs: [WIDE, ints([-1, 0])], attributes: { keepdims: 0 } }],
  ReduceMax: [{ name: 'negative axes, dropped', inputs: [WIDE, ints([-1, 0])], attributes: { keepdims: 0 } }],
  Softmax: [{ name: 'first', inputs: [WIDE], attributes: { axis: -3 } }],
  Cast: [{ name: 'to itself', inputs: [WIDE], attributes: { to: DTYPES.float32.onnx } }],
  Clip: [{ name: 'min only', inputs: [WIDE, constant(f32([], [-0.1]))], attributes: NONE }],
  Expand: [{ name: 'inner axes of 1', inputs: [f32([2, 1, 4], 1), ints([5, 1, 3, 1])], attributes: NONE }],
  Concat: [
    { name: 'three, last axis', inputs: [WIDE, f32([2, 3, 1], 5), f32([2, 3, 5], 6)], attributes: { axis: -1 } },
  ],
  Split: [
    { name: 'three, middle axis', inputs: [f32([2, 6, 4], 1), ints([1, 3, 2])], attributes: { axis: -2 }, outputs: 3 },
  ],
  Slice: [
    { name: 'two negative axes', inputs: [WIDE, ints([-2, 1]), ints([9, -1]), ints([-1, -2])], attributes: NONE },
    { name: 'from far before', inputs: [WIDE, ints([-9]), ints([2]), ints([0])], attributes: NONE },
    { name: 'run-time start', inputs: [WIDE, i64([1], [-2]), i64([1], [99]), ints([1])], attributes: NONE },
  ],
  Gather: [
    {
      name: 'rows again and again',
      inputs: [f32([5, 4], 6), i64([2, 6], [0, 3, 3, 0, 3, -2, 3, 3, 1, 0, 0, -5])],
      attributes: NONE,
    },
    { name: 'middle axis', inputs: [WIDE, i64([2, 2], [2, -1, 0, 2])], attributes: { axis: 1 } },
    { name: 'one axis', inputs: [f32([6], 1), i32([4], [5, 5, -6, 2])], attributes: NONE },
    { name: 'scalar row', inputs: [WIDE, constant(i64([], [1]))], attributes: NONE },
  ],
  Pad: [
    { name: 'adds and cuts', inputs: [WIDE, ints([1, -1, -2, 2]), undefined, ints([-1, 1])], attributes: NONE },
    { name: 'run-time pads', inputs: [WIDE, i64([2], [2, 1]), undefined, ints([1])], attributes: NONE },
  ],
  MatMul: [
    { name: 'same batches', inputs: [WIDE, f32([2, 4, 5], 2)], attributes: NONE },
    { name: 'one left for all', inputs: [f32([3, 4], 1), f32([2, 4, 5], 2)], attributes: NONE },
    { name: 'batches of 1', inputs: [f32([1, 3, 4], 1), f32([2, 4, 5], 2)], attributes: NONE },
    { name: 'right of batch 1', inputs: [WIDE, f32([1, 4, 5], 2)], attributes: NONE },
    { name: 'vector left, batched', inputs: [f32([4], 1), f32([2, 4, 5], 2)], attributes: NONE },
  ],
  FusedMatMul: [
    { name: 'a transposed, one right for all', inputs: [f32([2, 4, 3], 1), f32([4, 5], 2)], attributes: { transA: 1 } },
    { name: 'tall b transposed', inputs: [WIDE, f32([20, 4], 2)], attributes: { transB: 1, alpha: -2 } },
    { name: 'four axes', inputs: [f32([2, 2, 3, 4], 1), f32([2, 2, 5, 4], 2)], attributes: { transB: 1, alpha: 0.5 } },
    { name: 'both transposed, plain', inputs: [f32([4, 3], 1), f32([5, 4], 2)], attributes: { transA: 1, transB: 1 } },
  ],
  LayerNormalization: [
    { name: 'two axes, shifted', inputs: [WIDE, f32([3, 4], 2), f32([3, 4], 3)], attributes: { axis: -2 } },
  ],
  SkipSimplifiedLayerNormalization: [
    {
      name: 'sum, bias',
      inputs: [WIDE, f32([2, 3, 4], 2), f32([4], 3), f32([4], 4)],
      attributes: { epsilon: 1e-5 },
      outputs: [true, false, false, true],
    },
  ],
  Conv: [
    {
      name: '1d, rest behind the last place',
      inputs: [f32([2, 3, 10], 1), f32([4, 3, 4], 2), f32([4], 3)],
      attributes: { strides: [3], pads: [1, 0] },
    },
    {
      name: '2d, one side padded',
      inputs: [f32([2, 2, 5, 6], 1), f32([3, 2, 3, 2], 2)],
      attributes: { pads: [0, 1, 2, 0] },
    },
    {
      name: '2d, all at once',
      inputs: [f32([2, 4, 7, 9], 1), f32([6, 2, 2, 3], 2), f32([6], 3)],
      attributes: { group: 2, strides: [2, 1], dilations: [3, 2], pads: [1, 2, 0, 3] },
    },
    { name: 'by channel', inputs: [f32([2, 3, 6], 1), f32([3, 1, 3], 2)], attributes: { group: 3, pads: [1, 1] } },
    { name: 'one by one', inputs: [f32([2, 3, 4, 5], 1), f32([2, 3, 1, 1], 2), f32([2], 3)], attributes: NONE },
    { name: 'padded beyond the kernel', inputs: [f32([1, 2, 5], 1), f32([2, 2, 2], 2)], attributes: { pads: [2, 3] } },
    { name: 'places left out', inputs: [f32([1, 2, 9], 1), f32([2, 2, 1], 2)], attributes: { strides: [3] } },
  ],
  ConvTranspose: [
    {
      name: '1d, bias, dilated',
      inputs: [f32([2, 3, 5], 1), f32([3, 2, 3], 2), f32([2], 3)],
      attributes: { dilations: [2], pads: [1, 2] },
    },
    {
      name: '2d, all at once',
      inputs: [f32([2, 4, 3, 4], 1), f32([4, 3, 4, 3], 2), f32([6], 3)],
      attributes: { group: 2, strides: [2, 3], pads: [1, 0, 2, 1], output_padding: [1, 0] },
    },
    { name: 'stride 1', inputs: [f32([1, 2, 4, 4], 1), f32([2, 3, 3, 3], 2)], attributes: { pads: [1, 1, 1, 1] } },
  ],
  GatherElements: [
    {
      name: 'elements again and again',
      inputs: [TABLE, i64([5, 3], [0, 1, 1, 0, -1, 3, 0, 1, 3, 2, 1, -4, 0, 1, 3])],
      attributes: NONE,
    },
  ],
  ScatterElements: [
    {
      name: 'added',
      inputs: [TABLE, i64([4, 2], [2, 2, 1, 0, -1, 1, 0, 0]), f32([4, 2], 9)],
      attributes: { axis: -1, reduction: 'add' },
    },
  ],
  ScatterND: [
    { name: 'rows added', inputs: [TABLE, i64([3, 1], [3, -1, 1]), f32([3, 3], 9)], attributes: { reduction: 'add' } },
    { name: 'two indices', inputs: [WIDE, i64([3, 2], [1, 2, 0, -1, -1, 0]), f32([3, 4], 9)], attributes: NONE },
    { name: 'elements', inputs: [TABLE, i64([2, 2, 2], [1, 2, 3, 0, 0, 0, -2, 1]), f32([2, 2], 9)], attributes: NONE },
  ],
  RotaryEmbedding: [
    {
      name: 'heads side by side, own positions',
      inputs: [f32([2, 3, 2 * WIDTH], 1), i64([2, 3], [0, 1, 2, 4, 5, 6]), angles(Math.cos), angles(Math.sin)],
      attributes: NONE,
    },
    {
      name: 'interleaved, from position 2',
      inputs: [f32([2, 4, 3, WIDTH], 1), i64([1], [2]), angles(Math.cos), angles(Math.sin)],
      attributes: { interleaved: 1 },
    },
  ],
  GroupQueryAttention: [
    {
      name: 'packed, rotary, batch 2',
      inputs: [
        f32([BATCH, ROWS, (HEADS + 2 * GROUPS) * WIDTH], 1),
        undefined,
        undefined,
        undefined,
        undefined,
        ...lengths(ROWS),
        angles(Math.cos),
        angles(Math.sin),
      ],
      attributes: { num_heads: HEADS, kv_num_heads: GROUPS, do_rotary: 1 },
      outputs: 3,
    },
    {
      name: 'a key for each head',
      inputs: [
        QUERIES,
        f32([BATCH, ROWS, HEADS * WIDTH], 2),
        f32([BATCH, ROWS, HEADS * WIDTH], 3),
        undefined,
        undefined,
        ...lengths(ROWS),
        angles(Math.cos),
        angles(Math.sin),
      ],
      attributes: { num_heads: HEADS, kv_num_heads: HEADS, do_rotary: 1, rotary_interleaved: 1, scale: 0.3 },
      outputs: 3,
    },
    {
      name: 'one key for all heads, one row behind a past',
      inputs: [
        f32([BATCH, 1, HEADS * WIDTH], 1),
        f32([BATCH, 1, WIDTH], 2),
        f32([BATCH, 1, WIDTH], 3),
        f32([BATCH, 1, 3, WIDTH], 4),
        f32([BATCH, 1, 3, WIDTH], 5),
        ...lengths(4),
        angles(Math.cos),
        angles(Math.sin),
      ],
      attributes: { num_heads: HEADS, kv_num_heads: 1, do_rotary: 1 },
      outputs: 3,
    },
  ],
  MultiHeadAttention: [
    {
      name: 'causal, bias for each head',
      inputs: [
        QUERIES,
        f32([BATCH, ROWS, HEADS * WIDTH], 2),
        f32([BATCH, ROWS, HEADS * WIDTH], 3),
        undefined,
        undefined,
        f32([1, HEADS, ROWS, ROWS], 4),
      ],
      attributes: { num_heads: HEADS, unidirectional: 1 },
    },
    {
      name: 'bias for each item',
      inputs: [QUERIES, ...MEMORY, undefined, undefined, f32([BATCH, 1, ROWS, 5], 4)],
      attributes: { num_heads: HEADS },
    },
    {
      name: 'padding mask',
      inputs: [QUERIES, ...MEMORY, undefined, i32([BATCH, 5], [1, 1, 1, 0, 0, 1, 1, 1, 1, 0])],
      attributes: { num_heads: HEADS },
    },
    {
      name: 'causal behind a cache',
      inputs: [
        QUERIES,
        f32([BATCH, ROWS, HEADS * WIDTH], 2),
        f32([BATCH, ROWS, HEADS * WIDTH], 3),
        undefined,
        undefined,
        undefined,
        f32([BATCH, HEADS, 2, WIDTH], 4),
        f32([BATCH, HEADS, 2, WIDTH], 5),
      ],
      attributes: { num_heads: HEADS, unidirectional: 1 },
      outputs: 3,
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

/** Cases of element-wise operators, activations and reductions. */

import type { OpName } from '../../ops.js'
import { bool, type CaseTensor, constant, f16, f32, i32, i64, ints, type OpCase } from '../case-types.js'
import { compare, erf, map, reduce, reshaped, softmax, transpose, zip } from '../reference.js'

const A = f32([2, 3, 4], 1)
const ROW = f32([4], 2)
const COLUMN = f32([3, 1], 3)
/** Away from 0, for divisors and logarithms. */
const POSITIVE = map(f32([2, 3, 4], 4), (value) => Math.fround(Math.abs(value) + 0.5))
const NONE = {}

const binary = (f: (a: number, b: number) => number, b = ROW, column = COLUMN): OpCase<'Add'>[] => [
  { name: 'row', inputs: [A, b], attributes: NONE, expected: [zip(A.dims, f, A, b)] },
  { name: 'both ways', inputs: [b, column], attributes: NONE, expected: [zip([3, 4], f, b, column)] },
  {
    name: 'scalar int64',
    inputs: [i64([2], [8, 6]), i64([], [2])],
    attributes: NONE,
    expected: [i64([2], [f(8, 2), f(6, 2)])],
  },
  {
    name: 'half',
    inputs: [f16([2], [1, 2]), f16([2], [0.5, 2])],
    attributes: NONE,
    expected: [f16([2], [f(1, 0.5), f(2, 2)])],
    tolerance: 1e-3,
  },
]

const floatBinary = (f: (a: number, b: number) => number): OpCase<'Pow'>[] => [
  { name: 'row', inputs: [POSITIVE, ROW], attributes: NONE, expected: [zip(A.dims, f, POSITIVE, ROW)] },
  { name: 'scalar', inputs: [A, constant(f32([], [2]))], attributes: NONE, expected: [map(A, (value) => f(value, 2))] },
]

const unary = (f: (value: number) => number, x: CaseTensor = A, tolerance = 1e-5): OpCase<'Exp'>[] => [
  { name: 'block', inputs: [x], attributes: NONE, expected: [map(x, f)], tolerance },
  { name: 'scalar', inputs: [f32([], [0.75])], attributes: NONE, expected: [f32([], [f(0.75)])], tolerance },
  { name: 'empty', inputs: [f32([0, 3], [])], attributes: NONE, expected: [f32([0, 3], [])] },
]

const reduction = (f: (values: number[]) => number): OpCase<'ReduceSum'>[] => {
  const rows = reduce(A, [2], f)
  return [
    { name: 'last, kept', inputs: [A, ints([-1])], attributes: NONE, expected: [rows] },
    { name: 'last, dropped', inputs: [A, ints([2])], attributes: { keepdims: 0 }, expected: [reshaped(rows, [2, 3])] },
    { name: 'two axes', inputs: [A, ints([0, 2])], attributes: NONE, expected: [reduce(A, [0, 2], f)] },
    { name: 'all', inputs: [A], attributes: { keepdims: 0 }, expected: [reshaped(reduce(A, [0, 1, 2], f), [])] },
    { name: 'none', inputs: [A, ints([])], attributes: { noop_with_empty_axes: 1 }, expected: [A] },
  ]
}

/** To the nearest, halves to even. */
const roundEven = (value: number) => {
  const near = Math.round(value)
  return Math.abs(value % 1) === 0.5 && near % 2 !== 0 ? near - 1 : near
}
const HALVES = f32([6], [-1.5, -0.5, 0.5, 1.5, 2.5, 2.4])
const sigmoid = (value: number) => 1 / (1 + Math.exp(-value))
const gelu = (value: number) => 0.5 * value * (1 + erf(value / Math.SQRT2))
const geluTanh = (value: number) =>
  0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3)))
const LESS = compare([3, 4], (a, b) => a < b, ROW, COLUMN)

export const ELEMENTWISE_CASES = {
  Add: binary((a, b) => a + b),
  Sub: binary((a, b) => a - b),
  Mul: binary((a, b) => a * b),
  Div: binary(
    (a, b) => a / b,
    map(ROW, (value) => value + 2),
    map(COLUMN, (value) => value + 2),
  ),
  Pow: floatBinary((a, b) => a ** b),
  Max: [
    { name: 'one', inputs: [A], attributes: NONE, expected: [A] },
    { name: 'three', inputs: [A, ROW, COLUMN], attributes: NONE, expected: [zip(A.dims, Math.max, A, ROW, COLUMN)] },
    { name: 'int32', inputs: [i32([2], [3, -4]), i32([], [0])], attributes: NONE, expected: [i32([2], [3, 0])] },
  ],
  Min: [
    { name: 'two', inputs: [A, ROW], attributes: NONE, expected: [zip(A.dims, Math.min, A, ROW)] },
    { name: 'wider second', inputs: [ROW, A], attributes: NONE, expected: [zip(A.dims, Math.min, A, ROW)] },
  ],
  Neg: [
    ...unary((value) => -value),
    { name: 'int64', inputs: [i64([2], [3, -4])], attributes: NONE, expected: [i64([2], [-3, 4])] },
  ],
  Abs: [
    ...unary(Math.abs),
    { name: 'int32', inputs: [i32([2], [3, -4])], attributes: NONE, expected: [i32([2], [3, 4])] },
  ],
  Sqrt: unary(Math.sqrt, POSITIVE),
  Exp: unary(Math.exp),
  Log: unary(Math.log, POSITIVE),
  Round: unary(roundEven, HALVES),
  Floor: unary(Math.floor, HALVES),
  Reciprocal: unary((value) => 1 / value, POSITIVE),
  Clip: [
    {
      name: 'both',
      inputs: [A, constant(f32([], [-0.25])), constant(f32([], [0.5]))],
      attributes: NONE,
      expected: [map(A, (value) => Math.min(0.5, Math.max(-0.25, value)))],
    },
    {
      name: 'max only',
      inputs: [A, undefined, f32([], [0])],
      attributes: NONE,
      expected: [map(A, (value) => Math.min(0, value))],
    },
    { name: 'open', inputs: [A], attributes: NONE, expected: [A] },
  ],
  Equal: [
    { name: 'int64', inputs: [i64([3], [1, 2, 3]), i64([], [2])], attributes: NONE, expected: [bool([3], [0, 1, 0])] },
    {
      name: 'bool',
      inputs: [bool([2], [1, 0]), bool([2, 1], [1, 0])],
      attributes: NONE,
      expected: [bool([2, 2], [1, 0, 0, 1])],
    },
  ],
  Less: [
    { name: 'both ways', inputs: [ROW, COLUMN], attributes: NONE, expected: [LESS] },
    { name: 'int32', inputs: [i32([2], [1, 5]), i32([1], [2])], attributes: NONE, expected: [bool([2], [1, 0])] },
  ],
  Not: [{ name: 'plain', inputs: [LESS], attributes: NONE, expected: [map(LESS, (value) => 1 - value)] }],
  Where: [
    {
      name: 'scalars',
      inputs: [LESS, f32([], [1]), f32([], [-1])],
      attributes: NONE,
      expected: [map(LESS, (value) => 2 * value - 1, 'float32')],
    },
    {
      name: 'three shapes',
      inputs: [bool([3, 1], [1, 0, 1]), A, ROW],
      attributes: NONE,
      expected: [zip(A.dims, (x, y, condition) => (condition ? x : y), A, ROW, bool([3, 1], [1, 0, 1]))],
    },
  ],
  ReduceMax: reduction((values) => Math.max(...values)),
  ReduceMean: reduction((values) => values.reduce((a, b) => a + b, 0) / values.length),
  ReduceSum: reduction((values) => values.reduce((a, b) => a + b, 0)),
  Sigmoid: unary(sigmoid),
  Tanh: unary(Math.tanh, A, 1e-5),
  Relu: unary((value) => Math.max(0, value)),
  Gelu: [
    { name: 'exact', inputs: [A], attributes: NONE, expected: [map(A, gelu)] },
    { name: 'tanh', inputs: [A], attributes: { approximate: 'tanh' }, expected: [map(A, geluTanh)] },
  ],
  QuickGelu: [
    { name: 'CLIP', inputs: [A], attributes: NONE, expected: [map(A, (value) => value * sigmoid(1.702 * value))] },
    { name: 'SiLU', inputs: [A], attributes: { alpha: 1 }, expected: [map(A, (value) => value * sigmoid(value))] },
  ],
  Softmax: [
    { name: 'last', inputs: [A], attributes: NONE, expected: [softmax(A)] },
    {
      name: 'middle',
      inputs: [A],
      attributes: { axis: 1 },
      expected: [transpose(softmax(transpose(A, [0, 2, 1])), [0, 2, 1])],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

/** Cases of operators that move, cut, join and reshape. */

import { DTYPES } from '../../../core/dtypes.js'
import type { OpName } from '../../ops.js'
import { bool, constant, f16, f32, i32, i64, ints, type OpCase } from '../case-types.js'
import { at, generate, map, reshaped, transpose } from '../reference.js'

const A = f32([2, 3, 4], 1)
const NONE = {}
const { float16, float32, int32, int64 } = DTYPES

export const MOVEMENT_CASES = {
  Identity: [{ name: 'plain', inputs: [A], attributes: NONE, expected: [A] }],
  Cast: [
    {
      name: 'to int32',
      inputs: [f32([3], [1.75, -1.75, 3])],
      attributes: { to: int32.onnx },
      expected: [i32([3], [1, -1, 3])],
    },
    {
      name: 'to half',
      inputs: [f32([2], [0.5, -2])],
      attributes: { to: float16.onnx },
      expected: [f16([2], [0.5, -2])],
    },
    { name: 'from bool', inputs: [bool([2], [1, 0])], attributes: { to: float32.onnx }, expected: [f32([2], [1, 0])] },
    { name: 'to int64', inputs: [i32([2], [-7, 9])], attributes: { to: int64.onnx }, expected: [i64([2], [-7, 9])] },
  ],
  Shape: [
    { name: 'all', inputs: [A], attributes: NONE, expected: [i64([3], [2, 3, 4])] },
    { name: 'part', inputs: [A], attributes: { start: 1, end: -1 }, expected: [i64([1], [3])] },
    { name: 'past the end', inputs: [A], attributes: { start: -9, end: 9 }, expected: [i64([3], [2, 3, 4])] },
  ],
  Reshape: [
    { name: 'open', inputs: [A, ints([-1, 4])], attributes: NONE, expected: [reshaped(A, [6, 4])] },
    { name: 'copied', inputs: [A, ints([0, 0, 2, -1])], attributes: NONE, expected: [reshaped(A, [2, 3, 2, 2])] },
    {
      name: 'allowzero',
      inputs: [f32([0, 3], []), ints([3, 0])],
      attributes: { allowzero: 1 },
      expected: [f32([3, 0], [])],
    },
    { name: 'run-time shape', inputs: [A, i64([2], [4, 6])], attributes: NONE, expected: [reshaped(A, [4, 6])] },
    { name: 'to scalar', inputs: [f32([1, 1], [5]), ints([])], attributes: NONE, expected: [f32([], [5])] },
  ],
  Transpose: [
    { name: 'perm', inputs: [A], attributes: { perm: [1, 0, 2] }, expected: [transpose(A, [1, 0, 2])] },
    { name: 'reversed', inputs: [A], attributes: NONE, expected: [transpose(A, [2, 1, 0])] },
  ],
  Unsqueeze: [
    { name: 'two', inputs: [A, ints([0, -1])], attributes: NONE, expected: [reshaped(A, [1, 2, 3, 4, 1])] },
    { name: 'scalar', inputs: [f32([], [3]), ints([0])], attributes: NONE, expected: [f32([1], [3])] },
  ],
  Squeeze: [
    { name: 'one', inputs: [f32([1, 3, 1], 2), ints([-1])], attributes: NONE, expected: [f32([1, 3], 2)] },
    { name: 'all', inputs: [f32([1, 3, 1], 2)], attributes: NONE, expected: [f32([3], 2)] },
  ],
  Expand: [
    {
      name: 'rows',
      inputs: [f32([3, 1], [1, 2, 3]), ints([2, 1, 2])],
      attributes: NONE,
      expected: [generate([2, 3, 2], ([, i]) => i! + 1)],
    },
    { name: 'smaller target', inputs: [A, ints([1])], attributes: NONE, expected: [A] },
    {
      name: 'run-time shape',
      inputs: [f32([1], [4]), i64([2], [2, 2])],
      attributes: NONE,
      expected: [f32([2, 2], [4, 4, 4, 4])],
    },
  ],
  Concat: [
    {
      name: 'middle',
      inputs: [A, f32([2, 1, 4], 5), A],
      attributes: { axis: 1 },
      expected: [
        generate([2, 7, 4], ([b, i, c]) => at(i === 3 ? f32([2, 1, 4], 5) : A, [b!, i! < 3 ? i! : i! - 4, c!])),
      ],
    },
    {
      name: 'negative axis',
      inputs: [f32([2], [1, 2]), f32([1], [3])],
      attributes: { axis: -1 },
      expected: [f32([3], [1, 2, 3])],
    },
    {
      name: 'empty part',
      inputs: [f32([0, 2], []), f32([1, 2], [3, 4])],
      attributes: { axis: 0 },
      expected: [f32([1, 2], [3, 4])],
    },
  ],
  Split: [
    {
      name: 'sizes',
      inputs: [A, ints([1, 3])],
      attributes: { axis: -1 },
      outputs: 2,
      expected: [
        generate([2, 3, 1], (i) => at(A, i.with(2, 0))),
        generate([2, 3, 3], (i) => at(A, i.with(2, i[2]! + 1))),
      ],
    },
    {
      name: 'even',
      inputs: [A],
      attributes: { axis: 2, num_outputs: 2 },
      outputs: 2,
      expected: [generate([2, 3, 2], (i) => at(A, i)), generate([2, 3, 2], (i) => at(A, i.with(2, i[2]! + 2)))],
    },
    {
      name: 'uneven',
      inputs: [f32([5], [1, 2, 3, 4, 5])],
      attributes: { num_outputs: 2 },
      outputs: 2,
      expected: [f32([3], [1, 2, 3]), f32([2], [4, 5])],
    },
  ],
  Slice: [
    {
      name: 'axis',
      inputs: [A, ints([1]), ints([3]), ints([2])],
      attributes: NONE,
      expected: [generate([2, 3, 2], (i) => at(A, i.with(2, i[2]! + 1)))],
    },
    {
      name: 'last row',
      inputs: [A, ints([-1]), ints([2 ** 31 - 1]), ints([1])],
      attributes: NONE,
      expected: [generate([2, 1, 4], (i) => at(A, i.with(1, 2)))],
    },
    {
      name: 'backwards',
      inputs: [f32([5], [1, 2, 3, 4, 5]), ints([-1]), ints([-6]), ints([0]), ints([-2])],
      attributes: NONE,
      expected: [f32([3], [5, 3, 1])],
    },
    {
      name: 'steps, no axes',
      inputs: [A, ints([0, 0]), ints([2, 3]), undefined, ints([1, 2])],
      attributes: NONE,
      expected: [generate([2, 2, 4], (i) => at(A, i.with(1, 2 * i[1]!)))],
    },
    { name: 'empty', inputs: [A, ints([3]), ints([1]), ints([2])], attributes: NONE, expected: [f32([2, 3, 0], [])] },
    {
      name: 'run-time bounds',
      inputs: [A, i64([1], [0]), i64([1], [2]), ints([1])],
      attributes: NONE,
      expected: [generate([2, 2, 4], (i) => at(A, i))],
    },
  ],
  Gather: [
    {
      name: 'embedding',
      inputs: [f32([5, 2], 6), i64([2, 3], [0, 4, 1, 2, 2, 0])],
      attributes: NONE,
      expected: [
        generate([2, 3, 2], ([b, t, c]) =>
          at(f32([5, 2], 6), [
            [
              [0, 4, 1],
              [2, 2, 0],
            ][b!]![t!]!,
            c!,
          ]),
        ),
      ],
    },
    {
      name: 'scalar index',
      inputs: [A, constant(i64([], [-1]))],
      attributes: { axis: 1 },
      expected: [generate([2, 4], ([b, c]) => at(A, [b!, 2, c!]))],
    },
    {
      name: 'int32',
      inputs: [A, i32([2], [3, 0])],
      attributes: { axis: -1 },
      expected: [generate([2, 3, 2], (i) => at(A, i.with(2, i[2] === 0 ? 3 : 0)))],
    },
  ],
  Pad: [
    {
      name: 'zeros',
      inputs: [f32([1, 2], [1, 2]), ints([0, 1, 1, 2])],
      attributes: NONE,
      expected: [f32([2, 5], [0, 1, 2, 0, 0, 0, 0, 0, 0, 0])],
    },
    {
      name: 'value, axis',
      inputs: [f32([1, 2], [1, 2]), ints([1, 0]), constant(f32([], [9])), ints([-1])],
      attributes: NONE,
      expected: [f32([1, 3], [9, 1, 2])],
    },
    {
      name: 'reflect',
      inputs: [f32([1, 3], [1, 2, 3]), ints([0, 2, 0, 1])],
      attributes: { mode: 'reflect' },
      expected: [f32([1, 6], [3, 2, 1, 2, 3, 2])],
    },
    {
      name: 'cut',
      inputs: [f32([1, 3], [1, 2, 3]), ints([0, -1, 0, 0])],
      attributes: NONE,
      expected: [f32([1, 2], [2, 3])],
    },
  ],
  Range: [
    { name: 'int64', inputs: [ints(2), ints(7), ints(2)], attributes: NONE, expected: [i64([3], [2, 4, 6])] },
    { name: 'down', inputs: [ints(3), ints(0), ints(-1)], attributes: NONE, expected: [i64([3], [3, 2, 1])] },
    {
      name: 'run time',
      inputs: [i64([], [0]), i64([], [4]), ints(1)],
      attributes: NONE,
      expected: [i64([4], [0, 1, 2, 3])],
    },
    {
      name: 'float',
      inputs: [f32([], [0]), f32([], [1]), f32([], [0.25])],
      attributes: NONE,
      expected: [map(i64([4], [0, 1, 2, 3]), (i) => i / 4, 'float32')],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

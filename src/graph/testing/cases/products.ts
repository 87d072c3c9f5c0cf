/** Cases of matrix products, convolution and norms. */

import type { OpName } from '../../ops.js'
import { constant, f16, f32, type OpCase } from '../case-types.js'
import { conv1d, conv2d, map, matMul, normalise, reduce, reshaped, zip } from '../reference.js'

const X = f32([2, 3, 4], 1)
const W = constant(f32([4, 5], 2))
const SCALE = constant(map(f32([4], 3), (value) => value + 1.5))
const SHIFT = constant(f32([4], 4))
const SKIP = f32([2, 3, 4], 5)
const NONE = {}
const sumOf = zip(X.dims, (a, b) => a + b, X, SKIP)
const inverseRms = (epsilon: number) =>
  reduce(X, [2], (row) => 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / row.length + epsilon))
const mean = (row: number[]) => row.reduce((sum, value) => sum + value, 0) / row.length
const inverseDeviation = reduce(
  X,
  [2],
  (row) => 1 / Math.sqrt(mean(row.map((value) => (value - mean(row)) ** 2)) + 1e-5),
)
const SOUND = f32([2, 4, 9], 6)
const PICTURE = f32([1, 2, 5, 6], 7)

export const PRODUCT_CASES = {
  MatMul: [
    { name: 'weights', inputs: [X, W], attributes: NONE, expected: [matMul(X, W, [2, 3, 5])] },
    {
      name: 'batched, broadcast',
      inputs: [f32([2, 1, 3, 4], 1), f32([3, 4, 2], 2)],
      attributes: NONE,
      expected: [matMul(f32([2, 1, 3, 4], 1), f32([3, 4, 2], 2), [2, 3, 3, 2])],
    },
    {
      name: 'vector left',
      inputs: [f32([4], 2), W],
      attributes: NONE,
      expected: [reshaped(matMul(f32([1, 4], 2), W, [1, 5]), [5])],
    },
    {
      name: 'vector right',
      inputs: [X, f32([4], 2)],
      attributes: NONE,
      expected: [reshaped(matMul(X, f32([4, 1], 2), [2, 3, 1]), [2, 3])],
    },
    {
      name: 'two vectors',
      inputs: [f32([4], 2), f32([4], 3)],
      attributes: NONE,
      expected: [reshaped(matMul(f32([1, 4], 2), f32([4, 1], 3), [1, 1]), [])],
    },
    { name: 'rank 0 adapter', inputs: [X, f32([4, 0], [])], attributes: NONE, expected: [f32([2, 3, 0], [])] },
    {
      name: 'from rank 0',
      inputs: [f32([2, 3, 0], []), f32([0, 5], [])],
      attributes: NONE,
      expected: [
        f32(
          [2, 3, 5],
          Array.from({ length: 30 }, () => 0),
        ),
      ],
    },
    {
      name: 'half',
      inputs: [f16([1, 2], [1, 2]), f16([2, 1], [0.5, 0.25])],
      attributes: NONE,
      expected: [f16([1, 1], [1])],
      tolerance: 1e-3,
    },
  ],
  Conv: [
    {
      name: '1d',
      inputs: [SOUND, constant(f32([6, 4, 3], 8)), constant(f32([6], 9))],
      attributes: { pads: [1, 1] },
      expected: [conv1d(SOUND, f32([6, 4, 3], 8), f32([6], 9), [2, 6, 9], { pad: 1 })],
    },
    {
      name: '1d strided',
      inputs: [SOUND, constant(f32([6, 4, 3], 8))],
      attributes: { strides: [2], kernel_shape: [3] },
      expected: [conv1d(SOUND, f32([6, 4, 3], 8), undefined, [2, 6, 4], { stride: 2 })],
    },
    {
      name: '1d grouped, dilated',
      inputs: [SOUND, constant(f32([4, 2, 2], 8))],
      attributes: { group: 2, dilations: [3] },
      expected: [conv1d(SOUND, f32([4, 2, 2], 8), undefined, [2, 4, 6], { group: 2, dilation: 3 })],
    },
    {
      name: '2d',
      inputs: [PICTURE, constant(f32([3, 2, 3, 3], 8))],
      attributes: { strides: [2, 2], pads: [1, 1, 1, 1] },
      expected: [conv2d(PICTURE, f32([3, 2, 3, 3], 8), [1, 3, 3, 3], 2, 1)],
    },
    {
      name: 'patches',
      inputs: [PICTURE, constant(f32([3, 2, 2, 2], 8))],
      attributes: { strides: [2, 2] },
      expected: [conv2d(PICTURE, f32([3, 2, 2, 2], 8), [1, 3, 2, 3], 2, 0)],
    },
    {
      name: 'same',
      inputs: [PICTURE, constant(f32([3, 2, 3, 3], 8))],
      attributes: { strides: [1, 1], auto_pad: 'SAME_UPPER' },
      expected: [conv2d(PICTURE, f32([3, 2, 3, 3], 8), [1, 3, 5, 6], 1, 1)],
    },
    {
      name: 'same, strided',
      inputs: [PICTURE, constant(f32([3, 2, 3, 3], 8))],
      attributes: { strides: [2, 2], auto_pad: 'SAME_LOWER' },
    },
    {
      name: 'valid',
      inputs: [PICTURE, constant(f32([3, 2, 3, 3], 8))],
      attributes: { auto_pad: 'VALID' },
      expected: [conv2d(PICTURE, f32([3, 2, 3, 3], 8), [1, 3, 3, 4], 1, 0)],
    },
    {
      name: '3d',
      inputs: [f32([1, 1, 2, 4, 4], 3), constant(f32([2, 1, 2, 2, 2], 8))],
      attributes: { strides: [2, 2, 2] },
    },
  ],
  LayerNormalization: [
    { name: 'last', inputs: [X, SCALE, SHIFT], attributes: NONE, expected: [normalise(X, SCALE, SHIFT, 1e-5, false)] },
    {
      name: 'statistics',
      inputs: [X, SCALE],
      attributes: NONE,
      outputs: 3,
      expected: [normalise(X, SCALE, undefined, 1e-5, false), reduce(X, [2], mean), inverseDeviation],
    },
    {
      name: 'two axes',
      inputs: [X, constant(f32([3, 4], 3))],
      attributes: { axis: 1, epsilon: 1e-6 },
      expected: [reshaped(normalise(reshaped(X, [2, 12]), f32([3, 4], 3), undefined, 1e-6, false), X.dims)],
    },
  ],
  SimplifiedLayerNormalization: [
    {
      name: 'last',
      inputs: [X, SCALE],
      attributes: { epsilon: 1e-6 },
      expected: [normalise(X, SCALE, undefined, 1e-6, true)],
    },
    {
      name: 'statistics',
      inputs: [X, SCALE],
      attributes: NONE,
      outputs: 2,
      expected: [normalise(X, SCALE, undefined, 1e-5, true), inverseRms(1e-5)],
    },
  ],
  SkipSimplifiedLayerNormalization: [
    {
      name: 'plain',
      inputs: [X, SKIP, SCALE],
      attributes: { epsilon: 1e-5 },
      expected: [normalise(sumOf, SCALE, undefined, 1e-5, true)],
    },
    {
      name: 'sum',
      inputs: [X, SKIP, SCALE],
      attributes: { epsilon: 1e-5 },
      outputs: [true, false, false, true],
      expected: [normalise(sumOf, SCALE, undefined, 1e-5, true), undefined, undefined, sumOf],
    },
    {
      name: 'bias, 2 dimensions',
      inputs: [f32([3, 4], 1), f32([3, 4], 5), SCALE, SHIFT],
      attributes: { epsilon: 1e-5 },
      expected: [
        normalise(
          zip([3, 4], (a, b, c) => a + b + c, f32([3, 4], 1), f32([3, 4], 5), SHIFT),
          SCALE,
          undefined,
          1e-5,
          true,
        ),
      ],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

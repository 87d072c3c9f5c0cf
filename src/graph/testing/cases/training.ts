/** Cases of the operators that only gradients use. */

import type { OpName } from '../../ops.js'
import { f32, i64, type OpCase } from '../case-types.js'
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

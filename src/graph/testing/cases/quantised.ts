/** Cases of the quantised operators, expected values from the integers and scales themselves. */

import type { OpName } from '../../ops.js'
import { type CaseTensor, constant, f32, i8, i32, i64, type OpCase, steps, u8 } from '../case-types.js'
import { at, generate, map, matMul, zip } from '../reference.js'

const NONE = {}
const A = u8([2, 4], [0, 1, 2, 3, 250, 251, 252, 255])
const B8 = constant(i8([4, 3], steps(12, -120, 120)))
const integers = (x: CaseTensor): CaseTensor => ({ ...x, dtype: 'int32' })
const product = (a: CaseTensor, b: CaseTensor) => integers(matMul(a, b, [2, 3]))
const minus = (x: CaseTensor, zero: number) => map(x, (value) => value - zero)

/** 32 inputs in blocks of 16, 3 outputs. */
const [WIDTH, ROWS, BLOCK] = [32, 3, 16]
const SCALES = constant(map(f32([ROWS, WIDTH / BLOCK], 2), (value) => Math.fround(Math.abs(value) * 0.05 + 0.01)))
const X = f32([2, 5, WIDTH], 1)
const BYTES_4 = constant(u8([ROWS, WIDTH / BLOCK, BLOCK / 2], steps(ROWS * (WIDTH / 2), 0, 255)))
const BYTES_8 = constant(u8([ROWS, WIDTH / BLOCK, BLOCK], steps(ROWS * WIDTH, 0, 255)))

/** Weight [N, K] from packed blocks; low bits come first. */
const unpacked = (packed: CaseTensor, bits: number, zeroOf: (n: number, block: number) => number): CaseTensor =>
  generate([ROWS, WIDTH], ([n, k]) => {
    const element = n! * WIDTH + k!
    const byte = packed.values[Math.floor((element * bits) / 8)]!
    const value = (byte >> ((element * bits) % 8)) & (2 ** bits - 1)
    const block = Math.floor(k! / BLOCK)
    return (value - zeroOf(n!, block)) * SCALES.values[n! * (WIDTH / BLOCK) + block]!
  })
const times = (weight: CaseTensor) =>
  generate([2, 5, ROWS], ([b, t, n]) => {
    let sum = 0
    for (let k = 0; k < WIDTH; k++) sum += at(X, [b!, t!, k]) * at(weight, [n!, k])
    return sum
  })
const ZEROS_4 = constant(u8([ROWS, 1], [0x37, 0x5a, 0x91]))
const N_BITS = { K: WIDTH, N: ROWS, block_size: BLOCK }
const IDS = i64([2, 2], [2, 0, 1, 1])
const rowsOf = (weight: CaseTensor) =>
  generate([2, 2, WIDTH], ([b, t, c]) => at(weight, [IDS.values[b! * 2 + t!]!, c!]))
const flat = (packed: CaseTensor, columns: number): CaseTensor => ({ ...packed, dims: [ROWS, columns] })

const RAMP = f32([2, 3], [-1, -0.5, 0, 0.25, 1, 4.1])
const COLUMN_SCALES = constant(f32([3], [0.5, 0.25, 2]))
const COARSE = constant(f32([], [0.02]))

export const QUANTISED_CASES = {
  // Range [-1, 4.1] over 255 steps of 0.02: zero point 50.
  DynamicQuantizeLinear: [
    {
      name: 'plain',
      inputs: [RAMP],
      attributes: NONE,
      outputs: 3,
      expected: [u8([2, 3], [0, 25, 50, 62, 100, 255]), f32([], [0.02]), u8([], [50])],
    },
    {
      name: 'positive',
      inputs: [f32([2], [1, 5.1])],
      attributes: NONE,
      outputs: 3,
      expected: [u8([2], [50, 255]), f32([], [0.02]), u8([], [0])],
    },
  ],
  DequantizeLinear: [
    {
      name: 'per tensor',
      inputs: [A, constant(f32([], [0.5])), constant(u8([], [128]))],
      attributes: NONE,
      expected: [map(A, (value) => (value - 128) / 2, 'float32')],
    },
    {
      name: 'per axis',
      inputs: [B8, COLUMN_SCALES],
      attributes: { axis: 1 },
      expected: [generate([4, 3], (i) => at(B8, i) * COLUMN_SCALES.values[i[1]!]!)],
    },
    {
      name: 'blocks',
      inputs: [B8, constant(f32([2, 3], 3))],
      attributes: { axis: 0, block_size: 2 },
      expected: [generate([4, 3], ([i, j]) => at(B8, [i!, j!]) * at(f32([2, 3], 3), [Math.floor(i! / 2), j!]))],
    },
    {
      name: 'int32',
      inputs: [i32([2], [-4, 100000]), constant(f32([], [0.5]))],
      attributes: NONE,
      expected: [f32([2], [-2, 50000])],
    },
  ],
  MatMulInteger: [
    { name: 'plain', inputs: [A, B8], attributes: NONE, expected: [product(A, B8)] },
    {
      name: 'zero points',
      inputs: [A, B8, constant(u8([], [128])), constant(i8([], [3]))],
      attributes: NONE,
      expected: [product(minus(A, 128), minus(B8, 3))],
    },
    { name: 'batched', inputs: [u8([2, 1, 4], steps(8, 0, 255)), B8], attributes: NONE },
  ],
  // The activations are quantised too: a step of their range is 1/255 of it.
  DynamicQuantizeMatMul: [
    {
      name: 'per column',
      inputs: [f32([2, 4], 1), B8, COLUMN_SCALES, constant(i8([3], [0, 0, 0])), constant(f32([3], 2))],
      attributes: NONE,
      expected: [
        zip(
          [2, 3],
          (y, scale, bias) => y * scale + bias,
          matMul(f32([2, 4], 1), B8, [2, 3]),
          COLUMN_SCALES,
          f32([3], 2),
        ),
      ],
      tolerance: 0.05,
    },
    {
      name: 'per tensor',
      inputs: [f32([2, 5, 4], 1), B8, COARSE],
      attributes: NONE,
      expected: [map(matMul(f32([2, 5, 4], 1), B8, [2, 5, 3]), (value) => value * 0.02)],
      tolerance: 0.03,
    },
  ],
  MatMulNBits: [
    {
      name: '4 bits',
      inputs: [X, BYTES_4, SCALES],
      attributes: N_BITS,
      expected: [times(unpacked(BYTES_4, 4, () => 8))],
    },
    {
      name: '4 bits, zero points',
      inputs: [X, BYTES_4, SCALES, ZEROS_4],
      attributes: N_BITS,
      expected: [times(unpacked(BYTES_4, 4, (n, block) => (ZEROS_4.values[n]! >> (4 * block)) & 15))],
    },
    {
      name: '8 bits, bias',
      inputs: [X, BYTES_8, SCALES, undefined, undefined, constant(f32([ROWS], 4))],
      attributes: { ...N_BITS, bits: 8 },
      expected: [zip([2, 5, ROWS], (y, bias) => y + bias, times(unpacked(BYTES_8, 8, () => 128)), f32([ROWS], 4))],
      tolerance: 1e-4,
    },
    {
      name: '4 bits, int8 activations',
      inputs: [X, BYTES_4, SCALES],
      attributes: { ...N_BITS, accuracy_level: 4 },
      expected: [times(unpacked(BYTES_4, 4, () => 8))],
      tolerance: 0.02,
    },
  ],
  GatherBlockQuantized: [
    {
      name: '8 bits',
      inputs: [flat(BYTES_8, WIDTH), IDS, SCALES],
      attributes: { bits: 8, block_size: BLOCK },
      expected: [rowsOf(unpacked(BYTES_8, 8, () => 128))],
    },
    {
      name: '4 bits',
      inputs: [flat(BYTES_4, WIDTH / 2), IDS, SCALES],
      attributes: { bits: 4, block_size: BLOCK },
      expected: [rowsOf(unpacked(BYTES_4, 4, () => 8))],
    },
    {
      name: '4 bits, zero points',
      inputs: [flat(BYTES_4, WIDTH / 2), IDS, SCALES, ZEROS_4],
      attributes: { block_size: BLOCK, quantize_axis: -1 },
      expected: [rowsOf(unpacked(BYTES_4, 4, (n, block) => (ZEROS_4.values[n]! >> (4 * block)) & 15))],
    },
  ],
} as const satisfies { [K in OpName]?: readonly OpCase<K>[] }

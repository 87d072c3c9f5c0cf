/** One operator, its inputs and what should come out: the same cases are run on every backend, and by the trainer's checks. */

import { elementCount } from '../../core/dims.js'
import { allocate, type DType, floatToHalf } from '../../core/dtypes.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { AttributesOf, OpName } from '../ops.js'

/** A small tensor as plain numbers; float16 values are numbers too, not bits. */
export interface CaseTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly values: readonly number[]
  /** Given as an initializer, not as a graph input. */
  readonly constant?: true
}

export interface OpCase<K extends OpName = OpName> {
  /** Unique within the operator. */
  readonly name: string
  readonly inputs: readonly (CaseTensor | undefined)[]
  readonly attributes: AttributesOf<K>
  /** How many outputs to ask for; default 1. An array tells which. */
  readonly outputs?: number | readonly boolean[]
  /** Expected results, where a simple calculation gives them; undefined leaves one unchecked. */
  readonly expected?: readonly (CaseTensor | undefined)[]
  /** Largest allowed |got - expected| / max(1, |expected|). Default 1e-5. */
  readonly tolerance?: number
}

/** Which outputs a case asks for. */
export function outputMask({ outputs = 1 }: Pick<OpCase, 'outputs'>): readonly boolean[] {
  return typeof outputs === 'number' ? Array.from({ length: outputs }, () => true) : outputs
}

/** Numbers in about [-1, 1] without pattern, the same each time. */
export const wave = (count: number, seed = 1): number[] =>
  Array.from({ length: count }, (_, i) =>
    Math.fround(Math.sin(seed * 12.9898 + i * 1.7) * 0.9 + 0.05 * Math.cos(i * seed)),
  )

const tensor =
  (dtype: DType) =>
  (dims: readonly number[], values: readonly number[] | number = wave(elementCount(dims))): CaseTensor => ({
    dtype,
    dims,
    values: typeof values === 'number' ? wave(elementCount(dims), values) : values,
  })

/** `f32([2, 3])` fills with `wave`; a number instead of values is its seed. */
export const f32 = tensor('float32')
export const f16 = tensor('float16')
export const i64 = tensor('int64')
export const i32 = tensor('int32')
export const u8 = tensor('uint8')
export const i8 = tensor('int8')
export const bool = tensor('bool')

export const constant = (type: CaseTensor): CaseTensor => ({ ...type, constant: true })
/** A constant list of integers, or a scalar. */
export const ints = (values: readonly number[] | number): CaseTensor =>
  constant(typeof values === 'number' ? i64([], [values]) : i64([values.length], values))

/** `count` integers in [from, to]. */
export const steps = (count: number, from: number, to: number): number[] =>
  Array.from({ length: count }, (_, i) => from + ((i * 37 + 11) % (to - from + 1)))

export function toHostTensor({ dtype, dims, values }: CaseTensor): HostTensor {
  const data = allocate(dtype, values.length)
  values.forEach((value, i) => {
    data[i] = (dtype === 'int64' ? BigInt(value) : dtype === 'float16' ? floatToHalf(value) : value) as never
  })
  return hostTensor(dtype, dims, data)
}

/** The form of one row of the operator table, and the TypeScript types that follow from it. */

import type { DType } from '../core/dtypes.js'
import type { Graph, GraphTensor } from './types.js'

/** ONNX `AttributeProto.AttributeType`, the ones that M4 uses, and what stands for each in TypeScript. */
export interface AttributeTypes {
  int: number
  float: number
  string: string
  ints: readonly number[]
  floats: readonly number[]
  strings: readonly string[]
  tensor: GraphTensor
  graph: Graph
}

export type AttributeType = keyof AttributeTypes

export interface AttributeSpec<T extends AttributeType = AttributeType, R extends boolean = boolean> {
  readonly type: T
  readonly required: R
  /** What the specification assumes when the attribute is absent; undefined when absence itself has a meaning. */
  readonly default: AttributeTypes[T] | undefined
}

/**
 * Names of inputs and outputs carry their arity: `x` is required, `x?` may be absent, `x...` stands for one or more.
 * @see https://github.com/onnx/onnx/blob/main/docs/IR.md#optional-inputs-and-outputs
 */
export interface OpSignature {
  /** '' is ai.onnx. */
  readonly domain: '' | 'com.microsoft'
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, AttributeSpec>>
}

export const required = <T extends AttributeType>(type: T): AttributeSpec<T, true> => ({
  type,
  required: true,
  default: undefined,
})

export const optional = <T extends AttributeType>(type: T, fallback?: AttributeTypes[T]): AttributeSpec<T, false> => ({
  type,
  required: false,
  default: fallback,
})

type RequiredKeys<A> = { [N in keyof A]: A[N] extends AttributeSpec<AttributeType, true> ? N : never }[keyof A]
type TypeIn<S> = S extends AttributeSpec<infer T, boolean> ? AttributeTypes[T] : never

/** What a caller writes: required attributes must be there, others may. */
export type AttributesFrom<A> = { readonly [N in RequiredKeys<A>]: TypeIn<A[N]> } & {
  readonly [N in Exclude<keyof A, RequiredKeys<A>>]?: TypeIn<A[N]>
}

/** Least and most inputs or outputs that a list of names allows. */
export function arity(names: readonly string[]): { readonly min: number; readonly max: number } {
  const variadic = names.at(-1)?.endsWith('...') ?? false
  let min = 0
  names.forEach((name, i) => {
    if (!name.endsWith('?')) min = i + 1
  })
  return { min, max: variadic ? Number.POSITIVE_INFINITY : names.length }
}

/** True when position `index` must not be absent. */
export const isRequired = (names: readonly string[], index: number): boolean =>
  !(names[Math.min(index, names.length - 1)] ?? '?').endsWith('?')

/** Element types that hold real numbers. */
export const FLOAT_DTYPES: readonly DType[] = ['float32', 'float16', 'float64', 'bfloat16']

/** What a shape rule sees and gives: types of inputs, known contents of small integer tensors, attributes with defaults. */

import { type Dim, formatDims } from '../../core/dims.js'
import type { DType } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { broadcastShapes, unifyDims } from '../dims-algebra.js'
import { type AttributeTypes, FLOAT_DTYPES } from '../op-types.js'
import type { OPS, OpName } from '../ops.js'

/** Type of a value, and — for small integer tensors that come from constants or from shapes — what it holds. */
export interface Typed {
  readonly dtype: DType
  readonly dims: readonly Dim[]
  /** Elements, row-major. `[B, T, 64]` for the result of Shape. */
  readonly content?: readonly Dim[] | undefined
}

type Specs<K extends OpName> = (typeof OPS)[K]['attributes']

/** Attributes as a rule reads them: absent ones have their default, or are undefined when there is none. */
export type ResolvedAttributes<K extends OpName> = {
  readonly [N in keyof Specs<K>]: Specs<K>[N] extends { type: infer T extends keyof AttributeTypes; required: infer R }
    ? R extends true
      ? AttributeTypes[T]
      : AttributeTypes[T] | undefined
    : never
}

export interface RuleContext<K extends OpName = OpName> {
  readonly op: K
  /** Name of the node, for messages. */
  readonly name: string
  readonly inputs: readonly (Typed | undefined)[]
  readonly attributes: ResolvedAttributes<K>
  /** How many outputs the node has. */
  readonly outputs: number
  /** A new symbol for a size that only the run can tell. */
  readonly fresh: () => Dim
}

/** Types of all outputs that the operator can give, in order; the caller keeps those that the node has. */
export type ShapeRule<K extends OpName = OpName> = (context: RuleContext<K>) => readonly Typed[]

/** What the helpers below need of a context. */
export type Place = Pick<RuleContext, 'op' | 'name' | 'inputs'>

/** @throws M4Error `SHAPE_MISMATCH`: "MatMul layers.3/attn/q: expected …, got …." */
export function mismatch(place: Place, expected: string, got: string, hint?: string): never {
  throw new M4Error('SHAPE_MISMATCH', `${place.op} ${place.name}: expected ${expected}, got ${got}.`, {
    ...(hint ? { hint } : {}),
    details: { op: place.op, node: place.name, inputs: place.inputs.map((input) => input && formatType(input)) },
  })
}

export const formatType = (type: Typed): string => `${type.dtype}${formatDims(type.dims)}`

/** A required input. Presence was checked against the signature before the rule ran. */
export const input = (context: Place, index: number): Typed => context.inputs[index]!

export const present = (context: Place): Typed[] => context.inputs.filter((type) => type !== undefined)

/** All inputs given must have the dtype of the first; returns it. */
export function sameDtype(place: Place, ...types: readonly (Typed | undefined)[]): DType {
  const given = types.filter((type) => type !== undefined)
  const { dtype } = given[0]!
  for (const type of given)
    if (type.dtype !== dtype)
      mismatch(place, `one element type, ${dtype}`, given.map(formatType).join(' and '), 'Insert a Cast.')
  return dtype
}

export function wantDtype(place: Place, type: Typed, allowed: readonly DType[], what: string): void {
  if (!allowed.includes(type.dtype)) mismatch(place, `${what} as ${allowed.join(', ')}`, formatType(type))
}

export const wantFloat = (place: Place, type: Typed, what = 'input'): void => wantDtype(place, type, FLOAT_DTYPES, what)

export function wantRank(place: Place, type: Typed, ranks: readonly number[], what: string): void {
  if (!ranks.includes(type.dims.length))
    mismatch(place, `${what} of ${ranks.join(' or ')} dimensions`, formatDims(type.dims))
}

/** The size that two places must share; the better known of the two. */
export function wantSame(place: Place, expected: Dim, got: Dim, what: string): Dim {
  const dim = unifyDims(expected, got)
  return dim ?? mismatch(place, `${what} ${expected}`, String(got))
}

/** The whole shape of an input, `?` in `dims` meaning any size. */
export function wantDims(place: Place, type: Typed, dims: readonly Dim[], what: string): void {
  const fits = type.dims.length === dims.length && dims.every((dim, i) => unifyDims(dim, type.dims[i]!) !== undefined)
  if (!fits) mismatch(place, `${what} ${formatDims(dims)}`, formatDims(type.dims))
}

/** Shape of inputs broadcast together. */
export function broadcast(place: Place, ...types: readonly Typed[]): readonly Dim[] {
  const dims = broadcastShapes(...types.map((type) => type.dims))
  return (
    dims ?? mismatch(place, 'shapes that broadcast together', types.map((type) => formatDims(type.dims)).join(' and '))
  )
}

/** Axis counted from the front. `rank` itself is allowed where `inclusive`. */
export function normalAxis(place: Place, axis: number, rank: number, inclusive = false): number {
  const limit = inclusive ? rank + 1 : rank
  if (!Number.isInteger(axis) || axis < -limit || axis >= limit)
    mismatch(place, `an axis in ${-limit}…${limit - 1}`, String(axis))
  return axis < 0 ? axis + limit : axis
}

/** Axes held by an integer input: known numbers, or undefined when only the run knows them. */
export function knownIntegers(type: Typed | undefined): readonly number[] | undefined {
  const { content } = type ?? {}
  return content?.every((dim) => typeof dim === 'number') ? (content as readonly number[]) : undefined
}

/** As `knownIntegers`, but an unknown content is an error: the result's rank would be unknown. */
export function wantIntegers(place: Place, type: Typed, what: string): readonly number[] {
  return (
    knownIntegers(type) ??
    mismatch(place, `${what} that are known when the graph is built`, formatType(type), 'Give them as a constant.')
  )
}

/** Length of a 1-D tensor, known. */
export function wantLength(place: Place, type: Typed, what: string): number {
  wantRank(place, type, [1], what)
  const [length] = type.dims
  return typeof length === 'number' ? length : mismatch(place, `${what} of a known length`, formatDims(type.dims))
}

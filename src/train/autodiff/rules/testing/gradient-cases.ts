/** Which cases of the operator table are compared with finite differences, with respect to what, and which are not, and why. */

import type { OpName } from '../../../../graph/index.js'
import { GRADIENT_CASES } from '../../../../graph/testing/cases/training.js'
import { ALL_OP_CASES, type OpCase } from '../../../../graph/testing/op-cases.js'
import { GRADIENT_RULES } from '../../rules.js'
import { floatInputs, floatOutputs, opened } from './finite-differences.js'

export interface NamedCase {
  readonly op: OpName
  /** `Add: row` */
  readonly name: string
  readonly case: OpCase
}

const ADDED = Object.entries(GRADIENT_CASES).flatMap(([op, cases]) =>
  (cases as readonly OpCase[]).map((each) => ({ op: op as OpName, case: each })),
)
export const CASES: readonly NamedCase[] = [...ALL_OP_CASES, ...ADDED].map((each) => ({
  ...each,
  name: `${each.op}: ${each.case.name}`,
}))

/** Inputs whose gradient is refused. */
export const CONSTANT_INPUTS: { readonly [K in OpName]?: readonly number[] } = {
  Clip: [1, 2],
  Pad: [2],
  RotaryEmbedding: [2, 3],
  GroupQueryAttention: [7, 8],
}
/** Inputs that have no derivative at the numbers of the case. */
const UNDEFINED: Readonly<Record<string, readonly number[]>> = { 'Pow: scalar': [1] }
/** Only the first output has a gradient: the others are statistics. */
const STATISTICS: readonly OpName[] = ['LayerNormalization', 'SimplifiedLayerNormalization']

/** Settings of operators that their rules refuse, with a part of what they say. */
export const REFUSED: Readonly<Record<string, string>> = {
  'Pad: reflect': 'the mode is "reflect"',
  'GroupQueryAttention: softcap': 'its scores are capped',
  'GroupQueryAttention: int8 cache': 'its cache is quantised',
  'MultiHeadAttention: projection bias': 'it adds a projection bias',
}

/** Outputs that the sum is made of. */
export const heardOf = ({ op, case: opCase }: NamedCase): readonly number[] =>
  STATISTICS.includes(op) ? [0] : floatOutputs(op, opened(opCase))

/** Inputs whose gradients are compared. */
export const askedOf = ({ op, name, case: opCase }: NamedCase): readonly number[] =>
  floatInputs(opCase).filter((i) => !CONSTANT_INPUTS[op]?.includes(i) && !UNDEFINED[name]?.includes(i))

/** Why a case is not compared; undefined where it is. */
export function exclusion(each: NamedCase): string | undefined {
  const rule = GRADIENT_RULES[each.op]
  if (typeof rule !== 'function') return 'no gradient'
  if (REFUSED[each.name]) return 'refused'
  if (!floatInputs(each.case).length) return 'no float32 input with elements'
  return heardOf(each).length ? undefined : 'no float32 output'
}

const LENGTHS = 'its lengths are values of other inputs'
const TWICE = 'its indices would be named twice, and one of them wins'
/** Operators or cases whose gradient needs known sizes. */
export const KNOWN_SIZES: Readonly<Record<string, string>> = {
  'Conv: same': 'auto_pad',
  'Conv: same, strided': 'auto_pad',
}
/** Operators or cases whose attributes, constants or numbers fit their sizes alone. */
export const THESE_SIZES: Readonly<Record<string, string>> = {
  GroupQueryAttention: LENGTHS,
  'Reshape: run-time shape': 'the shape is an input',
  'Split: sizes': 'the sizes of the parts are constants',
  'Split: three, middle axis': 'the sizes of the parts are constants',
  'ScatterND: rows': TWICE,
  'ScatterND: two indices': TWICE,
  'ScatterND: elements': TWICE,
}
export const isListed = (list: Readonly<Record<string, string>>, { op, name }: NamedCase): boolean =>
  name in list || op in list
/**
 * With a past of known size ONNX Runtime infers the present to be as long (its buffers are shared in inference), and sums over it
 * cannot be differentiated: there only the first output is heard. With symbolic sizes all are.
 */
export const PAST_OF_KNOWN_SIZE: Readonly<Record<string, string>> = {
  'GroupQueryAttention: growing cache': 'past 2, present 5',
  'GroupQueryAttention: rotary': 'past 2, present 5',
  'GroupQueryAttention: one step, batch 2': 'past 2, present 3',
  'GroupQueryAttention: one key for all heads, one row behind a past': 'past 3, present 4',
}

/** Every case that is not compared: reason → operator → names. Operators without a gradient are not repeated case by case. */
export const NOT_COMPARED: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'no float32 input with elements': {
    Add: ['scalar int64', 'half'],
    Sub: ['scalar int64', 'half'],
    Mul: ['scalar int64', 'half'],
    Div: ['scalar int64', 'half'],
    Max: ['int32'],
    Neg: ['empty', 'int64'],
    Abs: ['empty', 'int32'],
    Sqrt: ['empty'],
    Exp: ['empty'],
    Log: ['empty'],
    Reciprocal: ['empty'],
    Sigmoid: ['empty'],
    Tanh: ['empty'],
    Relu: ['empty'],
    Cast: ['from bool', 'to int64'],
    Reshape: ['allowzero'],
    MatMul: ['from rank 0', 'half'],
  },
  'no float32 output': { Cast: ['to int32', 'to half'] },
  refused: {
    Pad: ['reflect'],
    GroupQueryAttention: ['softcap', 'int8 cache'],
    MultiHeadAttention: ['projection bias'],
  },
}

/** Operators without a gradient. */
export const WITHOUT_GRADIENT: readonly OpName[] = [
  'Round',
  'Floor',
  'Equal',
  'Less',
  'Not',
  'Shape',
  'Range',
  'DynamicQuantizeLinear',
  'DequantizeLinear',
  'MatMulInteger',
  'DynamicQuantizeMatMul',
  'MatMulNBits',
  'GatherBlockQuantized',
  'Unique',
]

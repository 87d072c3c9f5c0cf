/** Shape rules of operators that work element by element, of activations and of reductions. */

import type { Dim } from '../../core/dims.js'
import { addDims, divideExactly, mulDims, subDims } from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  broadcast,
  input,
  knownIntegers,
  mismatch,
  normalAxis,
  present,
  type RuleContext,
  type ShapeRule,
  sameDtype,
  type Typed,
  wantDtype,
  wantFloat,
} from './context.js'

/** Same type out as in; integers pass too. */
const sameAsInput: ShapeRule = (context) => [plain(input(context, 0))]

const floatSameAsInput: ShapeRule = (context) => {
  wantFloat(context, input(context, 0))
  return sameAsInput(context)
}

const plain = ({ dtype, dims }: Typed): Typed => ({ dtype, dims })

type DimFunction = (a: Dim, b: Dim) => Dim | undefined

/** Broadcasting arithmetic; `fold` keeps the content of shape tensors known. */
const arithmetic =
  (fold?: DimFunction): ShapeRule =>
  (context) => {
    const [a, b] = [input(context, 0), input(context, 1)]
    return [
      { dtype: sameDtype(context, a, b), dims: broadcast(context, a, b), content: fold && foldContent(a, b, fold) },
    ]
  }

function foldContent(a: Typed, b: Typed, fold: DimFunction): readonly Dim[] | undefined {
  if (!a.content || !b.content || a.dims.length > 1 || b.dims.length > 1) return undefined
  const length = a.content.length === 1 ? b.content.length : a.content.length
  const out: Dim[] = []
  for (let i = 0; i < length; i++) {
    const dim = fold(a.content[a.content.length === 1 ? 0 : i]!, b.content[b.content.length === 1 ? 0 : i]!)
    if (dim === undefined) return undefined
    out.push(dim)
  }
  return out
}

/** Integer division truncates towards zero; negative numbers do not occur in shapes and stay unknown. */
const divide: DimFunction = (a, b) =>
  typeof a === 'number' && typeof b === 'number'
    ? a >= 0 && b > 0
      ? Math.floor(a / b)
      : undefined
    : divideExactly(a, b)

const compare: ShapeRule = (context) => {
  sameDtype(context, input(context, 0), input(context, 1))
  return [{ dtype: 'bool', dims: broadcast(context, input(context, 0), input(context, 1)) }]
}

const variadic: ShapeRule = (context) => {
  const types = present(context)
  return [{ dtype: sameDtype(context, ...types), dims: broadcast(context, ...types) }]
}

const clip: ShapeRule = (context) => {
  sameDtype(context, ...context.inputs)
  for (const bound of context.inputs.slice(1))
    if (bound && bound.dims.length !== 0) mismatch(context, 'scalar bounds', `${bound.dims.length} dimensions`)
  return sameAsInput(context)
}

const not: ShapeRule = (context) => {
  wantDtype(context, input(context, 0), ['bool'], 'input')
  return sameAsInput(context)
}

const where: ShapeRule<'Where'> = (context) => {
  const [condition, x, y] = [input(context, 0), input(context, 1), input(context, 2)]
  wantDtype(context, condition, ['bool'], 'condition')
  return [{ dtype: sameDtype(context, x, y), dims: broadcast(context, condition, x, y) }]
}

const power: ShapeRule<'Pow'> = (context) => [
  { dtype: input(context, 0).dtype, dims: broadcast(context, input(context, 0), input(context, 1)) },
]

const softmax: ShapeRule<'Softmax'> = (context) => {
  normalAxis(context, context.attributes.axis!, input(context, 0).dims.length)
  return floatSameAsInput(context as RuleContext)
}

/** Opset 18: axes are an input. Absent or empty axes mean all, or none when `noop_with_empty_axes`. */
const reduce: ShapeRule<'ReduceSum'> = (context) => {
  const [data, axesInput] = [input(context, 0), context.inputs[1]]
  const { keepdims, noop_with_empty_axes: noop } = context.attributes
  const given = axesInput ? knownIntegers(axesInput) : []
  if (!given) {
    if (!keepdims) mismatch(context, 'axes that are known when the graph is built', 'a computed tensor')
    return [{ dtype: data.dtype, dims: data.dims.map(() => context.fresh()) }]
  }
  if (given.length === 0 && noop) return [plain(data)]
  const rank = data.dims.length
  const axes = new Set(given.length ? given.map((axis) => normalAxis(context, axis, rank)) : data.dims.keys())
  const dims = keepdims ? data.dims.map((dim, i) => (axes.has(i) ? 1 : dim)) : data.dims.filter((_, i) => !axes.has(i))
  return [{ dtype: data.dtype, dims }]
}

const reduceAny = reduce as unknown as ShapeRule

export const ELEMENTWISE_RULES = {
  Add: arithmetic(addDims),
  Sub: arithmetic(subDims),
  Mul: arithmetic(mulDims),
  Div: arithmetic(divide),
  Pow: power,
  Max: variadic,
  Min: variadic,
  Neg: sameAsInput,
  Abs: sameAsInput,
  Sqrt: floatSameAsInput,
  Exp: floatSameAsInput,
  Log: floatSameAsInput,
  Round: floatSameAsInput,
  Floor: floatSameAsInput,
  Reciprocal: floatSameAsInput,
  Clip: clip,
  Equal: compare,
  Less: compare,
  Not: not,
  Where: where,
  ReduceMax: reduceAny,
  ReduceMean: reduceAny,
  ReduceSum: reduceAny,
  Sigmoid: floatSameAsInput,
  Tanh: floatSameAsInput,
  Relu: sameAsInput,
  Gelu: floatSameAsInput,
  QuickGelu: floatSameAsInput,
  Softmax: softmax,
} as const satisfies { [K in OpName]?: ShapeRule<K> | ShapeRule }

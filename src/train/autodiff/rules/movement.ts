/** Gradients of shape and movement: each element's gradient goes back to where the element came from. */

import { DTYPES } from '../../../core/dtypes.js'
import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { filled, fromFront, frontIndices, noGradient, numbersTo, reshapeLike, sizesOf, sumTo } from './like.js'

const whole = { reason: 'its result is made of whole numbers' }

const back: Backward<never> = ({ scope, inputs, dys }: Parameters<Backward>[0]) => [
  reshapeLike(scope, dys[0]!, inputs[0]!),
]

/** Half-precision weights are frozen, and gradients are never halves: they would underflow. */
const cast: Backward<'Cast'> = ({ node, inputs, outputs, dys }) => {
  if (inputs[0]!.dtype !== 'float32' || outputs[0]!.dtype !== 'float32')
    throw noGradient(
      node,
      `${inputs[0]!.dtype} to ${outputs[0]!.dtype}; what is trained, and all behind it, is float32`,
    )
  return [dys[0]]
}

const transpose: Backward<'Transpose'> = ({ scope, attributes, inputs, dys }) => {
  const rank = inputs[0]!.dims.length
  const perm = attributes.perm ?? Array.from({ length: rank }, (_, i) => rank - 1 - i)
  const inverse = perm.map((_, i) => perm.indexOf(i))
  return [scope.op('Transpose', [dys[0]!], { perm: inverse })]
}

const concat: Backward<'Concat'> = ({ scope, attributes, inputs, dys, wanted, integers }) => {
  const parts = inputs as readonly Value[]
  const axis = fromFront(attributes.axis, parts[0]!.dims.length)
  let start = scope.int64([0])
  return parts.map((part, i) => {
    const end = sumOf(scope, integers, start, sizesOf(scope, part, [axis]))
    const slice = wanted[i] ? scope.op('Slice', [dys[0]!, start, end, scope.int64([axis])]) : undefined
    start = end
    return slice
  })
}

/** a + b, a constant where both are. */
function sumOf(scope: Scope, integers: RuleContext['integers'], a: Value, b: Value): Value {
  const [known, more] = [integers(a), integers(b)]
  return known && more ? scope.int64(known.map((each, i) => each + more[i]!)) : scope.op('Add', [a, b])
}

/** Parts that nothing depends on count as zeros. */
const split: Backward<'Split'> = ({ scope, attributes, outputs, dys }) => {
  const parts = outputs.map((part, i) => dys[i] ?? filled(scope, part!))
  return [scope.op('Concat', parts, { axis: attributes.axis! })]
}

/** Zeros around dy; a slice with steps also leaves gaps. */
const slice: Backward<'Slice'> = ({ scope, inputs, dys, integers }) => {
  const [x, starts, , axesInput, stepsInput] = inputs as [Value, Value, Value, Value?, Value?]
  const dy = dys[0]!
  const steps = stepsInput && (integers(stepsInput) ?? [0])
  if (steps?.some((step) => step !== 1)) return [scatterSlice(scope, x, inputs as readonly Value[], dy)]
  const axes = axesInput ? integers(axesInput)! : Array.from({ length: starts.dims[0] as number }, (_, i) => i)
  const places = axes.map((axis) => fromFront(axis, x.dims.length))
  const [size, kept, begin] = [sizesOf(scope, x, places), sizesOf(scope, dy, places), integers(starts)]
  const [sizes, keeps] = [integers(size), integers(kept)]
  if (begin && sizes && keeps) {
    const before = begin.map((at, i) => Math.min(Math.max(fromFront(at, sizes[i]!), 0), sizes[i]! - keeps[i]!))
    const behind = before.map((at, i) => sizes[i]! - keeps[i]! - at)
    return [padded(scope, dy, scope.int64([...before, ...behind]), places)]
  }
  const zero = scope.int64([0])
  const before = begin?.every((at) => at === 0)
    ? scope.int64(begin.map(() => 0))
    : scope.op('Max', [scope.op('Min', [frontIndices(scope, starts, size), size]), zero])
  const behind = scope.op('Sub', [scope.op('Sub', [size, before]), kept])
  return [padded(scope, dy, scope.op('Concat', [before, behind], { axis: 0 }), places)]
}

const padded = (scope: Scope, x: Value, pads: Value, axes: readonly number[]): Value =>
  scope.op('Pad', [x, pads, scope.float32(0), scope.int64([...axes])])

/** Element numbers of x, sliced alike, tell where each gradient belongs. */
function scatterSlice(scope: Scope, x: Value, inputs: readonly Value[], dy: Value): Value {
  const shape = scope.op('Shape', [x])
  const count = scope.op('Shape', [scope.op('Reshape', [x, scope.int64([-1])])])
  const places = scope.op('Slice', [scope.op('Reshape', [numbersTo(scope, count), shape]), ...inputs.slice(1)])
  const rows = scope.op('Reshape', [places, scope.int64([-1, 1])])
  const zeros = scope.op('Expand', [scope.float32(0), count])
  const flat = scope.op('ScatterND', [zeros, rows, scope.op('Reshape', [dy, scope.int64([-1])])])
  return scope.op('Reshape', [flat, shape])
}

/**
 * Rows may be named many times, so their gradients are added. ONNX Runtime's ScatterND with reduction races on them when it has
 * more than one thread; ScatterElements adds one after the other. Along an inner axis (picked tokens) a product with a one-hot
 * matrix is faster, and as exact.
 */
const gather: Backward<'Gather'> = ({ scope, attributes, inputs, dys }) => {
  const [data, indices] = inputs as [Value, Value]
  const axis = fromFront(attributes.axis!, data.dims.length)
  const size = sizesOf(scope, data, [axis])
  const ids = frontIndices(scope, scope.op('Reshape', [indices, scope.int64([-1])]), size) // [N]
  if (axis > 0) return [oneHotGather(scope, data, ids, size, axis, dys[0]!)]
  const rest = Array.from({ length: data.dims.length - 1 }, (_, i) => i + 1)
  const tail = rest.length ? [sizesOf(scope, data, rest)] : []
  const shape = scope.op('Concat', [scope.op('Shape', [ids]), ...tail], { axis: 0 })
  const rows = scope.op('Reshape', [dys[0]!, shape]) // [N, ...]
  const column = rest.length ? scope.op('Unsqueeze', [ids, scope.int64(rest)]) : ids
  const places = scope.op('Expand', [column, shape])
  return [
    (accumulated) =>
      scope.op('ScatterElements', [accumulated ?? filled(scope, data), places, rows], { axis: 0, reduction: 'add' }),
  ]
}

/** dy [before, N, after] → [before, A, after]: each row to the place that it was taken from. */
function oneHotGather(scope: Scope, data: Value, ids: Value, size: Value, axis: number, dy: Value): Value {
  const before = Array.from({ length: axis }, (_, i) => i)
  const places = scope.op('Unsqueeze', [numbersTo(scope, size), scope.int64([1])]) // [A, 1]
  const hot = scope.op('Cast', [scope.op('Equal', [places, ids])], { to: DTYPES.float32.onnx }) // [A, N]
  const shape = scope.op('Concat', [sizesOf(scope, data, before), scope.op('Shape', [ids]), scope.int64([-1])], {
    axis: 0,
  })
  return reshapeLike(scope, scope.op('MatMul', [hot, scope.op('Reshape', [dy, shape])]), data)
}

/** Cut again what was added, and give zeros for what was cut. */
const pad: Backward<'Pad'> = ({ scope, node, attributes, inputs, dys, wanted, integers }) => {
  const [x, pads, , axesInput] = inputs as [Value, Value, Value?, Value?]
  if (attributes.mode !== 'constant') throw noGradient(node, `the mode is "${attributes.mode}"`)
  if (wanted[2]) throw noGradient(node, 'the number that is filled in is a constant')
  const known = integers(pads)
  const negative = known ? scope.int64(known.map((each) => -each)) : scope.op('Neg', [pads])
  const axes = axesInput ? integers(axesInput)! : x.dims.map((_, i) => i)
  return [padded(scope, dys[0]!, negative, axes)]
}

const gatherElements: Backward<'GatherElements'> = ({ scope, attributes, inputs, dys }) => {
  const [data, indices] = inputs as [Value, Value]
  return [
    (accumulated) =>
      scope.op('ScatterElements', [accumulated ?? filled(scope, data), indices, dys[0]!], {
        axis: attributes.axis!,
        reduction: 'add',
      }),
  ]
}

const replaceOrAdd = ({ node, attributes }: RuleContext<'ScatterND' | 'ScatterElements'>): boolean => {
  if (attributes.reduction !== 'none' && attributes.reduction !== 'add')
    throw noGradient(node, `the reduction is "${attributes.reduction}"`)
  return attributes.reduction === 'add'
}

const scatterElements: Backward<'ScatterElements'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [, indices, updates] = inputs as [Value, Value, Value]
  const axis = attributes.axis!
  const rest = () =>
    replaceOrAdd(context) ? dys[0]! : scope.op('ScatterElements', [dys[0]!, indices, filled(scope, updates)], { axis })
  return [
    wanted[0] ? rest() : undefined,
    undefined,
    wanted[2] ? scope.op('GatherElements', [dys[0]!, indices], { axis }) : undefined,
  ]
}

const scatterNd: Backward<'ScatterND'> = (context) => {
  const { scope, inputs, dys, wanted } = context
  const [data, indices, updates] = inputs as [Value, Value, Value]
  const added = replaceOrAdd(context)
  const rest = () => (added ? dys[0]! : scope.op('ScatterND', [dys[0]!, indices, filled(scope, updates)]))
  return [
    wanted[0] ? rest() : undefined,
    undefined,
    wanted[2] ? gatherNd(scope, dys[0]!, indices, data, updates) : undefined,
  ]
}

/** Rows of `x` [s₀, …, sₙ₋₁, ...] that `indices` [..., n] names: the n axes as one, (i₀·s₁ + i₁)·s₂ + …. */
function gatherNd(scope: Scope, x: Value, indices: Value, like: Value, updates: Value): Value {
  const depth = indices.dims.at(-1) as number
  const column = (at: number) =>
    frontIndices(
      scope,
      scope.op('Gather', [indices, scope.int64(at)], { axis: -1 }),
      scope.op('Squeeze', [sizesOf(scope, like, [at]), scope.int64([0])]),
    )
  let place = column(0)
  for (let at = 1; at < depth; at++)
    place = scope.op('Add', [scope.op('Mul', [place, sizesOf(scope, like, [at])]), column(at)])
  if (depth === 1) return scope.op('Gather', [x, place], { axis: 0 })
  const behind = Array.from({ length: like.dims.length - depth }, (_, i) => i + depth)
  const rest = behind.length ? [sizesOf(scope, like, behind)] : []
  const flat = scope.op('Reshape', [x, scope.op('Concat', [scope.int64([-1]), ...rest], { axis: 0 })])
  return reshapeLike(scope, scope.op('Gather', [flat, place], { axis: 0 }), updates)
}

export const MOVEMENT_GRADIENTS = {
  Identity: back,
  Cast: cast,
  Shape: whole,
  Reshape: back,
  Transpose: transpose,
  Unsqueeze: back,
  Squeeze: back,
  Expand: ({ scope, inputs, dys }) => [sumTo(scope, dys[0]!, inputs[0]!)],
  Concat: concat,
  Split: split,
  Slice: slice,
  Gather: gather,
  Pad: pad,
  Range: { reason: 'its length depends on its inputs' },
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  Unique: whole,
} as const satisfies { [K in OpName]?: GradientRule<K> }

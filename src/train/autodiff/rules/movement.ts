/** Gradients of shape and movement: each element's gradient goes back to where the element came from. */

import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule } from '../types.js'
import { filled, reshapeLike, sumTo } from './like.js'

const whole = { reason: 'its result is made of whole numbers' }

const back: Backward<never> = ({ scope, inputs, dys }: Parameters<Backward>[0]) => [
  reshapeLike(scope, dys[0]!, inputs[0]!),
]

const cast: Backward<'Cast'> = ({ scope, inputs, dys }) => {
  const { dtype } = inputs[0]!
  if (dtype !== 'float32') return []
  return [scope.op('Identity', [dys[0]!])]
}

const transpose: Backward<'Transpose'> = ({ scope, attributes, inputs, dys }) => {
  const rank = inputs[0]!.dims.length
  const perm = attributes.perm ?? Array.from({ length: rank }, (_, i) => rank - 1 - i)
  const inverse = perm.map((_, i) => perm.indexOf(i))
  return [scope.op('Transpose', [dys[0]!], { perm: inverse })]
}

const concat: Backward<'Concat'> = ({ scope, attributes, inputs, dys, wanted }) => {
  const parts = inputs as readonly Value[]
  const axis = attributes.axis < 0 ? attributes.axis + parts[0]!.dims.length : attributes.axis
  const one = scope.int64([1])
  const sizes = parts.map(({ dims }, i) => {
    const size = dims[axis]!
    return typeof size === 'number'
      ? scope.int64([size])
      : scope.op('Shape', [parts[i]], { start: axis, end: axis + 1 })
  })
  let start = scope.int64([0])
  return parts.map((_, i) => {
    const end = scope.op('Add', [start, sizes[i]])
    const slice = wanted[i] ? scope.op('Slice', [dys[0]!, start, end, scope.int64([axis]), one]) : undefined
    start = end
    return slice
  })
}

/** Parts that nothing depends on count as zeros. */
const split: Backward<'Split'> = ({ scope, attributes, outputs, dys }) => {
  const parts = outputs.map((part, i) => dys[i] ?? filled(scope, part!))
  return [scope.op('Concat', parts, { axis: attributes.axis! })]
}

/** Zeros around dy (and between its elements where the slice had steps). */
const slice: Backward<'Slice'> = ({ scope, inputs, dys, integers }) => {
  const [x, starts, , axesInput, stepsInput] = inputs as [Value, Value, Value, Value?, Value?]
  const rank = x.dims.length
  const steps = stepsInput ? integers(stepsInput) : undefined
  if (steps?.some((step) => step !== 1)) return [scatterSlice(scope, x, inputs as readonly Value[], dys[0]!)]
  const axes = (axesInput ? integers(axesInput)! : Array.from({ length: rank }, (_, i) => i)).map((axis) =>
    axis < 0 ? axis + rank : axis,
  )
  // Pads per axis from the run's own sizes: starts may be negative, ends may lie beyond.
  const size = scope.op('Gather', [scope.op('Shape', [x]), scope.int64(axes)], { axis: 0 })
  const begin = normal(scope, starts, size)
  const kept = scope.op('Gather', [scope.op('Shape', [dys[0]!]), scope.int64(axes)], { axis: 0 })
  const behind = scope.op('Sub', [scope.op('Sub', [size, begin]), kept])
  const pads = scope.op('Concat', [begin, behind], { axis: 0 })
  return [scope.op('Pad', [dys[0]!, pads, scope.float32(0), scope.int64(axes)], {})]
}

/** Places counted from the front, within the axis. */
function normal(scope: Scope, places: Value, size: Value): Value {
  const negative = scope.op('Less', [places, scope.int64([0])])
  const front = scope.op('Where', [negative, scope.op('Add', [places, size]), places])
  return scope.op('Max', [scope.op('Min', [front, size]), scope.int64([0])])
}

/** Element numbers of x, sliced alike, tell where each gradient belongs. */
function scatterSlice(scope: Scope, x: Value, inputs: readonly Value[], dy: Value): Value {
  const shape = scope.op('Shape', [x])
  const count = scope.op('Shape', [scope.op('Reshape', [x, scope.int64([-1])])])
  const limit = scope.op('Squeeze', [count, scope.int64([0])])
  const numbers = scope.op('Range', [scope.int64(0), limit, scope.int64(1)])
  const places = scope.op('Slice', [scope.op('Reshape', [numbers, shape]), ...inputs.slice(1)])
  const rows = scope.op('Reshape', [places, scope.int64([-1, 1])])
  const zeros = scope.op('Expand', [scope.float32(0), count])
  const flat = scope.op('ScatterND', [zeros, rows, scope.op('Reshape', [dy, scope.int64([-1])])])
  return scope.op('Reshape', [flat, shape])
}

/**
 * Scatter-add along axis 0. ONNX Runtime's ScatterND with reduction races on rows named twice, so equal rows are added first:
 * a one-hot product [U, rows]·dy, then a scatter of rows that are all different. Several axes: axis 0 is brought to the front.
 */
const gather: Backward<'Gather'> = ({ scope, attributes, inputs, dys }) => {
  const [data, indices] = inputs as [Value, Value]
  const rank = data.dims.length
  const axis = attributes.axis! < 0 ? attributes.axis! + rank : attributes.axis!
  const toFront = (x: Value, at: number, count: number) => {
    if (at === 0) return x
    const all = x.dims.map((_, i) => i)
    const moved = all.splice(at, count)
    return scope.op('Transpose', [x], { perm: [...moved, ...all] })
  }
  // dy [..before, ..indices, ..after] → [indices, before·after]
  const front = toFront(dys[0]!, axis, indices.dims.length)
  const flatIndices = scope.op('Reshape', [indices, scope.int64([-1])])
  const size =
    typeof data.dims[axis] === 'number'
      ? scope.int64([data.dims[axis] as number])
      : scope.op('Shape', [data], { start: axis, end: axis + 1 })
  const wrapped = scope.op('Where', [
    scope.op('Less', [flatIndices, scope.int64([0])]),
    scope.op('Add', [flatIndices, scope.op('Cast', [size], { to: indices.dtype === 'int32' ? 6 : 7 })]),
    flatIndices,
  ])
  const ids = indices.dtype === 'int64' ? wrapped : scope.op('Cast', [wrapped], { to: 7 })
  const rest = scope.op('Concat', [scope.op('Shape', [flatIndices]), scope.int64([-1])], { axis: 0 })
  const rows = scope.op('Reshape', [front, rest]) // [N, M]
  const [unique, , inverse] = scope.ops('Unique', [ids], {}, ['unique', undefined, 'inverse'])
  const count = scope.op('Squeeze', [scope.op('Shape', [unique]), scope.int64([0])])
  const numbers = scope.op('Unsqueeze', [scope.op('Range', [scope.int64(0), count, scope.int64(1)]), scope.int64([1])])
  const hot = scope.op('Cast', [scope.op('Equal', [numbers, inverse!])], { to: 1 }) // [U, N]
  const sums = scope.op('MatMul', [hot, rows]) // [U, M]
  const places = scope.op('Unsqueeze', [unique!, scope.int64([1])])
  return [
    (accumulated) => {
      if (axis === 0 && rank >= 1) {
        const base = accumulated ?? filled(scope, data)
        const shaped = scope.op('Reshape', [
          sums,
          scope.op('Concat', [scope.op('Shape', [unique!]), tail(scope, data)], { axis: 0 }),
        ])
        const updates = accumulated
          ? scope.op('Add', [scope.op('Gather', [accumulated, unique!], { axis: 0 }), shaped])
          : shaped
        return scope.op('ScatterND', [base, places, updates])
      }
      // [axis, before·after] → data's own order
      const frontDims = toFrontShape(scope, data, axis)
      const zeros = scope.op('Expand', [scope.float32(0), frontDims])
      const shaped = scope.op('Reshape', [
        sums,
        scope.op(
          'Concat',
          [scope.op('Shape', [unique!]), scope.op('Slice', [frontDims, scope.int64([1]), scope.int64([rank])])],
          { axis: 0 },
        ),
      ])
      const scattered = scope.op('ScatterND', [zeros, places, shaped])
      const perm = Array.from({ length: rank }, (_, i) => (i < axis ? i + 1 : i === axis ? 0 : i))
      const own = scope.op('Transpose', [scattered], { perm })
      return accumulated ? scope.op('Add', [accumulated, own]) : own
    },
  ]
}

const tail = (scope: Scope, data: Value): Value => scope.op('Shape', [data], { start: 1 })

function toFrontShape(scope: Scope, data: Value, axis: number): Value {
  const order = data.dims.map((_, i) => i)
  order.splice(axis, 1)
  return scope.op('Gather', [scope.op('Shape', [data]), scope.int64([axis, ...order])], { axis: 0 })
}

const pad: Backward<'Pad'> = ({ scope, attributes, inputs, dys, wanted, integers }) => {
  const [x, pads, , axesInput] = inputs as [Value, Value, Value?, Value?]
  if (attributes.mode !== 'constant' || wanted[2]) return []
  const rank = x.dims.length
  const axes = axesInput ? integers(axesInput)! : Array.from({ length: rank }, (_, i) => i)
  const before = scope.op('Slice', [pads, scope.int64([0]), scope.int64([axes.length])])
  const size = scope.op(
    'Gather',
    [scope.op('Shape', [x]), scope.int64(axes.map((axis) => (axis < 0 ? axis + rank : axis)))],
    { axis: 0 },
  )
  const end = scope.op('Add', [before, size])
  return [scope.op('Slice', [dys[0]!, before, end, scope.int64([...axes])])]
}

const gatherElements: Backward<'GatherElements'> = ({ scope, attributes, inputs, dys }) => {
  const [data, indices] = inputs as [Value, Value]
  // One index a row, as losses use it: no row is named twice, so a plain scatter is exact.
  const axis = attributes.axis! < 0 ? attributes.axis! + data.dims.length : attributes.axis!
  if (indices.dims[axis] !== 1) return []
  return [scope.op('ScatterElements', [filled(scope, data), indices, dys[0]!], { axis })]
}

const scatterElements: Backward<'ScatterElements'> = ({ scope, attributes, inputs, dys, wanted }) => {
  const [, indices, updates] = inputs as [Value, Value, Value]
  if (attributes.reduction !== 'none') return []
  return [
    wanted[0]
      ? scope.op('ScatterElements', [dys[0]!, indices, filled(scope, updates)], { axis: attributes.axis! })
      : undefined,
    undefined,
    wanted[2] ? scope.op('GatherElements', [dys[0]!, indices], { axis: attributes.axis! }) : undefined,
  ]
}

const scatterNd: Backward<'ScatterND'> = ({ scope, attributes, inputs, dys, wanted }) => {
  const [, indices, updates] = inputs as [Value, Value, Value]
  if (attributes.reduction !== 'none' || indices.dims.at(-1) !== 1) return []
  const rows = scope.op('Squeeze', [indices, scope.int64([-1])])
  return [
    wanted[0] ? scope.op('ScatterND', [dys[0]!, indices, filled(scope, updates)]) : undefined,
    undefined,
    wanted[2] ? scope.op('Gather', [dys[0]!, rows], { axis: 0 }) : undefined,
  ]
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
  Range: whole,
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  Unique: whole,
} as const satisfies { [K in OpName]?: GradientRule<K> }

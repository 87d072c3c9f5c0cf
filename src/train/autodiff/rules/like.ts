/** Gradients must have the shape of what they are gradients of: sums over broadcast axes, reshapes to a shape that may be symbolic. */

import { DTYPES } from '../../../core/dtypes.js'
import { M4Error } from '../../../core/errors.js'
import { type GraphNode, type Scope, sameDim, type Value } from '../../../graph/index.js'

/** A gradient that this version does not have, said when it is asked for. */
export const noGradient = (node: GraphNode, why: string): M4Error =>
  new M4Error('NOT_AVAILABLE', `${node.op} ${node.name} has no gradient here: ${why}.`, {
    hint: 'Train parameters behind it, or leave it out of the path to the loss.',
    details: { op: node.op, node: node.name },
  })

/** Axis counted from the front. */
export const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

/** Sum of `dy` over the axes along which `like` was broadcast. */
export function sumTo(scope: Scope, dy: Value, like: Value): Value {
  const extra = dy.dims.length - like.dims.length
  const axes = dy.dims.flatMap((dim, i) => (i < extra || (like.dims[i - extra] === 1 && dim !== 1) ? [i] : []))
  if (!axes.length) return dy
  const summed = scope.op('ReduceSum', [dy, scope.int64(axes)], { keepdims: extra > 0 ? 0 : 1 })
  return extra > 0 ? reshapeLike(scope, summed, like) : summed
}

/** `x` in the shape of `like`, which has as many elements. */
export function reshapeLike(scope: Scope, x: Value, like: Value): Value {
  if (x.dims.length === like.dims.length && x.dims.every((dim, i) => sameDim(dim, like.dims[i]!))) return x
  return scope.op('Reshape', [x, shapeOf(scope, like)])
}

/** The shape of `value` as an int64 list: a constant where at most one size is open, else read at run time. */
function shapeOf(scope: Scope, value: Value): Value {
  const symbolic = value.dims.filter((dim) => typeof dim !== 'number').length
  if (symbolic > 1 || value.dims.includes(0)) return scope.op('Shape', [value])
  const dims = value.dims.map((dim) => (typeof dim === 'number' ? dim : -1))
  return scope.int64(dims, [dims.length])
}

/** Sizes of `value` along `axes` as an int64 list: a constant where all are known, else read at run time. */
export function sizesOf(scope: Scope, value: Value, axes: readonly number[]): Value {
  const dims = axes.map((axis) => value.dims[axis]!)
  if (dims.every((dim) => typeof dim === 'number')) return scope.int64(dims, [dims.length])
  if (axes.length === 1) return scope.op('Shape', [value], { start: axes[0]!, end: axes[0]! + 1 })
  return scope.op('Gather', [scope.op('Shape', [value]), scope.int64([...axes])], { axis: 0 })
}

/** How many elements lie along `axes`, as a float32 scalar. */
export function countOf(scope: Scope, value: Value, axes: readonly number[]): Value {
  let known = 1
  const open: number[] = []
  for (const axis of axes) {
    const size = value.dims[axis]!
    if (typeof size === 'number') known *= size
    else open.push(axis)
  }
  return open.reduce<Value>((product, axis) => {
    const size = scope.op('Squeeze', [sizesOf(scope, value, [axis]), scope.int64([0])])
    return scope.op('Mul', [product, scope.op('Cast', [size], { to: DTYPES.float32.onnx })])
  }, scope.float32(known))
}

/** Zeros (or another number) in the shape of `like`. */
export const filled = (scope: Scope, like: Value, number = 0): Value =>
  scope.op('Expand', [scope.float32(number), scope.op('Shape', [like])])

/** 0, 1, 2, … up to `count` (int64 [1]) less one. int64 [count] */
export const numbersTo = (scope: Scope, count: Value): Value =>
  scope.op('Range', [scope.int64(0), scope.op('Squeeze', [count, scope.int64([0])]), scope.int64(1)])

/** int64 [...] in place of indices that may be int32 and count from the back: all from the front of an axis of `size` (int64 [1]). */
export function frontIndices(scope: Scope, indices: Value, size: Value): Value {
  const ids = indices.dtype === 'int64' ? indices : scope.op('Cast', [indices], { to: DTYPES.int64.onnx })
  const negative = scope.op('Less', [ids, scope.int64([0])])
  return scope.op('Where', [negative, scope.op('Add', [ids, size]), ids])
}

/** `x` [..., C] as [rows, C]. */
export const asRows = (scope: Scope, x: Value): Value => {
  if (x.dims.length === 2) return x
  const width = sizesOf(scope, x, [x.dims.length - 1])
  return scope.op('Reshape', [x, scope.op('Concat', [scope.int64([-1]), width], { axis: 0 })])
}

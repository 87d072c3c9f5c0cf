/** Gradients must have the shape of what they are gradients of: sums over broadcast axes, reshapes to a shape that may be symbolic. */

import { type Scope, sameDim, type Value } from '../../../graph/index.js'

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
export function shapeOf(scope: Scope, value: Value): Value {
  const symbolic = value.dims.filter((dim) => typeof dim !== 'number').length
  if (symbolic === 0) return scope.int64(value.dims as number[], [value.dims.length])
  if (symbolic === 1 && !value.dims.includes(0))
    return scope.int64(
      value.dims.map((dim) => (typeof dim === 'number' ? dim : -1)),
      [value.dims.length],
    )
  return scope.op('Shape', [value])
}

/** Zeros (or another number) in the shape of `like`. */
export const filled = (scope: Scope, like: Value, number = 0): Value =>
  scope.op('Expand', [scope.float32(number), scope.op('Shape', [like])])

/** `x` [..., C] as [rows, C]. */
export const asRows = (scope: Scope, x: Value, columns: number | string): Value => {
  if (x.dims.length === 2) return x
  const width = typeof columns === 'number' ? columns : 0
  if (width > 0) return scope.op('Reshape', [x, scope.int64([-1, width])])
  const last = scope.op('Shape', [x], { start: -1 })
  return scope.op('Reshape', [x, scope.op('Concat', [scope.int64([-1]), last], { axis: 0 })])
}

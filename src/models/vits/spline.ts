/**
 * Inverse of a monotonic rational-quadratic spline, the identity outside [-bound, bound]. Bins are found without a search: each
 * value is compared with the inner knots, and one product with 0s and 1s picks what belongs to its bin, exactly.
 *
 * @paper arXiv:1906.04032 §3.1 and appendix A (inverse) · @reference jaywalnut310/vits@2e561ba:transforms.py
 */

import type { Scope, Value } from '../../graph/index.js'
import { clamp } from '../clamp.js'
import { isAbove, positive } from './layers.js'

/** The least width and height of a bin, as a share of all, and the least derivative at a knot. */
const LEAST_BIN = 1e-3
const LEAST_DERIVATIVE = 1e-3

export interface SplineShape {
  readonly bins: number
  readonly bound: number
  /** What widths and heights are divided by before the softmax. */
  readonly divisor: number
}

/** x [1, T, 1] and parameters [1, T, 3·bins - 1] (widths, heights, inner derivatives) → [1, T, 1] */
export function inverseSpline(scope: Scope, x: Value, parameters: Value, { bins, bound, divisor }: SplineShape): Value {
  const op = scope.op.bind(scope)
  const knots = bins + 1
  const inside = clamp(scope, x, -bound, bound, 'inside')

  const [sizes, slopes] = scope.ops('Split', [parameters, scope.int64([2 * bins, bins - 1])], { axis: 2 }, [
    'sizes',
    'slopes',
  ])
  const pair = op('Reshape', [sizes!, scope.int64([0, 0, 2, bins])], {}, 'pair') // widths, heights
  const shares = op('Softmax', [op('Mul', [pair, scope.float32(1 / divisor)], {}, 'scaled')], {}, 'shares')
  // Knot j: -bound + 2·bound·(sum of the j bins before it); the last is the bound itself, not a sum.
  const sums = matrix(bins, knots, (bin, knot) => (bin < knot && knot < bins ? 2 * bound * (1 - LEAST_BIN * bins) : 0))
  const starts = Array.from({ length: knots }, (_, j) => (j === bins ? bound : -bound + 2 * bound * LEAST_BIN * j))
  const placed = op('MatMul', [shares, scope.float32(sums, [bins, knots])], {}, 'placed')
  const corners = op('Add', [placed, scope.float32(starts)], {}, 'corners') // [1, T, 2, knots]

  const rising = op('Add', [softplus(scope, slopes!), scope.float32(LEAST_DERIVATIVE)], {}, 'rising')
  // Both ends have the slope of the identity that goes on there.
  const ends = op('Pad', [rising, scope.int64([0, 0, 1, 0, 0, 1]), scope.float32(1)], {}, 'derivatives')
  const derivatives = op('Reshape', [ends, scope.int64([0, 0, 1, knots])], {}, 'derivativeRow')
  const table = op('Concat', [corners, derivatives], { axis: 2 }, 'table') // [1, T, 3, knots]

  const inner = op('Slice', [corners, scope.int64([1, 1]), scope.int64([2, bins]), scope.int64([2, 3])], {}, 'inner')
  const levels = op('Reshape', [inner, scope.int64([0, 0, bins - 1])], {}, 'levels')
  const below = isAbove(scope, levels, inside, 'below')
  const pick = picks(bins)
  const picked = op('MatMul', [below, scope.float32(pick.matrix, [bins - 1, 2 * knots])], {}, 'picked')
  const hot = op('Add', [picked, scope.float32(pick.offset)], {}, 'hot')
  const columns = op('Reshape', [hot, scope.int64([0, 0, knots, 2])], {}, 'columns')
  const found = op('MatMul', [table, columns], {}, 'found') // [1, T, 3, 2]
  const flat = op('Reshape', [found, scope.int64([0, 0, 6])], {}, 'flat')
  const [x0, x1, y0, y1, d0, d1] = scope.ops('Split', [flat], { axis: 2, num_outputs: 6 }, [
    'x0',
    'x1',
    'y0',
    'y1',
    'd0',
    'd1',
  ])

  const [width, height] = [op('Sub', [x1!, x0!], {}, 'width'), op('Sub', [y1!, y0!], {}, 'height')]
  const slope = op('Div', [height, width], {}, 'slope')
  const above = op('Sub', [inside, y0!], {}, 'above')
  const bend = op('Sub', [op('Add', [d0!, d1!], {}, 'd'), op('Add', [slope, slope], {}, 'slope2')], {}, 'bend')
  const lift = op('Mul', [above, bend], {}, 'lift')
  const a = op('Add', [op('Mul', [height, op('Sub', [slope, d0!], {}, 'rise')], {}, 'a0'), lift], {}, 'a')
  const b = op('Sub', [op('Mul', [height, d0!], {}, 'b0'), lift], {}, 'b')
  const cNegative = op('Mul', [slope, above], {}, 'cNegative')
  const product = op('Mul', [op('Mul', [a, cNegative], {}, 'ac'), scope.float32(4)], {}, 'ac4')
  // Never negative but for rounding.
  const square = positive(scope, op('Add', [op('Mul', [b, b], {}, 'b2'), product], {}, 'sum'), 'square')
  const divisorOfRoot = op('Add', [b, op('Sqrt', [square], {}, 'distance')], {}, 'rootDivisor')
  const root = op('Div', [op('Add', [cNegative, cNegative], {}, 'c2'), divisorOfRoot], {}, 'root')
  const y = op('Add', [op('Mul', [root, width], {}, 'along'), x0!], {}, 'y')
  // The spline meets the identity at the bound: what lies beyond it is added.
  return op('Add', [y, op('Sub', [x, inside], {}, 'beyond')], {}, 'out')
}

/** log(1 + eˣ) = max(x, 0) - log σ(|x|) */
function softplus(scope: Scope, x: Value): Value {
  const size = scope.op(
    'Max',
    [x, scope.op('Mul', [x, scope.float32(-1)], {}, 'softplus/negative')],
    {},
    'softplus/size',
  )
  const rest = scope.op('Log', [scope.op('Sigmoid', [size], {}, 'softplus/sigmoid')], {}, 'softplus/log')
  return scope.op('Sub', [positive(scope, x, 'softplus/high'), rest], {}, 'softplus')
}

/**
 * From "below inner knot 1, …, bins - 1" (0 or 1) to a 1 at the knot before and at the knot behind: value is in bin j where it is
 * below knot j + 1 and not below knot j. Columns knot·2 + (0 before, 1 behind).
 */
function picks(bins: number): { matrix: Float32Array; offset: Float32Array } {
  const columns = 2 * (bins + 1)
  const out = new Float32Array((bins - 1) * columns)
  const offset = new Float32Array(columns)
  for (let bin = 0; bin < bins; bin++)
    for (const column of [2 * bin, 2 * (bin + 1) + 1]) {
      if (bin < bins - 1) out[bin * columns + column]! += 1
      else offset[column]! += 1
      if (bin > 0) out[(bin - 1) * columns + column]! -= 1
    }
  return { matrix: out, offset }
}

function matrix(rows: number, columns: number, value: (row: number, column: number) => number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns))
}

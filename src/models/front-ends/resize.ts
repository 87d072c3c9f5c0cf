/**
 * Resizing as two matrix products, the matrices computed in the graph from the sizes alone. Only the dots that a crop keeps are
 * made, so a picture of 20000 × 10 costs what its dots cost, not what its 448000 × 224 enlargement would.
 *
 * ONNX's Resize has the same filters, but makes the whole enlargement, and cannot round between its passes as PIL does.
 */

import { DTYPES } from '../../core/dtypes.js'
import type { Scope, Value } from '../../graph/index.js'
import { absolute } from '../clamp.js'

/**
 *   bicubic    PIL's BICUBIC: a = -0.5, widened by the scale when shrinking (antialias), weights made to sum to 1
 *   bilinear   PyTorch's `interpolate(mode='bilinear', align_corners=False)`: two neighbours, no antialias
 *
 * @reference python-pillow/Pillow@9.4.0:src/libImaging/Resample.c `precompute_coeffs`
 */
export type ResizeFilter = 'bicubic' | 'bilinear'

/** One axis of a resize; all sizes int64 scalars. */
export interface ResizeAxis {
  /** Dots before. */
  readonly from: Value
  /** Dots after. */
  readonly to: Value
  /** First dot after that is kept. */
  readonly offset: Value
  /** How many are kept. */
  readonly count: number
}

/** y = matrix · x resizes and crops one axis. → float32 [count, from] */
export function resizeMatrix(scope: Scope, { from, to, offset, count }: ResizeAxis, filter: ResizeFilter): Value {
  const odd = (x: Value, name: string) =>
    scope.op('Add', [scope.op('Mul', [x, scope.int64(2)], {}, `${name}/double`), scope.int64(1)], {}, name)
  // Distances are differences of whole numbers, 2·from·to a dot before: float32 centres of long axes would be off by 0.001.
  const indices = scope.int64(
    Array.from({ length: count }, (_, i) => i),
    [count, 1],
  )
  const kept = odd(scope.op('Add', [indices, offset], {}, 'kept'), 'oddKept') // [count, 1]
  const unbounded = scope.op('Mul', [kept, from], {}, 'centres')
  const centres = filter === 'bilinear' ? insideCentres(scope, unbounded, from, to) : unbounded
  const dots = scope.op('Range', [scope.int64(0), from, scope.int64(1)], {}, 'dots') // [from]
  const places = scope.op('Mul', [odd(dots, 'oddDots'), to], {}, 'places')
  const apart = toFloat(scope, scope.op('Sub', [places, centres], {}, 'apart'), 'apart/float') // [count, from]
  const unit = filter === 'bilinear' ? to : scope.op('Max', [from, to], {}, 'wider')
  const doubled = scope.op('Mul', [toFloat(scope, unit, 'unit'), scope.float32(2)], {}, 'unit/double')
  const distance = absolute(scope, scope.op('Div', [apart, doubled], {}, 'signed'), 'distance')
  return filter === 'bilinear' ? triangle(scope, distance) : cubic(scope, distance)
}

/** Beyond the outermost dots PyTorch repeats them: centres stay between the first and the last. */
function insideCentres(scope: Scope, centres: Value, from: Value, to: Value): Value {
  const span = scope.op(
    'Sub',
    [scope.op('Mul', [from, scope.int64(2)], {}, 'ends'), scope.int64(1)],
    {},
    'lastPlace/odd',
  )
  const last = scope.op('Mul', [span, to], {}, 'lastPlace')
  return scope.op('Min', [scope.op('Max', [centres, to], {}, 'notBefore'), last], {}, 'inside')
}

const triangle = (scope: Scope, distance: Value) =>
  scope.op('Max', [scope.op('Sub', [scope.float32(1), distance], {}, 'slope'), scope.float32(0)], {}, 'weights')

/**
 * Keys' cubic with a = -1/2, without branches: -(x-1)(x-2)²/2 for x up to 2, plus (x-1)²(2x-1) for x up to 1; rows sum to 1.
 */
function cubic(scope: Scope, distance: Value): Value {
  const mul = (a: Value, b: Value, name: string) => scope.op('Mul', [a, b], {}, name)
  const far = scope.op('Min', [distance, scope.float32(2)], {}, 'far')
  const near = scope.op('Min', [distance, scope.float32(1)], {}, 'near')
  const two = scope.op('Sub', [far, scope.float32(2)], {}, 'far/two')
  const one = scope.op('Sub', [scope.float32(1), far], {}, 'far/one')
  const outer = mul(mul(mul(two, two, 'far/square'), one, 'far/cube'), scope.float32(0.5), 'outer')
  const rest = scope.op('Sub', [near, scope.float32(1)], {}, 'near/one')
  const line = scope.op('Sub', [mul(near, scope.float32(2), 'near/double'), scope.float32(1)], {}, 'near/line')
  const inner = mul(mul(rest, rest, 'near/square'), line, 'inner')
  const raw = scope.op('Add', [outer, inner], {}, 'raw')
  const sum = scope.op('ReduceSum', [raw, scope.int64([1])], { keepdims: 1 }, 'sum')
  return scope.op('Div', [raw, sum], {}, 'weights')
}

export const toFloat = (scope: Scope, x: Value, name: string): Value =>
  scope.op('Cast', [x], { to: DTYPES.float32.onnx }, name)

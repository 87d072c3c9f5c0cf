/** Losses of numbers: L1, MSE, smooth L1. */

import { M4Error } from '../../core/errors.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import { reduced } from './reduction.js'

/** f(d) and f'(d) of a difference. */
interface Distance {
  readonly value: (scope: Scope, d: Value) => Value
  readonly slope: (scope: Scope, d: Value) => Value
}

const scaled = (scope: Scope, x: Value, by: number) => scope.op('Mul', [x, scope.float32(by)])
const clipped = (scope: Scope, x: Value) => scope.op('Clip', [x, scope.float32(-1), scope.float32(1)])

const ABSOLUTE: Distance = {
  value: (scope, d) => scope.op('Abs', [d]),
  // The sign; 0 at 0, as in PyTorch.
  slope: (scope, d) => clipped(scope, scaled(scope, d, 1e30)),
}

const SQUARE: Distance = {
  value: (scope, d) => scope.op('Mul', [d, d]),
  slope: (scope, d) => scaled(scope, d, 2),
}

/** d²/2β below β, |d| − β/2 above. With m = min(|d|, β) both are m·(|d| − m/2)/β. */
const smooth = (beta: number): Distance => ({
  value: (scope, d) => {
    const size = scope.op('Abs', [d])
    const near = scope.op('Min', [size, scope.float32(beta)])
    const rest = scope.op('Sub', [size, scaled(scope, near, 0.5)])
    return scaled(scope, scope.op('Mul', [near, rest]), 1 / beta)
  },
  slope: (scope, d) => clipped(scope, scaled(scope, d, 1 / beta)),
})

/** One composite for all: both operands may depend on parameters. */
function elements(tape: Tape, scope: Scope, { value, slope }: Distance, a: Value, b: Value): Value {
  const d = scope.op('Sub', [a, b], {}, 'difference')
  if (d.dims.length !== a.dims.length || d.dims.length !== b.dims.length)
    throw new M4Error('SHAPE_MISMATCH', `Loss of numbers: ${a.name} and ${b.name} must have one shape.`)
  return tape.composite({
    output: value(scope, d),
    inputs: [d],
    backward: (inner, dy) => [inner.op('Mul', [dy, slope(inner, d)])],
  })
}

/** Mean |a − b|, or Σ weight·|a − b|. a, b float32 of one shape → scalar. @throws M4Error `SHAPE_MISMATCH` */
export const l1Loss = (tape: Tape, scope: Scope, a: Value, b: Value, weights?: Value): Value =>
  reduced(scope, elements(tape, scope, ABSOLUTE, a, b), weights)

/** Mean (a − b)². As `l1Loss`. */
export const mseLoss = (tape: Tape, scope: Scope, a: Value, b: Value, weights?: Value): Value =>
  reduced(scope, elements(tape, scope, SQUARE, a, b), weights)

/**
 * Quadratic for differences below β, linear above; slope at most 1 (Huber's loss over β). As `l1Loss`.
 * @paper Fast R-CNN, arXiv:1504.08083 §2.3 · @throws M4Error `USAGE` for a β that is not above 0
 */
export function smoothL1Loss(tape: Tape, scope: Scope, a: Value, b: Value, beta = 1, weights?: Value): Value {
  if (!(beta > 0)) throw new M4Error('USAGE', `Smooth L1: expected a beta above 0, got ${beta}.`)
  return reduced(scope, elements(tape, scope, smooth(beta), a, b), weights)
}

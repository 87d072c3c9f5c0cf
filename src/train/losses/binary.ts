/** Yes-or-no losses over logits: stable, and with the gradient of sigmoid and log together. */

import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import { reduced } from './reduction.js'

/**
 * −w·t·log σ(x) − (1 − t)·log(1 − σ(x)) for each element, w the weight of what is positive. Targets in [0, 1] get no gradient.
 * logits, targets float32 of one shape, positiveWeight of any that broadcasts → float32 of that shape.
 *
 * Written (1 − t)·x + v·(log(1 + e^−|x|) + max(−x, 0)) with v = 1 + (w − 1)·t; its derivative is (1 − t) − v·(1 − σ(x)).
 */
export function binaryElements(tape: Tape, scope: Scope, logits: Value, targets: Value, positiveWeight?: Value): Value {
  const one = scope.float32(1)
  const rest = scope.op('Sub', [one, targets])
  const share = positiveWeight
    ? scope.op('Add', [scope.op('Mul', [scope.op('Sub', [positiveWeight, one]), targets]), one])
    : undefined
  const shared = (x: Value, inner: Scope) => (share ? inner.op('Mul', [share, x]) : x)
  const negative = scope.op('Neg', [logits])
  const decay = scope.op('Exp', [scope.op('Neg', [scope.op('Abs', [logits])])])
  const log = scope.op('Log', [scope.op('Add', [decay, one])])
  const tail = scope.op('Add', [log, scope.op('Relu', [negative])]) // log(1 + e^−x)
  const output = scope.op('Add', [scope.op('Mul', [rest, logits]), shared(tail, scope)], {}, 'binary')
  return tape.composite({
    output,
    inputs: [logits],
    backward: (inner, dy) => {
      const away = inner.op('Sigmoid', [negative]) // 1 − σ(x)
      return [inner.op('Mul', [dy, inner.op('Sub', [rest, shared(away, inner)])])]
    },
  })
}

export interface BinaryLossOptions {
  readonly positiveWeight?: Value
  /** Mask and normaliser; default a mean over all elements. */
  readonly weights?: Value
}

/** Binary cross-entropy with logits. logits, targets float32 of one shape → scalar. */
export function binaryLoss(
  tape: Tape,
  scope: Scope,
  logits: Value,
  targets: Value,
  { positiveWeight, weights }: BinaryLossOptions = {},
): Value {
  return reduced(scope, binaryElements(tape, scope, logits, targets, positiveWeight), weights)
}

/** As in RetinaNet, §4 and §5.1. */
const FOCAL_ALPHA = 0.25

/**
 * α_t·(1 − p_t)²·−log p_t for each element: what is already right counts little, so that thousands of empty anchors do not drown
 * the few that hold something. logits, targets (0 or 1) float32 of one shape → float32 of that shape.
 *
 * @paper arXiv:1708.02002, γ = 2, α = 0.25
 */
export function focalElements(tape: Tape, scope: Scope, logits: Value, targets: Value): Value {
  const entropy = binaryElements(tape, scope, logits, targets)
  const p = scope.op('Sigmoid', [logits])
  // 1 − p_t = p for t = 0 and 1 − p for t = 1; α_t = 1 − α and α.
  const sign = scope.op('Sub', [scope.float32(1), scope.op('Mul', [targets, scope.float32(2)])])
  const wrong = scope.op('Add', [targets, scope.op('Mul', [sign, p])])
  const alpha = scope.op('Add', [
    scope.op('Mul', [targets, scope.float32(2 * FOCAL_ALPHA - 1)]),
    scope.float32(1 - FOCAL_ALPHA),
  ])
  return scope.op('Mul', [scope.op('Mul', [alpha, scope.op('Mul', [wrong, wrong])]), entropy], {}, 'focal')
}

/** Angles between vectors. */

import { DTYPES } from '../../core/dtypes.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'

/** Lengths below are not divided by: torch.nn.functional.normalize. */
const SHORTEST = 1e-12
/** torch.nn.functional.cosine_similarity. */
const SHORTEST_OF_COSINE = 1e-8

/**
 * x / max(‖x‖, shortest) along the last axis. float32 [.., C] → [.., C].
 * The gradient is (dy − u·(u·dy)) / length; of vectors shorter than that, dy / shortest, where the root's own would be infinite.
 */
export function unitLength(tape: Tape, scope: Scope, x: Value, shortest = SHORTEST): Value {
  const last = scope.int64([-1])
  const sum = (inner: Scope, a: Value, b: Value) =>
    inner.op('ReduceSum', [inner.op('Mul', [a, b]), last], { keepdims: 1 })
  const length = scope.op('Sqrt', [sum(scope, x, x)])
  const divisor = scope.op('Max', [length, scope.float32(shortest)])
  const unit = scope.op('Div', [x, divisor], {}, 'unit')
  return tape.composite({
    output: unit,
    inputs: [x],
    backward: (inner, dy) => {
      const long = inner.op('Cast', [inner.op('Less', [inner.float32(shortest), length])], { to: DTYPES.float32.onnx })
      const along = inner.op('Mul', [sum(inner, unit, dy), long])
      return [inner.op('Div', [inner.op('Sub', [dy, inner.op('Mul', [unit, along])]), divisor])]
    },
  })
}

/** Cosine of each pair of rows. a, b float32 [N, C] → [N]. */
export function cosines(tape: Tape, scope: Scope, a: Value, b: Value): Value {
  const [u, v] = [a, b].map((x, i) => unitLength(tape, scope.scope(`side${i}`), x, SHORTEST_OF_COSINE))
  return scope.op('ReduceSum', [scope.op('Mul', [u, v]), scope.int64([-1])], { keepdims: 0 }, 'cosines')
}

/** Mean 1 − cos(a, b). a, b float32 [N, C] → scalar. */
export function cosineLoss(tape: Tape, scope: Scope, a: Value, b: Value): Value {
  return scope.op('ReduceMean', [scope.op('Sub', [scope.float32(1), cosines(tape, scope, a, b)])], { keepdims: 0 })
}

/**
 * Mean of 1 − cos for pairs that belong together (target 1) and max(0, cos − margin) for pairs that do not (−1).
 * a, b float32 [N, C], targets float32 [N] → scalar.
 */
export function cosineEmbeddingLoss(tape: Tape, scope: Scope, a: Value, b: Value, targets: Value, margin = 0): Value {
  const cosine = cosines(tape, scope, a, b)
  const together = scope.op('Less', [scope.float32(0), targets])
  const apart = scope.op('Relu', [scope.op('Sub', [cosine, scope.float32(margin)])])
  const each = scope.op('Where', [together, scope.op('Sub', [scope.float32(1), cosine]), apart], {}, 'pairs')
  return scope.op('ReduceMean', [each], { keepdims: 0 })
}

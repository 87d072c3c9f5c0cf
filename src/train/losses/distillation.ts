/** Distances between distributions: Kullback-Leibler divergence, and learning from a teacher. */

import { M4Error } from '../../core/errors.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import { perRow, softCrossEntropy } from './cross-entropy.js'

/** What stands for log 0; times a probability of 0 it is 0. */
const LEAST_PROBABILITY = 1e-38

/**
 * KL(p ‖ softmax(logits)), summed over classes, mean over rows. logits, probabilities float32 [N, K] → scalar.
 * Probabilities get no gradient.
 */
export function divergence(tape: Tape, scope: Scope, logits: Value, probabilities: Value): Value {
  const shares = perRow(scope, logits, probabilities)
  const log = scope.op('Log', [scope.op('Max', [probabilities, scope.float32(LEAST_PROBABILITY)])])
  const own = scope.op('ReduceSum', [scope.op('Mul', [shares, log])], { keepdims: 0 }, 'negativeEntropy')
  return scope.op('Add', [softCrossEntropy(tape, scope, logits, shares), own], {}, 'divergence')
}

/**
 * T² · KL(softmax(teacher / T) ‖ softmax(logits / T)): T² keeps the gradients of one size whatever T is.
 * logits, teacher float32 [N, K] → scalar. The teacher gets no gradient.
 *
 * @paper arXiv:1503.02531 §2 · @throws M4Error `USAGE` for a temperature that is not above 0
 */
export function distillationLoss(tape: Tape, scope: Scope, logits: Value, teacher: Value, temperature: number): Value {
  if (!(temperature > 0))
    throw new M4Error('USAGE', `Distillation: expected a temperature above 0, got ${temperature}.`)
  const cooled = (x: Value) => scope.op('Mul', [x, scope.float32(1 / temperature)])
  const probabilities = scope.op('Softmax', [cooled(teacher)], { axis: -1 }, 'teacher')
  const distance = divergence(tape, scope, cooled(logits), probabilities)
  return scope.op('Mul', [distance, scope.float32(temperature ** 2)])
}

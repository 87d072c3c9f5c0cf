/** Cross-entropy over logits, stable, with the gradient of softmax and log together. */

import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'

/**
 * Σ weightᵢ · −log softmax(logitsᵢ)[targetᵢ]. Weights carry the mask and the normaliser (1/n for a mean).
 * logits float32 [N, V], targets int64 [N], weights float32 [N] → scalar. Targets must lie in [0, V).
 *
 * The gradient is weight · (p − onehot); neither log-probabilities nor a one-hot matrix are kept.
 */
export function crossEntropy(tape: Tape, scope: Scope, logits: Value, targets: Value, weights: Value): Value {
  const column = (x: Value, name: string) => scope.op('Unsqueeze', [x, scope.int64([1])], {}, name)
  const last = scope.int64([1])
  const largest = scope.op('ReduceMax', [logits, last], { keepdims: 1 }, 'largest')
  const exps = scope.op('Exp', [scope.op('Sub', [logits, largest], {}, 'centred')], {}, 'exps') // [N, V]
  const sums = scope.op('ReduceSum', [exps, last], { keepdims: 1 }, 'sums')
  const places = column(targets, 'places') // [N, 1]
  const chosen = scope.op('GatherElements', [logits, places], { axis: 1 }, 'chosen')
  const logSum = scope.op('Add', [scope.op('Log', [sums], {}, 'logs'), largest], {}, 'logSum')
  const nll = scope.op('Sub', [logSum, chosen], {}, 'nll') // [N, 1]
  const weight = column(weights, 'weight')
  const loss = scope.op('ReduceSum', [scope.op('Mul', [nll, weight], {}, 'weighted')], { keepdims: 0 }, 'loss')
  return tape.composite({
    output: loss,
    inputs: [logits],
    backward: (inner, dLoss) => {
      const scale = inner.op('Mul', [weight, dLoss])
      const p = inner.op('Mul', [exps, inner.op('Div', [scale, sums])]) // weight · softmax
      const atTarget = inner.op('Sub', [inner.op('GatherElements', [p, places], { axis: 1 }), scale])
      return [inner.op('ScatterElements', [p, places, atTarget], { axis: 1 })]
    },
  })
}

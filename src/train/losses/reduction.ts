/** From one loss an element to one number. */

import type { Scope, Value } from '../../graph/index.js'

export type Reduction = 'mean' | 'sum'

/** What totals are not divided below: a batch in which nothing counts gives 0, not NaN. */
const SMALLEST_TOTAL = 1e-12

export const atLeast = (scope: Scope, total: Value): Value => scope.op('Max', [total, scope.float32(SMALLEST_TOTAL)])

/**
 * Mean of the elements, or Σ weight · element: weights carry mask and normaliser, in any shape that broadcasts.
 */
export function reduced(scope: Scope, elements: Value, weights?: Value): Value {
  return weights
    ? scope.op('ReduceSum', [scope.op('Mul', [elements, weights])], { keepdims: 0 })
    : scope.op('ReduceMean', [elements], { keepdims: 0 })
}

/** Mask over its own sum: weights of a mean over the elements that count. */
export const meanWeights = (scope: Scope, mask: Value): Value =>
  scope.op('Div', [mask, atLeast(scope, scope.op('ReduceSum', [mask], { keepdims: 0 }))], {}, 'meanWeights')

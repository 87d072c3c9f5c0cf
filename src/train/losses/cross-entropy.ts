/** Cross-entropy over logits, stable, with the gradient of softmax and log together. Classes lie along axis 1, as in PyTorch. */

import { type Dim, formatDims } from '../../core/dims.js'
import { DTYPES } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import { atLeast, type Reduction } from './reduction.js'

/** Label of an element that is not learned, as in PyTorch and Hugging Face. */
export const IGNORED_LABEL = -100

/**
 * Σ weightᵢ · −log softmax(logitsᵢ)[targetᵢ]. Weights carry the mask and the normaliser (1/n for a mean).
 * logits float32 [N, V], targets int64 [N], weights float32 [N] → scalar; also [B, V, ..] with [B, ..]. Targets must lie in [0, V).
 *
 * The gradient is weight · (p − onehot); neither log-probabilities nor a one-hot matrix are kept.
 */
export function crossEntropy(tape: Tape, scope: Scope, logits: Value, targets: Value, weights: Value): Value {
  const column = (x: Value, name: string) => scope.op('Unsqueeze', [x, scope.int64([1])], {}, name)
  const { largest, exps, sums } = exponentials(scope, logits)
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

/**
 * Σᵢ Σₖ −shareᵢₖ · log softmax(logitsᵢ)[k]: probabilities as targets, smoothed labels, a teacher. Shares carry the normaliser and
 * get no gradient. logits and shares float32 [N, K] (or [B, K, ..]) → scalar.
 *
 * The gradient is Σₖ shareᵢₖ · p − share.
 */
export function softCrossEntropy(tape: Tape, scope: Scope, logits: Value, shares: Value): Value {
  const { largest, exps, sums } = exponentials(scope, logits)
  const logSum = scope.op('Add', [scope.op('Log', [sums], {}, 'logs'), largest], {}, 'logSum')
  const surprise = scope.op('Sub', [logSum, logits], {}, 'surprise') // −log p
  const weighted = scope.op('Mul', [shares, surprise], {}, 'weighted')
  const loss = scope.op('ReduceSum', [weighted], { keepdims: 0 }, 'loss')
  return tape.composite({
    output: loss,
    inputs: [logits],
    backward: (inner, dLoss) => {
      const mass = inner.op('ReduceSum', [shares, inner.int64([1])], { keepdims: 1 })
      const p = inner.op('Mul', [exps, inner.op('Div', [mass, sums])])
      return [inner.op('Mul', [inner.op('Sub', [p, shares]), dLoss])]
    },
  })
}

/** exp(x − largest) along axis 1, and their sums. */
function exponentials(scope: Scope, logits: Value) {
  const classes = scope.int64([1])
  const largest = scope.op('ReduceMax', [logits, classes], { keepdims: 1 }, 'largest')
  const exps = scope.op('Exp', [scope.op('Sub', [logits, largest], {}, 'centred')], {}, 'exps')
  const sums = scope.op('ReduceSum', [exps, classes], { keepdims: 1 }, 'sums')
  return { largest, exps, sums }
}

export interface ClassLossOptions {
  /** float32 [K]: how much each class counts. A mean is over the weights of the elements' own classes. */
  readonly classWeights?: Value
  /** Label of elements that do not count. Default −100. */
  readonly ignored?: number
  /** Share of each label that is spread over all K classes, its own included. arXiv:1512.00567 §7. Default 0. */
  readonly smoothing?: number
  /** Default mean. */
  readonly reduction?: Reduction
}

/**
 * Cross-entropy of labels with PyTorch's options and rules; of pixels too.
 * logits float32 [N, K] with labels int64 [N], or [B, K, ..] with [B, ..] → scalar. Where no element counts, the loss is 0.
 * @throws M4Error `SHAPE_MISMATCH`, `USAGE`
 */
export function classLoss(
  tape: Tape,
  scope: Scope,
  logits: Value,
  labels: Value,
  { classWeights, ignored = IGNORED_LABEL, smoothing = 0, reduction = 'mean' }: ClassLossOptions = {},
): Value {
  const classes = classCount(logits, labels)
  if (!(smoothing >= 0 && smoothing < 1))
    throw new M4Error('USAGE', `Label smoothing: expected a share from 0 to below 1, got ${smoothing}.`)
  if (classWeights && classWeights.dims.join() !== String(classes))
    throw mismatch('class weights', [classes], classWeights.dims)
  const absent = scope.op('Equal', [labels, scope.int64(ignored)], {}, 'absent')
  const places = scope.op('Where', [absent, scope.int64(0), labels], {}, 'labels')
  const counted = scope.op('Cast', [scope.op('Not', [absent])], { to: DTYPES.float32.onnx }, 'counted')
  const own = classWeights ? scope.op('Mul', [scope.op('Gather', [classWeights, places]), counted]) : counted
  const total = scope.op('ReduceSum', [own], { keepdims: 0 }, 'total')
  const weights = reduction === 'mean' ? scope.op('Div', [own, atLeast(scope, total)], {}, 'rowWeights') : own
  if (smoothing === 0) return crossEntropy(tape, scope, logits, places, weights)

  // (1 − e)·w_y at the label and e/K·w_k everywhere, over the same total.
  const rank = logits.dims.length
  const alongClasses = [1, classes, ...new Array<number>(rank - 2).fill(1)]
  const column = (x: Value) => scope.op('Unsqueeze', [x, scope.int64([1])])
  const numbers = scope.int64(
    Array.from({ length: classes }, (_, k) => k),
    alongClasses,
  )
  const hit = scope.op('Cast', [scope.op('Equal', [column(places), numbers])], { to: DTYPES.float32.onnx }, 'hit')
  const atLabel = scope.op('Mul', [hit, scope.op('Mul', [column(weights), scope.float32(1 - smoothing)])])
  const ofClass = classWeights
    ? scope.op('Reshape', [classWeights, scope.int64(alongClasses)])
    : scope.float32(new Array<number>(classes).fill(1), alongClasses)
  const row = reduction === 'mean' ? scope.op('Div', [counted, atLeast(scope, total)]) : counted
  const spread = scope.op('Mul', [scope.op('Mul', [column(row), scope.float32(smoothing / classes)]), ofClass])
  return softCrossEntropy(tape, scope, logits, scope.op('Add', [atLabel, spread], {}, 'shares'))
}

/** Mean over rows of −Σₖ pₖ · log softmax(logits)[k]. logits, probabilities float32 [N, K] → scalar. @throws M4Error `SHAPE_MISMATCH` */
export function softClassLoss(tape: Tape, scope: Scope, logits: Value, probabilities: Value): Value {
  return softCrossEntropy(tape, scope, logits, perRow(scope, logits, probabilities))
}

/** Probabilities [N, K] over the number of rows. */
export function perRow(scope: Scope, logits: Value, probabilities: Value): Value {
  if (logits.dims.length !== 2 || probabilities.dims.length !== 2)
    throw mismatch('probabilities', ['N', 'K'], probabilities.dims)
  const rows = scope.op('Cast', [scope.op('Shape', [probabilities], { end: 1 })], { to: DTYPES.float32.onnx })
  return scope.op('Div', [probabilities, rows], {}, 'shares')
}

/** K, checked against labels of one dimension less. */
function classCount(logits: Value, labels: Value): number {
  const classes = logits.dims[1]
  if (logits.dims.length < 2 || typeof classes !== 'number') throw mismatch('logits', ['N', 'K', '..'], logits.dims)
  if (labels.dims.length !== logits.dims.length - 1)
    throw mismatch('labels', [logits.dims[0]!, ...logits.dims.slice(2)], labels.dims)
  return classes
}

const mismatch = (what: string, expected: readonly Dim[], got: readonly Dim[]) =>
  new M4Error('SHAPE_MISMATCH', `Loss, ${what}: expected ${formatDims(expected)}, got ${formatDims(got)}.`, {
    hint: 'Classes lie along axis 1 of the logits; labels lack that axis.',
  })

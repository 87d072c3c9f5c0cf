/**
 * Dice losses: overlap of regions, which a mean over pixels hides where the region is small.
 *
 * @paper V-Net, arXiv:1606.04797 §3 (here with sums, not squares, in the denominator)
 */

import { formatDims } from '../../core/dims.js'
import { DTYPES } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import type { Scope, Value } from '../../graph/index.js'
import { IGNORED_LABEL } from './cross-entropy.js'

export interface DiceOptions {
  /** Added above and below; two empty regions then agree. Default 1. */
  readonly smooth?: number
}

/** Mean over samples of 1 − (2·Σ p·t + s)/(Σ p + Σ t + s), p = σ(logits). logits, targets float32 [B, ..] → scalar. */
export function diceLoss(scope: Scope, logits: Value, targets: Value, { smooth = 1 }: DiceOptions = {}): Value {
  const axes = logits.dims.slice(1).map((_, i) => i + 1)
  return overlapLoss(scope, scope.op('Sigmoid', [logits]), targets, axes, smooth)
}

export interface ClassDiceOptions extends DiceOptions {
  /** Label of pixels that are in neither region. Default −100. */
  readonly ignored?: number
}

/**
 * Mean over samples and classes of the same, p = softmax over classes; ignored pixels count in neither p nor t.
 * logits float32 [B, K, ..], labels int64 [B, ..] → scalar. @throws M4Error `SHAPE_MISMATCH`
 */
export function classDiceLoss(
  scope: Scope,
  logits: Value,
  labels: Value,
  { smooth = 1, ignored = IGNORED_LABEL }: ClassDiceOptions = {},
): Value {
  const rank = logits.dims.length
  const classes = logits.dims[1]
  if (rank < 3 || typeof classes !== 'number' || labels.dims.length !== rank - 1)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Dice loss: expected logits [B, K, ..] and labels [B, ..], got ${formatDims(logits.dims)} and ${formatDims(labels.dims)}.`,
    )
  const numbers = scope.int64(
    Array.from({ length: classes }, (_, k) => k),
    [1, classes, ...new Array<number>(rank - 2).fill(1)],
  )
  const column = scope.op('Unsqueeze', [labels, scope.int64([1])]) // [B, 1, ..]
  const float = (x: Value) => scope.op('Cast', [x], { to: DTYPES.float32.onnx })
  const targets = float(scope.op('Equal', [column, numbers])) // an ignored label is no class: 0 everywhere
  const counted = float(scope.op('Not', [scope.op('Equal', [column, scope.int64(ignored)])]))
  const p = scope.op('Mul', [scope.op('Softmax', [logits], { axis: 1 }), counted])
  const axes = Array.from({ length: rank - 2 }, (_, i) => i + 2)
  return overlapLoss(scope, p, targets, axes, smooth)
}

function overlapLoss(scope: Scope, p: Value, t: Value, axes: readonly number[], smooth: number): Value {
  const sum = (x: Value) => scope.op('ReduceSum', [x, scope.int64(axes)], { keepdims: 0 })
  const plus = (x: Value) => scope.op('Add', [x, scope.float32(smooth)])
  const both = scope.op('Mul', [sum(scope.op('Mul', [p, t])), scope.float32(2)])
  const overlap = scope.op('Div', [plus(both), plus(scope.op('Add', [sum(p), sum(t)]))])
  return scope.op('Sub', [scope.float32(1), scope.op('ReduceMean', [overlap], { keepdims: 0 })], {}, 'dice')
}

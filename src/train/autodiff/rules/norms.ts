/** Gradients of norms. They read the statistics that the forward pass saved. */

import { M4Error } from '../../../core/errors.js'
import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { filled, fromFront, noGradient, sumTo } from './like.js'

/**
 * Optional outputs that the rules of norms read instead of computing them again: output index → suffix of its name.
 * `differentiable` (../frozen.ts) asks for them. ONNX Runtime's CPU kernel of SkipSimplifiedLayerNormalization gives no 1/rms.
 */
export const SAVED_STATISTICS: { readonly [K in OpName]?: Readonly<Record<number, string>> } = {
  LayerNormalization: { 1: 'mean', 2: 'inverseDeviation' },
  SimplifiedLayerNormalization: { 1: 'inverseRms' },
  SkipSimplifiedLayerNormalization: { 3: 'sum' },
}

type NormContext = Pick<RuleContext, 'node' | 'outputs' | 'dys'>

function saved({ node, outputs, dys }: NormContext, index: number): Value {
  if (dys[1] || dys[2]) throw noGradient(node, 'the loss depends on its statistics')
  const value = outputs[index]
  if (!value)
    throw new M4Error(
      'USAGE',
      `${node.op} ${node.name}: its gradient needs output ${index}, which the node leaves out.`,
      { hint: 'Bring the graph in with `differentiable`.' },
    )
  return value
}

const axesFrom = (x: Value, axis: number): number[] => x.dims.map((_, i) => i).slice(fromFront(axis, x.dims.length))

interface Normalised {
  readonly scope: Scope
  /** x̂: mean 0 (unless rms) and length 1. */
  readonly unit: Value
  readonly scale: Value
  readonly inverse: Value
  readonly dy: Value
  readonly axes: readonly number[]
}

/** dx = (dx̂ − x̂·mean(dx̂·x̂))/rms with dx̂ = dy·scale. arXiv:1910.07467 */
function rmsInput({ scope, unit, scale, inverse, dy, axes }: Normalised): Value {
  const dUnit = scope.op('Mul', [dy, scale])
  const along = scope.op('ReduceMean', [scope.op('Mul', [dUnit, unit]), scope.int64([...axes])], { keepdims: 1 })
  return scope.op('Mul', [scope.op('Sub', [dUnit, scope.op('Mul', [unit, along])]), inverse])
}

/** dx = (dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂))/σ with dx̂ = dy·scale. arXiv:1607.06450 */
function centredInput({ scope, unit, scale, inverse, dy, axes }: Normalised): Value {
  const over = scope.int64([...axes])
  const dUnit = scope.op('Mul', [dy, scale])
  const level = scope.op('ReduceMean', [dUnit, over], { keepdims: 1 })
  const along = scope.op('ReduceMean', [scope.op('Mul', [dUnit, unit]), over], { keepdims: 1 })
  const rest = scope.op('Sub', [scope.op('Sub', [dUnit, level]), scope.op('Mul', [unit, along])])
  return scope.op('Mul', [rest, inverse])
}

const scaleGradient = ({ scope, unit, scale, dy }: Normalised): Value =>
  sumTo(scope, scope.op('Mul', [dy, unit]), scale)

const simplifiedNorm: Backward<'SimplifiedLayerNormalization'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [x, scale] = inputs as [Value, Value]
  const inverse = saved(context, 1)
  const unit = scope.op('Mul', [x, inverse])
  const parts = { scope, unit, scale, inverse, dy: dys[0]!, axes: axesFrom(x, attributes.axis!) }
  return [wanted[0] ? rmsInput(parts) : undefined, wanted[1] ? scaleGradient(parts) : undefined]
}

const skipNorm: Backward<'SkipSimplifiedLayerNormalization'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [input, skip, scale, bias] = inputs as [Value, Value, Value, Value?]
  const x = saved(context, 3)
  const dy = dys[0] ?? filled(scope, x)
  const axes = axesFrom(x, -1)
  const square = scope.op('ReduceMean', [scope.op('Mul', [x, x]), scope.int64(axes)], { keepdims: 1 })
  const rms = scope.op('Sqrt', [scope.op('Add', [square, scope.float32(attributes.epsilon!)])])
  const inverse = scope.op('Reciprocal', [rms])
  const parts = { scope, unit: scope.op('Mul', [x, inverse]), scale, inverse, dy, axes }
  const normed = rmsInput(parts)
  const dx = dys[3] ? scope.op('Add', [normed, dys[3]]) : normed
  return [
    wanted[0] ? sumTo(scope, dx, input) : undefined,
    wanted[1] ? sumTo(scope, dx, skip) : undefined,
    wanted[2] ? scaleGradient(parts) : undefined,
    wanted[3] ? sumTo(scope, dx, bias!) : undefined,
  ]
}

const layerNorm: Backward<'LayerNormalization'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [x, scale, bias] = inputs as [Value, Value, Value?]
  const [mean, inverse, dy] = [saved(context, 1), saved(context, 2), dys[0]!]
  const unit = scope.op('Mul', [scope.op('Sub', [x, mean]), inverse])
  const parts = { scope, unit, scale, inverse, dy, axes: axesFrom(x, attributes.axis!) }
  return [
    wanted[0] ? centredInput(parts) : undefined,
    wanted[1] ? scaleGradient(parts) : undefined,
    wanted[2] ? sumTo(scope, dy, bias!) : undefined,
  ]
}

export const NORM_GRADIENTS = {
  LayerNormalization: layerNorm,
  SimplifiedLayerNormalization: simplifiedNorm,
  SkipSimplifiedLayerNormalization: skipNorm,
} as const satisfies { [K in OpName]?: GradientRule<K> }

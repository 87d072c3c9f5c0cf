/** Pieces that encoder stacks share: layer norm and a biased linear layer under our names. */

import { M4Error } from '../core/errors.js'
import type { Scope, Value } from '../graph/index.js'
import { linear, linearKindOf, type QuantisationPlan, vector } from './linear.js'
import type { WeightTensor } from './weights.js'

/** What a block needs to emit its nodes. */
export interface EmitContext {
  readonly weights: ReadonlyMap<string, WeightTensor>
  readonly plan: QuantisationPlan
  readonly normEpsilon: number
}

/**
 * Expected shapes of a transformer's tensors by their names: norms and biases are vectors, `fc1` widens, `fc2` narrows, the rest
 * are squares. What `known` says stands.
 */
export function stackShapes(
  names: Iterable<string>,
  { width, feedForward }: { readonly width: number; readonly feedForward: number },
  known: Readonly<Record<string, readonly number[]>>,
): Record<string, readonly number[]> {
  const shapes = { ...known }
  for (const name of names) {
    if (shapes[name]) continue
    const rows = name.includes('fc1') ? feedForward : width
    const isVector = name.endsWith('/bias') || name.endsWith('norm')
    shapes[name] = isVector ? [rows] : [rows, name.includes('fc2') ? feedForward : width]
  }
  return shapes
}

/** The tensor under our name. @throws M4Error `TENSOR_MISSING` */
export function need(weights: ReadonlyMap<string, WeightTensor>, path: string): WeightTensor {
  const tensor = weights.get(path)
  if (!tensor) throw new M4Error('TENSOR_MISSING', `The model needs "${path}".`)
  return tensor
}

/** x·Wᵀ + bias, with the bias that `path/bias` names, if any. */
export function dense(ctx: EmitContext, scope: Scope, x: Value, path: string, name: string): Value {
  return linear(scope, x, need(ctx.weights, path), linearKindOf(ctx.plan, path), name, ctx.weights.get(`${path}/bias`))
}

export function layerNorm(ctx: EmitContext, scope: Scope, x: Value, path: string, name: string): Value {
  const scale = vector(scope, need(ctx.weights, path), `${name}/scale`)
  const bias = vector(scope, need(ctx.weights, `${path}/bias`), `${name}/bias`)
  return scope.op('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: ctx.normEpsilon }, name)
}

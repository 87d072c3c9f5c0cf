/**
 * Global-norm clipping and AdamW, as nodes behind the gradients. New values are bound onto the old ones, in place.
 *
 * The clip is always there, even with a limit that is never reached: it makes every update depend on every gradient, and so on every
 * node that read the old weights. Without this barrier the runtime may update a weight before another node has read it.
 *
 * @paper AdamW: arXiv:1711.05101, algorithm 2 · clipping: arXiv:1211.5063
 */

import type { GraphBuilder, Scope, Value } from '../graph/index.js'
import { HYPERPARAMETERS, type Hyperparameter } from './schedule.js'

export interface TrainedTensor {
  readonly name: string
  readonly parameter: Value
  readonly gradient: Value
}

/** Names of the state's inputs and outputs: `state/<slot>/<parameter>` and `next/<slot>/<parameter>`. */
export const SLOTS = ['m', 'v'] as const

/** sqrt of the sum of squares of all gradients. Scalar. */
export function globalNorm(scope: Scope, gradients: readonly Value[]): Value {
  const squares = gradients.map((gradient) => {
    // A product of a row with itself: one pass, nothing of the gradient's size in between.
    const row = scope.op('Reshape', [gradient, scope.int64([1, -1])])
    return scope.op('Reshape', [scope.op('FusedMatMul', [row, row], { transB: 1 }), scope.int64([1])])
  })
  const all = squares.length === 1 ? squares[0]! : scope.op('Concat', squares, { axis: 0 })
  return scope.op('Sqrt', [scope.op('ReduceSum', [all], { keepdims: 0 })], {}, 'gradientNorm')
}

/** Scalars that the host may change from step to step: inputs `hyper/<name>`, float32 []. */
export function hyperparameters(g: GraphBuilder): Readonly<Record<Hyperparameter, Value>> {
  return Object.fromEntries(HYPERPARAMETERS.map((name) => [name, g.input(`hyper/${name}`, 'float32', [])])) as Readonly<
    Record<Hyperparameter, Value>
  >
}

/**
 * Adds the update of every tensor and gives `next/p|m|v/<name>` out, with `gradientNorm` (before clipping).
 * p ← p − lr·(m̂/(√v̂ + ε) + λ·p), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ); gradients times min(1, clip/(norm + 1e-6)).
 */
export function adamW(g: GraphBuilder, tensors: readonly TrainedTensor[]): void {
  const scope = g.scope('adamw')
  const h = hyperparameters(g)
  const norm = globalNorm(
    scope,
    tensors.map(({ gradient }) => gradient),
  )
  g.output('gradientNorm', norm)
  const room = scope.op('Div', [h.clip, scope.op('Add', [norm, scope.float32(1e-6)])])
  const factor = scope.op('Min', [scope.float32(1), room])
  const complement = (x: Value) => scope.op('Sub', [scope.float32(1), x])
  const [rest1, rest2] = [complement(h.beta1), complement(h.beta2)]
  const shrink = complement(scope.op('Mul', [h.lr, h.decay]))
  for (const { name, parameter, gradient } of tensors) {
    const part = scope.scope(name)
    const [m, v] = SLOTS.map((slot) => g.input(`state/${slot}/${name}`, 'float32', parameter.dims))
    const mul = (a: Value, b: Value) => part.op('Mul', [a, b])
    const clipped = mul(gradient, factor)
    const m2 = part.op('Add', [mul(m!, h.beta1), mul(clipped, rest1)])
    const v2 = part.op('Add', [mul(v!, h.beta2), mul(mul(clipped, clipped), rest2)])
    // lr·m̂/(√v̂ + ε), corrections folded into scalars.
    const root = part.op('Sqrt', [part.op('Div', [v2, h.correction2])])
    const step = part.op('Div', [mul(m2, part.op('Div', [h.lr, h.correction1])), part.op('Add', [root, h.epsilon])])
    const p2 = part.op('Sub', [mul(parameter, shrink), step])
    g.output(`next/p/${name}`, p2)
    g.output(`next/m/${name}`, m2)
    g.output(`next/v/${name}`, v2)
  }
}

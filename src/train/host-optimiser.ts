/**
 * Global-norm clipping and AdamW in JavaScript, and a step session that uses them: for engines that copy every output
 * (onnxruntime-web), where an optimiser in the graph would copy parameters and moments at each step. The numbers are those of
 * optimiser.ts up to float32 rounding.
 *
 * @paper AdamW: arXiv:1711.05101, algorithm 2 · clipping: arXiv:1211.5063
 */

import { M4Error } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import type { Hyperparameter } from './schedule.js'
import { runBatch, type StepResult, type TrainingState } from './state.js'

/** All of one step, as `scalarsAt` gives them. */
export type Scalars = Readonly<Record<Hyperparameter, number>>

/** One tensor with its first and second moments: all of one length, and updated in place. */
export interface Moments {
  readonly p: Float32Array
  readonly m: Float32Array
  readonly v: Float32Array
}

/** √Σ g² over all gradients. */
export function globalNormOf(gradients: Iterable<Float32Array>): number {
  let sum = 0
  for (const gradient of gradients) for (let i = 0; i < gradient.length; i++) sum += gradient[i]! * gradient[i]!
  return Math.sqrt(sum)
}

/** p ← p − lr·(m̂/(√v̂ + ε) + λ·p), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), with the gradient times `factor` (clipping). */
export function adamWOnHost({ p, m, v }: Moments, gradient: Float32Array, scalars: Scalars, factor: number): void {
  // As the float32 inputs of a graph: else 1 − β₂ would differ in its fifth digit.
  const float = (name: Hyperparameter) => Math.fround(scalars[name])
  const [lr, beta1, beta2] = [float('lr'), float('beta1'), float('beta2')]
  const [epsilon, correction2] = [float('epsilon'), float('correction2')]
  const [shrink, rate] = [1 - lr * float('decay'), lr / float('correction1')]
  for (let i = 0; i < p.length; i++) {
    const g = gradient[i]! * factor
    const mean = m[i]! * beta1 + g * (1 - beta1)
    const square = v[i]! * beta2 + g * g * (1 - beta2)
    m[i] = mean
    v[i] = square
    p[i] = p[i]! * shrink - (mean * rate) / (Math.sqrt(square / correction2) + epsilon)
  }
}

/**
 * One update of a whole state from the gradients of its parameters, by name.
 * @returns the global norm before clipping
 * @throws M4Error `SHAPE_MISMATCH` where a gradient is missing or of another size; the state is then as it was
 */
export function updateOnHost(
  state: TrainingState,
  gradients: ReadonlyMap<string, Float32Array>,
  scalars: Scalars,
): number {
  const data = (key: string) => state.tensors.get(key)!.data as Float32Array
  const updates = state.shapes.map(({ name }) => {
    const [p, gradient] = [state.parameter(name), gradients.get(name)]
    if (gradient?.length === p.length) return { gradient, p, m: data(`state/m/${name}`), v: data(`state/v/${name}`) }
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Gradient of "${name}": expected ${p.length} elements, got ${gradient?.length ?? 'none'}.`,
      { hint: 'Give the outputs of a step graph of the same parameters.' },
    )
  })
  const norm = globalNormOf(updates.map(({ gradient }) => gradient))
  const factor = Math.min(1, scalars.clip / (norm + 1e-6))
  for (const { gradient, ...moments } of updates) adamWOnHost(moments, gradient, scalars, factor)
  return norm
}

/** A graph of kind 'gradients' over a state; like `StepSession`, with the update on the host. */
export class HostStepSession implements Disposable {
  readonly #binding: Binding
  readonly #loss: Tensor
  readonly #gradients: ReadonlyMap<string, Tensor>

  constructor(
    readonly engine: Engine,
    readonly session: Session,
    readonly state: TrainingState,
  ) {
    this.#binding = session.bind()
    this.#loss = engine.tensor('float32', [])
    this.#gradients = new Map(state.shapes.map(({ name, dims }) => [name, engine.tensor('float32', dims)]))
    for (const { name } of state.shapes) {
      this.#binding.bindInput(`p/${name}`, state.tensors.get(`p/${name}`)!)
      this.#binding.bindOutput(`gradient/${name}`, this.#gradients.get(name)!)
    }
    this.#binding.bindOutput('loss', this.#loss)
  }

  /** One run on a batch and one update. @throws M4Error `ABORTED` (the state is then as it was), `ENGINE` */
  async run(
    batch: Readonly<Record<string, HostTensor>>,
    scalars: Scalars,
    signal?: AbortSignal,
  ): Promise<Required<StepResult>> {
    await runBatch(this.engine, this.#binding, batch, signal)
    const gradients = new Map([...this.#gradients].map(([name, { data }]) => [name, data as Float32Array]))
    return { loss: (this.#loss.data as Float32Array)[0]!, gradientNorm: updateOnHost(this.state, gradients, scalars) }
  }

  dispose(): void {
    this.#binding.dispose()
    this.session.dispose()
    for (const tensor of [...this.#gradients.values(), this.#loss]) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

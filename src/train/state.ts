/** Tensors that training keeps from step to step, and a session that updates them in place. */

import type { HostTensor } from '../core/tensor.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import { HYPERPARAMETERS, type Hyperparameter } from './schedule.js'
import type { ParameterShape } from './step-graph.js'

/** One run on a batch, whose tensors are given back. @throws M4Error as `Binding.run` */
export async function runBatch(
  engine: Engine,
  binding: Binding,
  batch: Readonly<Record<string, HostTensor>>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const feeds = Object.entries(batch).map(([name, { dtype, dims, data }]) => {
    const tensor = engine.tensor(dtype, dims, data)
    binding.bindInput(name, tensor)
    return tensor
  })
  try {
    await binding.run({ signal })
  } finally {
    for (const tensor of feeds) tensor.dispose()
  }
}

/** `p/<name>`, `state/m/<name>`, `state/v/<name>` → tensor: what checkpoints hold. Sums of gradients live for one step only. */
export class TrainingState implements Disposable {
  readonly tensors: ReadonlyMap<string, Tensor>
  /** `state/sum/<name>` → gathered gradient, where batches are run in parts. */
  readonly sums: ReadonlyMap<string, Tensor>

  constructor(
    readonly engine: Engine,
    readonly shapes: readonly ParameterShape[],
    initial: ReadonlyMap<string, Float32Array>,
    { sums = false }: { readonly sums?: boolean } = {},
  ) {
    const tensors = new Map<string, Tensor>()
    for (const { name, dims } of shapes) {
      const tensor = engine.tensor('float32', dims)
      ;(tensor.data as Float32Array).set(initial.get(name)!)
      tensors.set(`p/${name}`, tensor)
      for (const slot of ['m', 'v']) tensors.set(`state/${slot}/${name}`, engine.tensor('float32', dims))
    }
    this.tensors = tensors
    const gathered = sums ? shapes : []
    this.sums = new Map(gathered.map(({ name, dims }) => [`state/sum/${name}`, engine.tensor('float32', dims)]))
  }

  clearSums(): void {
    for (const { data } of this.sums.values()) (data as Float32Array).fill(0)
  }

  /** The live elements of a parameter. */
  parameter(name: string): Float32Array {
    return this.tensors.get(`p/${name}`)!.data as Float32Array
  }

  get parameterCount(): number {
    return this.shapes.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  }

  dispose(): void {
    for (const tensor of [...this.tensors.values(), ...this.sums.values()]) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

export interface StepResult {
  readonly loss: number
  /** Global norm before clipping; only of sessions with an optimiser. */
  readonly gradientNorm: number | undefined
}

/** A step graph opened over a state: parameters and moments are bound once, and new values are written over the old ones. */
export class StepSession implements Disposable {
  readonly #binding: Binding
  readonly #scalars = new Map<Hyperparameter, Tensor>()
  readonly #loss: Tensor
  readonly #norm: Tensor | undefined

  constructor(
    readonly engine: Engine,
    readonly session: Session,
    state: TrainingState,
  ) {
    this.#binding = session.bind()
    const names = new Set(session.inputs.map(({ name }) => name))
    for (const [name, tensor] of [...state.tensors, ...state.sums]) {
      if (names.has(name)) this.#binding.bindInput(name, tensor)
      // The optimiser alone reads as gradients what was gathered.
      const gradient = name.replace('state/sum/', 'gradient/')
      if (gradient !== name && names.has(gradient)) this.#binding.bindInput(gradient, tensor)
    }
    for (const name of HYPERPARAMETERS)
      if (names.has(`hyper/${name}`)) {
        const scalar = engine.tensor('float32', [])
        this.#scalars.set(name, scalar)
        this.#binding.bindInput(`hyper/${name}`, scalar)
      }
    this.#loss = engine.tensor('float32', [])
    const outputs = new Set(session.outputs.map(({ name }) => name))
    if (outputs.has('loss')) this.#binding.bindOutput('loss', this.#loss)
    this.#norm = outputs.has('gradientNorm') ? engine.tensor('float32', []) : undefined
    if (this.#norm) this.#binding.bindOutput('gradientNorm', this.#norm)
    for (const name of outputs) {
      const [, slot, rest] = /^next\/([^/]+)\/(.+)$/.exec(name) ?? []
      if (!slot) continue
      const own = slot === 'p' ? `p/${rest}` : `state/${slot}/${rest}`
      this.#binding.bindOutput(name, (state.tensors.get(own) ?? state.sums.get(own))!)
    }
  }

  /**
   * One run on a batch. @throws M4Error `ABORTED` (the state may then be half updated: go back to a checkpoint), `ENGINE`
   */
  async run(
    batch: Readonly<Record<string, HostTensor>>,
    scalars: Partial<Readonly<Record<Hyperparameter, number>>> = {},
    signal?: AbortSignal,
  ): Promise<StepResult> {
    for (const [name, tensor] of this.#scalars) (tensor.data as Float32Array)[0] = scalars[name]!
    await runBatch(this.engine, this.#binding, batch, signal)
    return {
      loss: (this.#loss.data as Float32Array)[0]!,
      gradientNorm: this.#norm && (this.#norm.data as Float32Array)[0]!,
    }
  }

  dispose(): void {
    this.#binding.dispose()
    this.session.dispose()
    for (const tensor of [...this.#scalars.values(), this.#loss, ...(this.#norm ? [this.#norm] : [])]) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** Learning rates over the steps, and the scalars of AdamW at one step. */

export interface OptimiserOptions {
  /** Peak learning rate. */
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  /** Decoupled weight decay. */
  readonly decay: number
  /** Largest global norm of the gradients. */
  readonly clip: number
  readonly schedule: 'constant' | 'linear' | 'cosine'
  /** Steps of linear warm-up from 0. */
  readonly warmupSteps: number
  /** Share of the peak that is left at the last step of `linear` and `cosine`. */
  readonly floor: number
}

export const OPTIMISER_DEFAULTS: OptimiserOptions = {
  lr: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  decay: 0.01,
  clip: 1,
  schedule: 'cosine',
  warmupSteps: 0,
  floor: 0,
}

/** Scalar inputs of the step graph, as `optimiser.ts` reads them. */
export const HYPERPARAMETERS = [
  'lr',
  'beta1',
  'beta2',
  'epsilon',
  'decay',
  'clip',
  'correction1',
  'correction2',
] as const
export type Hyperparameter = (typeof HYPERPARAMETERS)[number]

/** The rate at step `step` of `steps`, counted from 0. */
export function learningRate(options: OptimiserOptions, step: number, steps: number): number {
  const { lr, schedule, warmupSteps, floor } = options
  // As Hugging Face's schedulers: the first step of a warm-up has rate 0.
  if (step < warmupSteps) return (lr * step) / warmupSteps
  const share = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps))
  const left = { constant: 1, linear: 1 - share, cosine: (1 + Math.cos(Math.PI * share)) / 2 }[schedule]
  return schedule === 'constant' ? lr : lr * (floor + (1 - floor) * left)
}

/** All scalars of step `step`, counted from 0. */
export function scalarsAt(options: OptimiserOptions, step: number, steps: number): Record<Hyperparameter, number> {
  const { beta1, beta2, epsilon, decay, clip } = options
  return {
    lr: learningRate(options, step, steps),
    beta1,
    beta2,
    epsilon,
    decay,
    clip,
    correction1: 1 - beta1 ** (step + 1),
    correction2: 1 - beta2 ** (step + 1),
  }
}

/**
 * The loop: batches through a step session, a look at the held-out loss now and then, checkpoints, early stop. It knows nothing of
 * what is trained.
 */

import { M4Error, throwIfAborted } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'
import type { Engine, Session } from '../engine/types.js'
import { type Progressed, type RunKey, removeCheckpoint, restoreCheckpoint, saveCheckpoint } from './checkpoint.js'
import { type Batch, batches, FIRST_BATCH } from './data/index.js'
import { type Hyperparameter, type OptimiserOptions, scalarsAt } from './schedule.js'
import { StepSession, TrainingState } from './state.js'
import type { ParameterShape, StepKind } from './step-graph.js'

export interface FitBatch {
  readonly feeds: Readonly<Record<string, HostTensor>>
  /** What the loss is a mean over: tokens or samples. */
  readonly weight: number
  /** Tokens or samples that were read, for the speed. */
  readonly units: number
}

/** What is trained, and on what. */
export interface FitSubject {
  readonly shapes: readonly ParameterShape[]
  readonly initial: ReadonlyMap<string, Float32Array>
  readonly trainCount: number
  readonly evalCount: number
  /**
   * Samples that are run at once, where a batch may be too large for that: gradients are gathered over the parts. Absent: batches
   * are run whole, and the optimiser is in the same graph.
   */
  readonly parts?: (side: 'train' | 'eval', indices: readonly number[]) => readonly (readonly number[])[]
  /** @param normaliser what sums are divided by where a batch is run in parts: the weight of all parts together */
  batch(side: 'train' | 'eval', indices: readonly number[], normaliser?: number): FitBatch
  /** Of a sample, where batches are padded to their longest. */
  readonly lengthOf?: (index: number) => number
  /** Weight of a batch without making it. */
  weightOf(indices: readonly number[]): number
  open(kind: Extract<StepKind, 'adamw' | 'accumulate'>): Promise<Session>
  /** Only where batches are run in parts. */
  openOptimiser(): Promise<Session>
}

export interface FitOptions {
  readonly steps: number
  readonly batch: number
  readonly optimiser: OptimiserOptions
  readonly seed: number
  readonly evalEvery: number
  readonly patience: number
  /** Held-out samples whose loss is looked at. */
  readonly evalSamples?: number
  readonly checkpoint?: {
    readonly folder: string
    readonly key: RunKey
    readonly everySeconds: number
    /** Do not go on from what is there. */
    readonly fresh?: boolean
  }
  readonly signal?: AbortSignal | undefined
  /** Before each step; may throw, e.g. because the data changed. */
  readonly beforeStep?: (step: number) => void | Promise<void>
  readonly onStep?: (report: StepReport) => void
}

export interface StepReport {
  /** Counted from 1. */
  readonly step: number
  readonly steps: number
  readonly loss: number
  readonly gradientNorm: number
  readonly unitsPerSecond: number
  readonly secondsLeft: number
  /** Of this step, when it was looked at. */
  readonly evalLoss?: number
}

export interface FitResult {
  /** Of the best look at the held-out loss; of the last step where there was none. */
  readonly parameters: ReadonlyMap<string, Float32Array>
  readonly stopped: 'steps' | 'patience' | 'diverged'
  readonly losses: readonly number[]
  readonly evaluations: readonly { readonly step: number; readonly loss: number }[]
  /** Step whose parameters these are. */
  readonly step: number
  readonly seconds: number
  readonly unitsPerSecond: number
  readonly resumedAt: number | undefined
}

/** A look at the loss that changes nothing: moments stand still and the rate is 0, so every tensor is written over by itself. */
const STILL: Readonly<Record<Hyperparameter, number>> = {
  lr: 0,
  beta1: 1,
  beta2: 1,
  epsilon: 1,
  decay: 0,
  clip: 1,
  correction1: 1,
  correction2: 1,
}

/**
 * @throws M4Error `ABORTED` (the checkpoint is kept), `INVALID_REQUEST` when training diverges before anything was learned,
 * `DISK_FULL`, `ENGINE`
 */
export async function fitSubject(engine: Engine, subject: FitSubject, options: FitOptions): Promise<FitResult> {
  const inParts = subject.parts !== undefined
  using state = new TrainingState(engine, subject.shapes, subject.initial, { sums: inParts })
  using session = new StepSession(engine, await subject.open(inParts ? 'accumulate' : 'adamw'), state)
  using optimiser = inParts ? new StepSession(engine, await subject.openOptimiser(), state) : undefined
  const run = new Run(state, subject, options)
  while (run.step < options.steps) {
    await options.beforeStep?.(run.step)
    await run.stopIfAsked()
    const batch = run.nextBatch()
    const started = performance.now()
    const scalars = scalarsAt(options.optimiser, run.step, options.steps)
    const { loss, gradientNorm, units } = optimiser
      ? await stepInParts(session, optimiser, state, subject, batch, scalars)
      : await wholeStep(session, subject, batch, scalars)
    run.stepped(batch, loss, units, (performance.now() - started) / 1000)
    const looked = run.isLook() ? await heldOutLoss(session, state, subject, options) : undefined
    if (looked !== undefined) run.looked(looked)
    options.onStep?.(run.report(loss, gradientNorm, looked))
    if (run.diverged(loss)) return run.result('diverged')
    if (run.isStale()) return run.result('patience')
    await run.maybeSave()
  }
  return run.result('steps')
}

interface Stepped {
  readonly loss: number
  readonly gradientNorm: number
  readonly units: number
}

async function wholeStep(
  session: StepSession,
  subject: FitSubject,
  { indices }: Batch,
  scalars: Readonly<Record<Hyperparameter, number>>,
): Promise<Stepped> {
  const { feeds, units } = subject.batch('train', indices)
  const { loss, gradientNorm } = await session.run(feeds, scalars)
  return { loss, gradientNorm: gradientNorm!, units }
}

/** Gradients of a few rows at a time, added up; then one update. */
async function stepInParts(
  session: StepSession,
  optimiser: StepSession,
  state: TrainingState,
  subject: FitSubject,
  { indices }: Batch,
  scalars: Readonly<Record<Hyperparameter, number>>,
): Promise<Stepped> {
  state.clearSums()
  const normaliser = subject.weightOf(indices)
  let [loss, units] = [0, 0]
  for (const own of subject.parts!('train', indices)) {
    const part = subject.batch('train', own, normaliser)
    loss += (await session.run(part.feeds)).loss
    units += part.units
  }
  const { gradientNorm } = await optimiser.run({}, scalars)
  return { loss, gradientNorm: gradientNorm!, units }
}

async function heldOutLoss(
  session: StepSession,
  state: TrainingState,
  subject: FitSubject,
  { batch, evalSamples = 64 }: FitOptions,
): Promise<number> {
  const count = Math.min(subject.evalCount, evalSamples)
  const all = Array.from({ length: count }, (_, i) => i)
  const chunks = Array.from({ length: Math.ceil(count / batch) }, (_, i) => all.slice(i * batch, (i + 1) * batch))
  let [sum, weights] = [0, 0]
  for (const indices of subject.parts?.('eval', all) ?? chunks) {
    const { feeds, weight } = subject.batch('eval', indices)
    sum += (await session.run(feeds, STILL)).loss * weight
    weights += weight
  }
  state.clearSums()
  return sum / weights
}

/** Losses are compared with their running mean over about this many steps. */
const MEMORY_STEPS = 10
/** Above the best running mean by this factor and by a nat: training has run away. */
const RUNAWAY = 2

/** Where a run is. */
class Run {
  step = 0
  #cursor = FIRST_BATCH
  #losses: number[] = []
  #evaluations: { step: number; loss: number }[] = []
  #best = new Map<string, Float32Array>()
  #bestStep: number | undefined
  #mean = Number.NaN
  #leastMean = Number.POSITIVE_INFINITY
  #seconds = 0
  #units = 0
  #unitSeconds = 0
  #savedAt = performance.now()
  readonly #resumedAt: number | undefined
  readonly #stream: Generator<Batch, never, void>

  constructor(
    readonly state: TrainingState,
    readonly subject: FitSubject,
    readonly options: FitOptions,
  ) {
    const { checkpoint, batch, seed } = options
    const restored =
      checkpoint && !checkpoint.fresh ? restoreCheckpoint(checkpoint.folder, checkpoint.key, state) : undefined
    if (restored) {
      const { progressed } = restored
      this.step = progressed.step
      this.#cursor = progressed.cursor
      this.#evaluations = [...progressed.evaluations]
      this.#best = restored.best
      this.#bestStep = progressed.bestStep
      this.#seconds = progressed.seconds
      for (const loss of progressed.losses) this.#remember(loss)
      this.#resumedAt = progressed.step
    }
    const { lengthOf } = subject
    const grouped = lengthOf ? { lengthOf } : {}
    this.#stream = batches(subject.trainCount, { size: batch, seed, from: this.#cursor, ...grouped })
  }

  nextBatch(): Batch {
    return this.#stream.next().value
  }

  stepped(batch: Batch, loss: number, units: number, seconds: number): void {
    this.step++
    this.#cursor = batch.next
    this.#remember(loss)
    this.#seconds += seconds
    // The first run of a session allocates its memory: it says nothing of the speed.
    if (this.#unitSeconds > 0 || this.step > (this.#resumedAt ?? 0) + 1) {
      this.#units += units
      this.#unitSeconds += seconds
    }
  }

  #remember(loss: number): void {
    this.#losses.push(loss)
    const share = Math.max(1 / this.#losses.length, 1 / MEMORY_STEPS)
    this.#mean = this.#losses.length === 1 ? loss : this.#mean + (loss - this.#mean) * share
    if (this.#losses.length >= MEMORY_STEPS) this.#leastMean = Math.min(this.#leastMean, this.#mean)
  }

  isLook(): boolean {
    const { evalEvery, steps } = this.options
    return this.subject.evalCount > 0 && (this.step % evalEvery === 0 || this.step === steps)
  }

  looked(loss: number): void {
    const best = this.#evaluations.reduce((least, each) => Math.min(least, each.loss), Number.POSITIVE_INFINITY)
    this.#evaluations.push({ step: this.step, loss })
    if (!(loss < best)) return
    this.#bestStep = this.step
    this.#best = new Map(this.subject.shapes.map(({ name }) => [name, this.state.parameter(name).slice()]))
  }

  isStale(): boolean {
    const { patience } = this.options
    if (patience === 0 || this.#bestStep === undefined) return false
    return this.#evaluations.filter(({ step }) => step > this.#bestStep!).length >= patience
  }

  diverged(loss: number): boolean {
    return !Number.isFinite(loss) || this.#mean > RUNAWAY * this.#leastMean + 1
  }

  report(loss: number, gradientNorm: number, evalLoss: number | undefined): StepReport {
    const { steps } = this.options
    const perStep = this.#seconds / Math.max(1, this.#losses.length)
    return {
      step: this.step,
      steps,
      loss,
      gradientNorm,
      unitsPerSecond: this.#speed(),
      secondsLeft: perStep * (steps - this.step),
      ...(evalLoss === undefined ? {} : { evalLoss }),
    }
  }

  #speed(): number {
    return this.#unitSeconds > 0 ? this.#units / this.#unitSeconds : 0
  }

  /** Between two steps only: a step that is broken off would leave half of the parameters updated. */
  async stopIfAsked(): Promise<void> {
    const { signal } = this.options
    if (!signal?.aborted) return
    if (this.step > 0) await this.#save()
    throwIfAborted(signal)
  }

  async maybeSave(): Promise<void> {
    const { checkpoint } = this.options
    if (checkpoint && performance.now() - this.#savedAt >= checkpoint.everySeconds * 1000) await this.#save()
  }

  async #save(): Promise<void> {
    const { checkpoint } = this.options
    if (!checkpoint) return
    const progressed: Progressed = {
      step: this.step,
      cursor: this.#cursor,
      losses: this.#losses,
      evaluations: this.#evaluations,
      bestStep: this.#bestStep,
      seconds: this.#seconds,
    }
    await saveCheckpoint(checkpoint.folder, checkpoint.key, this.state, this.#best, progressed)
    this.#savedAt = performance.now()
  }

  async result(stopped: FitResult['stopped']): Promise<FitResult> {
    if (stopped === 'diverged' && this.#bestStep === undefined)
      throw new M4Error(
        'INVALID_REQUEST',
        `Training diverged at step ${this.step}: loss ${this.#losses.at(-1)}, before any look at the held-out samples.`,
        {
          hint: 'Lower the learning rate (--lr), or clip gradients more.',
          details: { step: this.step, losses: this.#losses.slice(-5) },
        },
      )
    if (this.options.checkpoint) await removeCheckpoint(this.options.checkpoint.folder)
    const last = () => new Map(this.subject.shapes.map(({ name }) => [name, this.state.parameter(name).slice()]))
    return {
      parameters: this.#bestStep === undefined ? last() : this.#best,
      stopped,
      losses: this.#losses,
      evaluations: this.#evaluations,
      step: this.#bestStep ?? this.step,
      seconds: this.#seconds,
      unitsPerSecond: this.#speed(),
      resumedAt: this.#resumedAt,
    }
  }
}

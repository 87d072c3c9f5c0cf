/**
 * What the trainer needs of a kind of data: text (text/course.ts) and pictures, sounds and motion (media/course.ts) are one row each in
 * the table of trainer.ts. Everything between — steps, checkpoints, memory, the package — is the same for both.
 */

import type { AdapterFacts, PackageParts } from '../adapters/index.js'
import type { LongOperation } from '../core/progress.js'
import type { Engine } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { DataSet, Finding } from './data/index.js'
import type { FitResult, FitSubject, StepReport } from './fit.js'
import type { MediaFinding } from './media/unreadable.js'
import type { MemoryEstimate } from './memory.js'
import type { ResolvedOptions, TrainOptions } from './options.js'

export interface TrainRequest extends LongOperation {
  /** CSV, TSV, JSONL, or a folder: see data/. */
  readonly data: string
  /** Held-out samples of one's own; else a part of `data`. */
  readonly evalData?: string
  readonly image: Image
  readonly engine: Engine
  readonly home?: string
  /** Folder of the package. Checkpoints of an unfinished run lie beside it, in `<out>.training`. */
  readonly out: string
  readonly options?: TrainOptions
  readonly name?: string
  readonly app?: string
  readonly licence?: string
  /** Forget the checkpoint of an unfinished run. */
  readonly fresh?: boolean
  readonly onStep?: (report: StepReport) => void
  readonly onFinding?: (finding: TrainFinding) => void
  /** Seconds between two checkpoints. Default 20. */
  readonly checkpointSeconds?: number
  /** Memory that may be used. Default: what the system has. */
  readonly availableBytes?: number
  /** Samples that the finished adapter is measured on; they are carried in the package. Default 200. */
  readonly measured?: number
  /** Also measure the base without the adapter, to compare with. Default true. */
  readonly measureBase?: boolean
}

/** Samples that a package is measured on, where the request does not say it. */
export const MEASURED = 200

export type TrainFinding =
  | Finding
  | MediaFinding
  | {
      readonly code: 'truncated' | 'random-weights' | 'diverged' | 'early-stop' | 'no-gain'
      readonly severity: 'warning'
      readonly message: string
    }

export type Say = (finding: TrainFinding) => void

type OwnCode = Exclude<TrainFinding['code'], Finding['code'] | MediaFinding['code']>

export const warning = (code: OwnCode, message: string): TrainFinding => ({
  code,
  severity: 'warning',
  message,
})

export const RANDOM_WEIGHTS = warning(
  'random-weights',
  'The weights of this image are random: no accuracy is measured on it.',
)

/** Metrics that are better the smaller they are. */
const ERRORS: ReadonlySet<string> = new Set(['mae', 'mse'])

/** How much better `a` is than `b`, in the unit of the metric; below 0 where it is worse. */
export const gainOf = (metric: string, a: number, b: number): number => (ERRORS.has(metric) ? b - a : a - b)

/** `no-gain`, where the adapter is no better than what the image can do without it. */
export function sayNoGain(metric: Score, base: NonNullable<Finished['base']>, say: Say): void {
  if (gainOf(metric.name, metric.value, base.value) > 0) return
  const numbers = `${metric.value.toFixed(3)} against ${base.value.toFixed(3)}`
  const how = base.how === undefined ? '' : ` (${base.how})`
  say(warning('no-gain', `On the held-out samples the adapter is no better than the base${how}: ${numbers}.`))
}

/** The samples, read, checked and split. */
export interface Sides {
  /** The whole set: its digest and path are recorded. */
  readonly data: DataSet
  /** After the few-shot draw, where there is one. */
  readonly train: DataSet
  readonly evaluation: DataSet
}

export interface TrainPlan {
  /** What is learned: a prompt with labels, or a head on features. */
  readonly task: {
    readonly task: string
    readonly labels?: readonly string[]
    readonly template?: string
    readonly module?: string
  }
  readonly options: ResolvedOptions
  readonly parameters: number
  readonly trainSamples: number
  readonly evalSamples: number
  readonly memory: MemoryEstimate
  /** Of all steps, looks at the held-out loss included, at the present load of this machine. Only of `planTraining`. */
  readonly seconds?: number
  /** Of the package, about. */
  readonly adapterBytes: number
}

export interface Score {
  readonly name: string
  readonly value: number
  readonly count: number
  /** Of the mean of `count` yes-or-no outcomes. */
  readonly stderr: number
  /** What came out, in the order of the samples. */
  readonly outputs: readonly string[]
}

/** What a course makes of the trained parameters. */
export interface Finished {
  readonly facts: Pick<AdapterFacts, 'task' | 'path' | 'kind' | 'base' | 'prompt' | 'head'>
  readonly parts: Pick<PackageParts, 'peft' | 'head' | 'dtype' | 'evaluation'>
  /** undefined for random weights: nothing is measured on them. */
  readonly metric: Score | undefined
  /** Of the image without the adapter, on the same samples; `how` where that is not plain. */
  readonly base: (Score & { readonly how?: string }) | undefined
  /** Samples that were trained on: some may have been left out on the way. */
  readonly trainSamples: number
}

export interface Course {
  readonly plan: TrainPlan
  /** Opened once, when memory is known to suffice. */
  subject(): Promise<FitSubject>
  /** How long all steps will take; absent where it is not worth telling. */
  readonly seconds?: () => Promise<number>
  /** Settings that need less memory, the fastest first. */
  readonly gentler?: () => Promise<{ readonly what: string; readonly totalBytes: number }[]>
  /** The adapter, measured through the runtime, the way it will be served. */
  finish(result: FitResult): Promise<Finished>
}

/** Options of `m4fm adapter train`, all plain data: they are recorded in the adapter, and train it again. */

import type { ReadOptions } from './data/index.js'
import type { ObjectTaskName } from './objects/task.js'
import type { OptimiserOptions } from './schedule.js'

export const ADAPTER_KINDS = ['lora', 'prompt', 'prefix', 'head'] as const
export type AdapterKind = (typeof ADAPTER_KINDS)[number]

export interface TrainOptions {
  /** Pictures with objects: what is learned of them. Default: what the annotations are for (objects/task.ts). */
  readonly task?: ObjectTaskName
  /** What is trained. Default `lora` for text; `head` for pictures, sound and motion. */
  readonly kind?: AdapterKind
  /** LoRA: parts of the base, `q`, `v`, … with a rank of their own, `q:16`, and an alpha, `q:16:32`. Default q and v. */
  readonly parts?: readonly string[]
  /** LoRA rank. Default 8. */
  readonly rank?: number
  /** LoRA alpha. Default twice the rank. */
  readonly alpha?: number
  /** Scale alpha/√rank instead of alpha/rank (arXiv:2312.03732). */
  readonly rsLora?: boolean
  /** Virtual tokens of prompt and prefix tuning. Default 16. */
  readonly tokens?: number
  /** Optimiser steps. Default: `epochs` over the data, at most 300. */
  readonly steps?: number
  /** Passes over the data, where `steps` is not given. Default 3. */
  readonly epochs?: number
  /** Samples a step. Default 16. */
  readonly batch?: number
  /**
   * Text: tokens that are run at once, padding included; larger batches are run in parts, their gradients gathered. It decides how
   * much memory is needed. Default 768.
   */
  readonly tokensAtOnce?: number
  /** Longest sample; texts are cut behind it, and it is said. Default 256, or the context of the backbone where that is less. */
  readonly maxTokens?: number
  readonly optimiser?: Partial<OptimiserOptions>
  readonly seed?: number
  /** Share of the data that is held out, where no second file is given. Default 0.1, at least 2 and at most 500 samples. */
  readonly evalFraction?: number
  /** Steps between two looks at the held-out loss. Default: a tenth of the steps, at least 10. */
  readonly evalEvery?: number
  /** Looks without a better loss after which training stops. Default 3; 0 never stops early. */
  readonly patience?: number
  /** Of the data that are there, the share that is trained on (few-shot). Default 1. */
  readonly fraction?: number
  /** Prompt with `{}` where the text goes, or `chat`. */
  readonly template?: string
  /** Run frozen products in int8 where the image stores blocks: faster. `image` runs them as the device does. Default int8. */
  readonly forward?: 'int8' | 'image'
  /** Keep nothing inside a layer: it is computed again on the way back. Slower by a half, for long texts and small machines. */
  readonly recompute?: boolean
  /** How tensors of the adapter are stored. Default float32. */
  readonly dtype?: 'float32' | 'float16'
  /** Heads: widths of layers between features and classes. Default none: a linear head, which small sets suit best. */
  readonly hidden?: readonly number[]
  /** Heads: layers of the encoder that are read, e.g. `pooled/s10`. Default none named: all of them. */
  readonly layers?: readonly string[]
  /** How the data file is read. */
  readonly read?: ReadOptions
}

export interface ResolvedOptions
  extends Required<Omit<TrainOptions, 'task' | 'alpha' | 'template' | 'steps' | 'optimiser'>> {
  readonly task: ObjectTaskName | undefined
  readonly alpha: number | undefined
  readonly template: string | undefined
  readonly steps: number
  readonly optimiser: OptimiserOptions
}

/** LoRA's rate is measured (bench/results/adapters.md); the others are places to begin: virtual tokens want hundreds of steps. */
const RATES: Readonly<Record<AdapterKind, number>> = { lora: 1e-3, prompt: 1e-2, prefix: 1e-2, head: 3e-3 }

const LONGEST_DEFAULT_RUN = 300

/**
 * @param count samples to train on
 * @param context rows that the backbone can hold
 */
export function resolveOptions(
  given: TrainOptions,
  kind: AdapterKind,
  count: number,
  context = Number.POSITIVE_INFINITY,
): ResolvedOptions {
  const batch = Math.min(given.batch ?? 16, count)
  const perEpoch = Math.ceil(count / batch)
  const steps = given.steps ?? Math.min(LONGEST_DEFAULT_RUN, (given.epochs ?? 3) * perEpoch)
  return {
    kind,
    task: given.task,
    parts: given.parts ?? ['q', 'v'],
    rank: given.rank ?? 8,
    alpha: given.alpha,
    rsLora: given.rsLora ?? false,
    tokens: given.tokens ?? 16,
    steps,
    epochs: given.epochs ?? 3,
    batch,
    tokensAtOnce: given.tokensAtOnce ?? 768,
    maxTokens: given.maxTokens ?? Math.min(256, context),
    optimiser: {
      lr: RATES[kind],
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      decay: kind === 'lora' || kind === 'head' ? 0.01 : 0,
      clip: 1,
      schedule: 'cosine',
      warmupSteps: Math.min(10, Math.floor(steps / 10)),
      floor: 0.1,
      ...given.optimiser,
    },
    seed: given.seed ?? 0,
    evalFraction: given.evalFraction ?? 0.1,
    evalEvery: given.evalEvery ?? Math.max(10, Math.ceil(steps / 10)),
    patience: given.patience ?? 3,
    fraction: given.fraction ?? 1,
    template: given.template,
    forward: given.forward ?? 'int8',
    recompute: given.recompute ?? false,
    dtype: given.dtype ?? 'float32',
    hidden: given.hidden ?? [],
    layers: given.layers ?? [],
    read: given.read ?? {},
  }
}

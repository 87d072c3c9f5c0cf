/**
 * How much of the picture is left at each of the steps that a diffusion model was trained over.
 *
 * @paper arXiv:2006.11239 · @reference huggingface/diffusers@f594264:schedulers/scheduling_ddim.py
 */

import { M4Error, unknownName } from '../../core/errors.js'

/** As scheduler_config.json says it, under our names. */
export interface NoiseScheduleFacts {
  readonly trainSteps: number
  readonly betaStart: number
  readonly betaEnd: number
  readonly betas: string
  /** Added to every step that is visited. */
  readonly stepsOffset: number
  /** Whether the last step ends at no noise at all, or at that of step 0. */
  readonly endsClean: boolean
  readonly prediction: Prediction
}

/** What the model says: the noise, or the velocity (arXiv:2202.00512). */
export type Prediction = 'epsilon' | 'v_prediction'

export interface NoiseSchedule extends NoiseScheduleFacts {
  /** Share of the signal's energy left after step t, 0 to trainSteps - 1. */
  readonly kept: Float64Array<ArrayBuffer>
  /** The same at a step; before step 0 what `endsClean` says. */
  keptAt(step: number): number
}

const evenly = (from: number, to: number, count: number) =>
  Array.from({ length: count }, (_, i) => (count === 1 ? from : from + ((to - from) * i) / (count - 1)))

const BETAS: Readonly<Record<string, (facts: NoiseScheduleFacts) => readonly number[]>> = Object.freeze({
  linear: ({ betaStart, betaEnd, trainSteps }) => evenly(betaStart, betaEnd, trainSteps),
  scaled_linear: ({ betaStart, betaEnd, trainSteps }) =>
    evenly(Math.sqrt(betaStart), Math.sqrt(betaEnd), trainSteps).map((root) => root ** 2),
  /** arXiv:2102.09672 */
  squaredcos_cap_v2: ({ trainSteps }) => {
    const left = (t: number) => Math.cos(((t / trainSteps + 0.008) / 1.008) * (Math.PI / 2)) ** 2
    return Array.from({ length: trainSteps }, (_, t) => Math.min(1 - left(t + 1) / left(t), 0.999))
  },
})

/** @throws M4Error `UNKNOWN_NAME`, `INVALID_REQUEST` */
export function createNoiseSchedule(facts: NoiseScheduleFacts): NoiseSchedule {
  if (!Object.hasOwn(BETAS, facts.betas)) throw unknownName('noise schedule', facts.betas, Object.keys(BETAS))
  const { trainSteps, betaStart, betaEnd } = facts
  if (!Number.isInteger(trainSteps) || trainSteps < 1 || !(betaStart > 0 && betaStart <= betaEnd && betaEnd < 1))
    throw new M4Error(
      'INVALID_REQUEST',
      `Noise schedule: expected 1 or more steps with betas in (0, 1), got ${trainSteps} of ${betaStart} to ${betaEnd}.`,
      { hint: 'Check scheduler_config.json.' },
    )
  let product = 1
  const kept = Float64Array.from(BETAS[facts.betas]!(facts), (beta) => {
    product *= 1 - beta
    return product
  })
  const clean = facts.endsClean ? 1 : kept[0]!
  return { ...facts, kept, keptAt: (step) => (step < 0 ? clean : kept[Math.min(step, trainSteps - 1)]!) }
}

/**
 * The steps that `count` evaluations visit, from noise to picture ("leading" spacing), of them the last `share`.
 * @throws M4Error `INVALID_REQUEST`
 */
export function visitedSteps({ trainSteps, stepsOffset }: NoiseScheduleFacts, count: number, share = 1): number[] {
  if (!Number.isInteger(count) || count < 1 || count > trainSteps)
    throw new M4Error('INVALID_REQUEST', `steps: expected a whole number from 1 to ${trainSteps}, got ${count}.`)
  if (!(share > 0 && share <= 1))
    throw new M4Error('INVALID_REQUEST', `strength: expected a number above 0, at most 1, got ${share}.`, {
      hint: '1 leaves nothing of the picture that was given.',
    })
  const stride = Math.floor(trainSteps / count)
  const kept = Math.max(1, Math.min(count, Math.floor(count * share)))
  return Array.from({ length: kept }, (_, i) => Math.min((kept - 1 - i) * stride + stepsOffset, trainSteps - 1))
}

/** √ᾱ·x + √(1-ᾱ)·noise: the picture as it would look at `step`. */
export function addNoise(schedule: NoiseSchedule, x: Float32Array, noise: Float32Array, step: number): Float32Array {
  const kept = schedule.keptAt(step)
  const [signal, share] = [Math.sqrt(kept), Math.sqrt(1 - kept)]
  return x.map((value, i) => signal * value + share * noise[i]!)
}

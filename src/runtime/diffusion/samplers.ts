/**
 * Samplers: from what the model says at a step to the latents of the next. Both are deterministic.
 *
 *   ddim   arXiv:2010.02502, η = 0
 *   pndm   arXiv:2202.09778 without its Runge–Kutta steps ("PLMS"): a line through up to four evaluations; the second step is
 *          evaluated twice, to start
 *
 * @reference huggingface/diffusers@f594264:schedulers/scheduling_{ddim,pndm}.py
 */

import { unknownName } from '../../core/errors.js'
import { type NoiseSchedule, visitedSteps } from './noise-schedule.js'

export interface DiffusionSampler {
  /** The steps in order, one evaluation of the model each. */
  readonly steps: readonly number[]
  /** The latents after evaluation `index`, of which the model said `output`. Call in order. */
  advance(index: number, latents: Float32Array, output: Float32Array): Float32Array
}

export interface SamplerOptions {
  readonly steps: number
  /** Of the way from noise to picture, what is gone: 1, or less when it starts at a picture. */
  readonly strength?: number
}

type Make = (schedule: NoiseSchedule, options: SamplerOptions) => DiffusionSampler

const SAMPLERS = { ddim, pndm } as const satisfies Record<string, Make>
export type SamplerName = keyof typeof SAMPLERS
export const SAMPLER_NAMES = Object.keys(SAMPLERS) as SamplerName[]

/** @throws M4Error `UNKNOWN_NAME`, `INVALID_REQUEST` */
export function createDiffusionSampler(
  name: string,
  schedule: NoiseSchedule,
  options: SamplerOptions,
): DiffusionSampler {
  if (!Object.hasOwn(SAMPLERS, name)) throw unknownName('sampler', name, SAMPLER_NAMES)
  return SAMPLERS[name as SamplerName](schedule, options)
}

function ddim(schedule: NoiseSchedule, options: SamplerOptions): DiffusionSampler {
  const steps = visitedSteps(schedule, options.steps, options.strength)
  const stride = Math.floor(schedule.trainSteps / options.steps)
  const isVelocity = schedule.prediction === 'v_prediction'
  return {
    steps,
    advance(index, latents, output) {
      const [here, next] = [schedule.keptAt(steps[index]!), schedule.keptAt(steps[index]! - stride)]
      const [signal, noise] = [Math.sqrt(here), Math.sqrt(1 - here)]
      const [nextSignal, nextNoise] = [Math.sqrt(next), Math.sqrt(1 - next)]
      return latents.map((x, i) => {
        const said = output[i]!
        const clean = isVelocity ? signal * x - noise * said : (x - noise * said) / signal
        const epsilon = isVelocity ? signal * said + noise * x : said
        return nextSignal * clean + nextNoise * epsilon
      })
    },
  }
}

/** Adams–Bashforth weights of the evaluations so far, the latest first. */
const WEIGHTS = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]] as const
/** At the second evaluation, which repeats the first step with what is known at its end. */
const TRAPEZOID = [1 / 2, 1 / 2] as const

function pndm(schedule: NoiseSchedule, options: SamplerOptions): DiffusionSampler {
  const levels = visitedSteps(schedule, options.steps, options.strength)
  const stride = Math.floor(schedule.trainSteps / options.steps)
  // The second level twice: first to evaluate it, then to step on from it.
  const steps = levels.length < 2 ? levels : [...levels.slice(0, 2), ...levels.slice(1)]
  const said: Float32Array[] = []
  let start: Float32Array | undefined
  return {
    steps,
    advance(index, latents, output) {
      if (index === 0) start = latents
      const repeats = index === 1
      const [from, to] = repeats ? [steps[1]! + stride, steps[1]!] : [steps[index]!, steps[index]! - stride]
      const known = [output, ...said]
      const weights = repeats ? TRAPEZOID : WEIGHTS[Math.min(known.length, WEIGHTS.length) - 1]!
      const line = output.map((_, i) => weights.reduce((sum, weight, k) => sum + weight * known[k]![i]!, 0))
      if (!repeats) said.unshift(output.slice())
      said.length = Math.min(said.length, WEIGHTS.length - 1)
      return transfer(schedule, repeats ? start! : latents, line, from, to)
    },
  }
}

/** PNDM, equation 9: from one step to another along an estimate of the noise. */
function transfer(schedule: NoiseSchedule, x: Float32Array, line: Float32Array, from: number, to: number) {
  const [here, next] = [schedule.keptAt(from), schedule.keptAt(to)]
  const [signal, noise] = [Math.sqrt(here), Math.sqrt(1 - here)]
  const isVelocity = schedule.prediction === 'v_prediction'
  const share = (next - here) / (here * Math.sqrt(1 - next) + Math.sqrt(here * (1 - here) * next))
  const scale = Math.sqrt(next / here)
  return x.map((value, i) => {
    const epsilon = isVelocity ? signal * line[i]! + noise * value : line[i]!
    return scale * value - share * epsilon
  })
}

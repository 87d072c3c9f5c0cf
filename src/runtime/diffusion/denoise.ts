/** The loop from noise to latents: the U-Net on both branches, guidance, one step of the sampler. */

import { throwIfAborted } from '../../core/errors.js'
import { type HostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine, Session, Tensor } from '../../engine/types.js'
import type { DiffusionSampler } from './samplers.js'

/** What the U-Net hears beside latents and step. */
export interface Conditions {
  /** [B, T, C] */
  readonly text: HostTensor<'float32'>
  /** unCLIP's class vector [B, W]. */
  readonly class?: HostTensor<'float32'> | undefined
}

export interface Denoiser {
  /** The U-Net once: latents [B, Z, Y, X] at `step`. */
  predict(latents: HostTensor<'float32'>, step: number, conditions: Conditions): Promise<Float32Array>
}

export function createDenoiser(engine: Engine, unet: Session, signal?: AbortSignal): Denoiser {
  return {
    async predict(latents, step, conditions) {
      const rows = latents.dims[0]!
      const open: Tensor[] = []
      const give = (tensor: Tensor) => {
        open.push(tensor)
        return tensor
      }
      const float32 = ({ dims, data }: HostTensor<'float32'>) => give(engine.tensor('float32', dims, data))
      try {
        const steps = int64Tensor([rows], new Array<number>(rows).fill(step))
        const { prediction } = await unet.run(
          {
            latents: float32(latents),
            step: give(engine.tensor('int64', [rows], steps.data)),
            text: float32(conditions.text),
            ...(conditions.class ? { class: float32(conditions.class) } : {}),
          },
          ['prediction'],
          { signal },
        )
        return (give(prediction!).data as Float32Array).slice()
      } finally {
        for (const tensor of open) tensor.dispose()
      }
    },
  }
}

export interface DenoiseOptions {
  /** [B, Z, Y, X]: noise, or a picture's latents with noise. */
  readonly latents: HostTensor<'float32'>
  readonly sampler: DiffusionSampler
  readonly given: Conditions
  /** What the picture should be steered away from. Without it, or with a guidance of 1, the model is asked once a step. */
  readonly away?: Conditions | undefined
  /** away + guidance · (given - away), arXiv:2207.12598 */
  readonly guidance: number
  readonly signal?: AbortSignal | undefined
}

export interface StepDone {
  readonly done: number
  readonly of: number
}

/** Tells every step that is done; latents at the end. @throws M4Error `ABORTED`, `ENGINE` */
export async function* denoise(
  denoiser: Denoiser,
  options: DenoiseOptions,
): AsyncGenerator<StepDone, HostTensor<'float32'>> {
  const { sampler, given, away, guidance, signal } = options
  const { dims, dtype } = options.latents
  const guided = away !== undefined && guidance !== 1
  const conditions = guided ? joinConditions(away, given) : given
  let data: HostTensor<'float32'>['data'] = options.latents.data
  for (const [index, step] of sampler.steps.entries()) {
    throwIfAborted(signal)
    const latents = { dtype, dims, data }
    const said = await denoiser.predict(guided ? joinRows(latents, latents) : latents, step, conditions)
    data = Float32Array.from(sampler.advance(index, data, guided ? steer(said, guidance) : said))
    yield { done: index + 1, of: sampler.steps.length }
  }
  return { dtype, dims, data }
}

/** Rows of both branches, one below the other. */
function steer(said: Float32Array, guidance: number): Float32Array {
  const half = said.length / 2
  const out = new Float32Array(half)
  for (let i = 0; i < half; i++) out[i] = said[i]! + guidance * (said[half + i]! - said[i]!)
  return out
}

function joinConditions(first: Conditions, second: Conditions): Conditions {
  const classes = first.class && second.class ? joinRows(first.class, second.class) : undefined
  return { text: joinRows(first.text, second.text), class: classes }
}

/** Two tensors of one shape as one of twice the rows. */
export function joinRows(a: HostTensor<'float32'>, b: HostTensor<'float32'>): HostTensor<'float32'> {
  const data = new Float32Array(a.data.length + b.data.length)
  data.set(a.data)
  data.set(b.data, a.data.length)
  return { dtype: 'float32', dims: [a.dims[0]! + b.dims[0]!, ...a.dims.slice(1)], data }
}

/**
 * Stable Diffusion 1.x, 2.x and unCLIP as one module: text encoder, U-Net, autoencoder, and what unCLIP adds. Reads LDM's one
 * .ckpt or .safetensors, and diffusers folders as the checkpoint reader joins them (`unet/…`, `vae/…`, `text_encoder/…`).
 *
 * @paper arXiv:2112.10752
 */

import { M4Error } from '../../core/errors.js'
import type { Graph } from '../../graph/index.js'
import type { Architecture, CheckpointFacts, ModuleOptions } from '../architecture.js'
import { factAt, numberFact } from '../facts.js'
import { randomWeights } from '../random-weights.js'
import type { Weights, WeightTensor } from '../weights.js'
import { type AugmentConfig, augmentConfig, augmentGraph, augmentShapes, augmentWeights } from './augment.js'
import { type ClipTextConfig, clipTextConfig, clipTextGraph, clipTextShapes, clipTextWeights } from './clip-text.js'
import { TRAIN_STEPS, unetGraph, unetShapes, unetWeights } from './unet.js'
import { type UnetConfig, unetConfig } from './unet-config.js'
import { vaeDecoderGraph, vaeEncoderGraph, vaeShapes, vaeWeights } from './vae.js'
import { type VaeConfig, vaeConfig } from './vae-tensors.js'

export * from './augment.js'
export * from './clip-text.js'
export * from './published.js'
export * from './unet.js'
export * from './unet-config.js'
export * from './vae.js'
export * from './vae-tensors.js'

export interface StableDiffusionConfig {
  readonly text: ClipTextConfig
  readonly unet: UnetConfig
  readonly vae: VaeConfig
  /** Only unCLIP. */
  readonly augment?: AugmentConfig
  readonly scheduler: SchedulerConfig
  /** Latents along each side of the pictures that the model was trained on. */
  readonly latentSize: number
}

/** As the runtime's noise schedule takes it. */
export interface SchedulerConfig {
  readonly sampler: 'ddim' | 'pndm'
  readonly trainSteps: number
  readonly betaStart: number
  readonly betaEnd: number
  readonly betas: string
  readonly stepsOffset: number
  readonly endsClean: boolean
  readonly prediction: 'epsilon' | 'v_prediction'
}

const PARTS = ['text', 'unet', 'vae', 'augment'] as const
export type DiffusionPart = (typeof PARTS)[number]

/** What the names of each part begin with: LDM, then diffusers. */
const PREFIXES: Readonly<Record<DiffusionPart, readonly string[]>> = {
  text: ['cond_stage_model.transformer.', 'cond_stage_model.model.', 'text_encoder/'],
  unet: ['model.diffusion_model.', 'unet/'],
  vae: ['first_stage_model.', 'vae/'],
  augment: ['noise_augmentor.', 'image_normalizer/'],
}

/** In such files and of no use here: averages of training, tables that are computed, the image encoder of unCLIP. */
const IGNORED =
  /^(model_ema\.|embedder\.|safety_checker\/|image_encoder\/|image_noising_scheduler\/|(optimizer_states|lr_schedulers|callbacks|loops)\/|cond_stage_model\.logit_scale$|(betas|logvar|scale_factor|lvlb_weights)$|(alphas|sqrt|log|posterior)_)/

/** Torch files keep the tensors of a checkpoint below this key. */
const STATE = 'state_dict/'

/** The tensors of each part under its own names. @throws M4Error `TENSOR_UNUSED` for one that belongs to no part */
export function diffusionParts(weights: Weights): Record<DiffusionPart, Map<string, WeightTensor>> {
  const parts = { text: new Map(), unet: new Map(), vae: new Map(), augment: new Map() } as Record<
    DiffusionPart,
    Map<string, WeightTensor>
  >
  const stray: string[] = []
  for (const [full, tensor] of weights) {
    const name = full.startsWith(STATE) ? full.slice(STATE.length) : full
    const place = placeOf(name)
    if (place) parts[place.part].set(name.slice(place.prefix.length), tensor)
    else if (!IGNORED.test(name)) stray.push(full)
  }
  if (stray.length)
    throw new M4Error('TENSOR_UNUSED', `${stray.length} tensors belong to no part, e.g. ${stray[0]}.`, {
      hint: 'Expected a Stable Diffusion checkpoint, or a diffusers folder with model_index.json.',
      details: { unused: stray },
    })
  return parts
}

/** The tensors of one part, whether the file holds that part alone, without a prefix, or more. */
export function diffusionPart(weights: Weights, part: DiffusionPart): Weights {
  const bare = new Map([...weights].map(([name, tensor]) => [name.replace(STATE, ''), tensor]))
  if (![...bare.keys()].some(placeOf)) return bare
  return diffusionParts(weights)[part]
}

function placeOf(name: string): { part: DiffusionPart; prefix: string } | undefined {
  for (const part of PARTS) for (const prefix of PREFIXES[part]) if (name.startsWith(prefix)) return { part, prefix }
  return undefined
}

/** Facts of one part, from the section of the configuration that is named after it. */
const factsOf = ({ format, metadata }: CheckpointFacts, part: DiffusionPart, weights: Weights): CheckpointFacts => ({
  format,
  metadata: { config: factAt(metadata, `config/${part}`) ?? {} },
  weights,
})

export function stableDiffusionConfig(facts: CheckpointFacts): StableDiffusionConfig {
  const parts = diffusionParts(facts.weights)
  const scheduler = schedulerConfig(factAt(facts.metadata, 'config/scheduler') ?? {})
  // Of the published models, those that tell the velocity paint 768 dots, the others 512.
  const published = scheduler.prediction === 'v_prediction' ? 96 : 64
  const config: StableDiffusionConfig = {
    text: clipTextConfig(factsOf(facts, 'text', parts.text)),
    unet: unetConfig(factsOf(facts, 'unet', parts.unet)),
    vae: vaeConfig(factsOf(facts, 'vae', parts.vae)),
    ...(parts.augment.size ? { augment: augmentConfig(factsOf(facts, 'augment', parts.augment)) } : {}),
    scheduler,
    latentSize: numberFact(facts.metadata, ['config/unet/sample_size'], published),
  }
  checkWidths(config)
  return config
}

/** Parts of different models do not fit. @throws M4Error `SHAPE_MISMATCH` */
function checkWidths({ text, unet, vae, augment }: StableDiffusionConfig): void {
  const pairs = [
    ['text', text.width, unet.contextWidth],
    ['latents', vae.latentChannels, unet.inChannels],
    ...(augment ? [['class vector', 2 * augment.width, unet.classWidth] as const] : []),
  ] as const
  for (const [what, given, wanted] of pairs)
    if (given !== wanted)
      throw new M4Error('SHAPE_MISMATCH', `The U-Net takes ${what} of ${wanted}, the other part gives ${given}.`, {
        hint: 'All parts must come from one model; inpainting and depth models are not supported.',
      })
}

const SAMPLERS: Readonly<Record<string, SchedulerConfig['sampler']>> = { PNDMScheduler: 'pndm', DDIMScheduler: 'ddim' }

/** scheduler_config.json; what it does not say is as in Stable Diffusion 1.x. @throws M4Error `FORMAT_UNSUPPORTED` */
export function schedulerConfig(given: unknown): SchedulerConfig {
  const facts = { scheduler: given } as Record<string, unknown>
  const fact = (key: string) => factAt(facts, `scheduler/${key}`)
  const refuse = (key: string, expected: string) => {
    throw new M4Error('FORMAT_UNSUPPORTED', `The scheduler's ${key} is ${JSON.stringify(fact(key))}.`, {
      hint: `Expected ${expected}.`,
    })
  }
  const trainSteps = numberFact(facts, ['scheduler/num_train_timesteps'], TRAIN_STEPS)
  if (trainSteps > TRAIN_STEPS) refuse('num_train_timesteps', `${TRAIN_STEPS} or less`)
  const prediction = fact('prediction_type') ?? 'epsilon'
  if (prediction !== 'epsilon' && prediction !== 'v_prediction') refuse('prediction_type', 'epsilon or v_prediction')
  if ((fact('timestep_spacing') ?? 'leading') !== 'leading') refuse('timestep_spacing', 'leading')
  if (fact('clip_sample')) refuse('clip_sample', 'false')
  if (fact('trained_betas')) refuse('trained_betas', 'none')
  return {
    sampler: SAMPLERS[String(fact('_class_name'))] ?? 'pndm',
    trainSteps,
    betaStart: numberFact(facts, ['scheduler/beta_start'], 0.00085),
    betaEnd: numberFact(facts, ['scheduler/beta_end'], 0.012),
    betas: String(fact('beta_schedule') ?? 'scaled_linear'),
    stepsOffset: numberFact(facts, ['scheduler/steps_offset'], 1),
    endsClean: fact('set_alpha_to_one') === true,
    prediction: prediction as SchedulerConfig['prediction'],
  }
}

export function stableDiffusionShapes(config: StableDiffusionConfig): Record<string, readonly number[]> {
  return {
    ...clipTextShapes(config.text),
    ...unetShapes(config.unet),
    ...vaeShapes(config.vae),
    ...(config.augment ? augmentShapes(config.augment) : {}),
  }
}

function stableDiffusionWeights(config: StableDiffusionConfig, weights: Weights): Map<string, WeightTensor> {
  const parts = diffusionParts(weights)
  return new Map([
    ...clipTextWeights(config.text, parts.text),
    ...unetWeights(config.unet, parts.unet),
    ...vaeWeights(config.vae, parts.vae),
    ...(config.augment ? augmentWeights(config.augment, parts.augment) : []),
  ])
}

function stableDiffusionGraphs(
  config: StableDiffusionConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  { quantisation, embedding }: ModuleOptions,
): Record<string, () => Graph> {
  const { augment } = config
  return {
    text: () => clipTextGraph(config.text, weights, { quantisation, embedding }),
    unet: () => unetGraph(config.unet, weights, quantisation),
    encode: () => vaeEncoderGraph(config.vae, weights, quantisation),
    decode: () => vaeDecoderGraph(config.vae, weights, quantisation),
    ...(augment ? { augment: () => augmentGraph(augment, weights) } : {}),
  }
}

export const stableDiffusion: Architecture<StableDiffusionConfig> = {
  configure: stableDiffusionConfig,
  weights: stableDiffusionWeights,
  random: (config, seed) => randomWeights(stableDiffusionShapes(config), () => config.text.layers, seed),
  graphs: stableDiffusionGraphs,
  runtimeConfig: ({ text, unet, vae, augment, scheduler, latentSize }) => ({
    contextLength: text.contextLength,
    // OpenCLIP (2.x) pads with id 0, CLIP (1.x) repeats the end.
    padding: text.activation === 'gelu' ? 'zero' : 'end',
    latentChannels: unet.inChannels,
    latentSize,
    dotsPerLatent: 2 ** (vae.levels.length - 1),
    latentScale: vae.scale,
    embeddingWidth: augment?.width ?? 0,
    scheduler,
  }),
}

/** Stable Diffusion cases: text encoders, U-Nets, autoencoders, unCLIP, samplers, and whole pipelines. */

import { gunzipSync } from 'node:zlib'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import { schedulerConfig } from '../models/index.js'
import {
  type Conditions,
  createDenoiser,
  createDiffusionSampler,
  createNoiseSchedule,
  type DiffusionSampler,
  denoise,
  type NoiseSchedule,
} from '../runtime/diffusion/index.js'
import { clipSequence, fromClipMerges, loadTokenizer } from '../tokenizers/index.js'
import { type OutputSpec, type ParityCase, readBytes } from './case.js'
import { countReport } from './compare.js'
import { type DiffusionModel, openDiffusion } from './diffusion-model.js'
import type { CaseRun, OutputReport, Runner } from './types.js'
import { vocabularyFile } from './vocabularies.js'

type Floats = HostTensor<'float32'>

/** Outputs that the case declares, by name. */
async function produce(
  { outputs }: ParityCase,
  make: (spec: OutputSpec) => Promise<HostTensor | undefined>,
): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>()
  for (const spec of outputs) {
    const tensor = await make(spec)
    if (tensor) tensors.set(spec.name, tensor)
  }
  return tensors
}

const TEXT_OUTPUTS: Readonly<Record<string, 'text' | 'textSkip'>> = {
  last_hidden_state: 'text',
  /** OpenCLIP of 2.x never runs its last layer. */
  penultimate_hidden: 'text',
  penultimate_after_final_ln: 'textSkip',
}

export const runDiffusionText: Runner = async (run) => {
  const { parityCase } = run
  using model = openDiffusion(run)
  const ids = parityCase.input('input_ids')
  return {
    tensors: await produce(parityCase, async ({ name }) => {
      const graph = Object.hasOwn(TEXT_OUTPUTS, name) ? TEXT_OUTPUTS[name]! : undefined
      return graph && (await model.run(graph, { ids })).hidden
    }),
  }
}

export const runUnet: Runner = async (run) => {
  using model = openDiffusion(run)
  const { prediction } = await model.run('unet', unetInputs(run.parityCase))
  return { tensors: new Map([['noise_pred', prediction!]]) }
}

/** One step for all rows may be given as a single number. */
function unetInputs(parityCase: ParityCase): Record<string, HostTensor> {
  const latents = parityCase.input('sample')
  const { data } = parityCase.input('timestep')
  const steps = Array.from({ length: latents.dims[0]! }, (_, row) => Number(data[data.length === 1 ? 0 : row]))
  return { latents, step: int64Tensor([steps.length], steps), text: parityCase.input('encoder_hidden_states') }
}

export const runVae: Runner = async (run) => {
  const { parityCase } = run
  using model = openDiffusion(run)
  const tensors = new Map<string, HostTensor>()
  if (parityCase.hasInput('latents')) {
    const { decoded, picture } = await model.run('decode', { latents: parityCase.input('latents') })
    tensors.set('decoded', decoded!).set('image01', picture!)
  }
  if (parityCase.hasInput('image')) {
    const { moments } = await model.run('encode', { picture: parityCase.input('image') })
    tensors.set('encoder_moments', moments!)
  }
  return { tensors }
}

/** `eps(x, t)` of the case's notes, in place of a model. */
const toyModel = (x: Float32Array, step: number) =>
  x.map((value) => Math.tanh(0.8 * value + 0.3 * Math.sin(step / 150)))

const SAMPLER_CASE = /^(ddim|pndm|plms)_(?:(v)_)?(\d+)$/
const samplerName = (name: string) => (name === 'plms' ? 'pndm' : name)

export const runSchedulers: Runner = async ({ parityCase }) => {
  const { config } = parityCase
  const schedules = { epsilon: scheduleOf(config, 'epsilon'), v_prediction: scheduleOf(config, 'v_prediction') }
  const checks: OutputReport[] = []
  const tensors = await produce(parityCase, async ({ name }) => {
    if (name === 'alphas_cumprod')
      return hostTensor('float64', [config.num_train_timesteps as number], schedules.epsilon.kept)
    const [, kind, velocity, count] = SAMPLER_CASE.exec(name) ?? []
    if (!kind) return undefined
    const schedule = schedules[velocity ? 'v_prediction' : 'epsilon']
    const sampler = createDiffusionSampler(samplerName(kind), schedule, { steps: Number(count) })
    const { dims, data } = parityCase.input('x_T')
    let x = data as Float32Array
    sampler.steps.forEach((step, index) => {
      x = sampler.advance(index, x, toyModel(x, step))
    })
    checks.push(...stepsCheck(name, sampler, (config.timesteps as Record<string, unknown> | undefined)?.[name]))
    return hostTensor('float32', dims, Float32Array.from(x))
  })
  return { tensors, checks }
}

const scheduleOf = (scheduler: unknown, prediction?: NoiseSchedule['prediction']) => {
  const facts = schedulerConfig(scheduler)
  return createNoiseSchedule(prediction ? { ...facts, prediction } : facts)
}

function stepsCheck(name: string, { steps }: DiffusionSampler, expected: unknown): OutputReport[] {
  if (!Array.isArray(expected)) return []
  const wrong = expected.join() === steps.join() ? [] : [`expected ${expected}, got ${steps}`]
  return [countReport(`${name} steps`, wrong)]
}

/** unCLIP: class vectors of each noise level, one prediction of the U-Net each, and a guided run of DDIM with the last. */
export const runUnclip: Runner = async (run) => {
  const { parityCase } = run
  const { config } = parityCase
  using model = openDiffusion(run)
  const sample = parityCase.input('sample') as Floats
  const rows = sample.dims[0]!
  const classAt = async (level: number) => {
    const feeds = { embedding: parityCase.input('image_embedding'), noise: parityCase.input('augment_noise') }
    const levels = int64Tensor([rows], new Array<number>(rows).fill(level))
    return (await model.run('augment', { ...feeds, level: levels })).class as Floats
  }
  const tensors = await produce(parityCase, async ({ name }) => {
    const level = /_level_(\d+)$/.exec(name)?.[1]
    if (name.startsWith('class_vector') && level) return classAt(Number(level))
    if (name.startsWith('v_pred') && level)
      return (await model.run('unet', { ...unetInputs(parityCase), class: await classAt(Number(level)) })).prediction
    if (name !== 'ddim_v_latents') return undefined
    const steps = config.ddim_timesteps as readonly number[]
    const given = await classAt((config.noise_levels as readonly number[]).at(-1)!)
    const schedule = scheduleOf(config.scheduler ?? {}, 'v_prediction')
    return sampleFrom(run, model, {
      latents: sample,
      sampler: createDiffusionSampler('ddim', schedule, { steps: steps.length }),
      given: { text: parityCase.input('encoder_hidden_states') as Floats, class: given },
      away: {
        text: parityCase.input('uncond_hidden_states') as Floats,
        class: hostTensor('float32', given.dims),
      },
    })
  })
  return { tensors }
}

async function sampleFrom(
  { parityCase, engine, signal }: CaseRun,
  model: DiffusionModel,
  way: { latents: Floats; sampler: DiffusionSampler; given: Conditions; away: Conditions },
): Promise<Floats> {
  const guidance = Number(parityCase.config.guidance ?? 1)
  const steps = denoise(createDenoiser(engine, await model.session('unet'), signal), { ...way, guidance, signal })
  for (;;) {
    const { done, value } = await steps.next()
    if (done) return value
  }
}

/** Texts as ids → latents and pictures of each sampler that the case names. */
export const runPipeline: Runner = async (run) => {
  const { parityCase } = run
  const { input } = parityCase
  return { tensors: await paintAll(run, input('prompt_ids'), input('uncond_ids')) }
}

interface TextSection {
  readonly max_position_embeddings?: number
  readonly hidden_act?: string
}

/** The same from words. */
export const runPrompt: Runner = async (run) => {
  const { parityCase } = run
  const { prompt, negativePrompt = '', text } = parityCase.config
  if (typeof prompt !== 'string')
    throw new M4Error('FORMAT_INVALID', `${parityCase.folder}: config.prompt must be a text.`)
  const merges = gunzipSync(readBytes(vocabularyFile(parityCase, 'shared/bpe_simple_vocab_16e6.txt.gz'))).toString()
  const tokenizer = loadTokenizer(fromClipMerges(merges))
  const { max_position_embeddings: length = 77, hidden_act: activation = 'quick_gelu' } = (text ?? {}) as TextSection
  const [startId, endId] = [tokenizer.bosId!, tokenizer.eosId!]
  // OpenCLIP (2.x) pads with 0, CLIP (1.x) repeats the end.
  const padId = activation === 'gelu' ? 0 : endId
  const idsOf = (words: unknown) => clipSequence(tokenizer.encode(String(words)), { length, startId, endId, padId }).ids
  const [given, away] = [idsOf(prompt), idsOf(negativePrompt)]
  const checks = [
    ...idsCheck(parityCase, 'expected_prompt_ids', given),
    ...idsCheck(parityCase, 'expected_negative_ids', away),
  ]
  const tensors = await paintAll(run, int64Tensor([1, given.length], given), int64Tensor([1, away.length], away))
  return { tensors, checks }
}

function idsCheck(parityCase: ParityCase, input: string, ids: readonly number[]): OutputReport[] {
  if (!parityCase.hasInput(input)) return []
  const expected = Array.from(parityCase.input(input).data as BigInt64Array, Number)
  return [countReport(input, expected.join() === ids.join() ? [] : [`expected ${expected}, got ${ids}`])]
}

/** `ddim_latents`, `plms_image`, or `latents` and `image` of the one sampler that the case uses. */
const PIPELINE_OUTPUT = /^(?:(ddim|plms|pndm)_)?(latents|image)$/

async function paintAll(run: CaseRun, prompt: HostTensor, negative: HostTensor): Promise<Map<string, HostTensor>> {
  const { parityCase } = run
  const { config } = parityCase
  using model = openDiffusion(run)
  const textOf = async (ids: HostTensor) => ({ text: (await model.run('text', { ids })).hidden as Floats })
  const [given, away] = [await textOf(prompt), await textOf(negative)]
  const schedule = scheduleOf(config.scheduler ?? {})
  const painted = new Map<string, Floats>()
  const latentsOf = async (name: string) => {
    const known = painted.get(name)
    if (known) return known
    const steps = Number(config[`${name}_steps`] ?? config.steps)
    const sampler = createDiffusionSampler(samplerName(name), schedule, { steps })
    const latents = await sampleFrom(run, model, { latents: parityCase.input('x_T') as Floats, sampler, given, away })
    painted.set(name, latents)
    return latents
  }
  return await produce(parityCase, async ({ name }) => {
    const [, kind, what] = PIPELINE_OUTPUT.exec(name) ?? []
    if (!what) return undefined
    const latents = await latentsOf(kind ?? String(config.sampler))
    return what === 'latents' ? latents : (await model.run('decode', { latents })).picture
  })
}

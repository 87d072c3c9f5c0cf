/** Text: an adapter of the backbone — LoRA, a prompt, a prefix — by the cross-entropy of labels or answers. */

import { packTrained, peftFiles } from '../../adapters/index.js'
import type { TrainedAdapter } from '../../adapters/trained.js'
import { M4Error } from '../../core/errors.js'
import { openFirmware } from '../../runtime/index.js'
import { initialValues, trainedAdapter, trainedOf } from '../backbone/adapter.js'
import { trainedShapes } from '../backbone/program.js'
import { initialRows } from '../backbone/warm-start.js'
import {
  type Course,
  type Finished,
  MEASURED,
  RANDOM_WEIGHTS,
  type Say,
  type Sides,
  sayNoGain,
  type TrainPlan,
  type TrainRequest,
  warning,
} from '../course.js'
import type { DataSet } from '../data/index.js'
import { estimateMemory, type MemoryEstimate, STATE_COPIES } from '../memory.js'
import { type ResolvedOptions, resolveOptions } from '../options.js'
import { nameOf, requireSmall } from '../pack.js'
import { estimateSeconds } from '../speed.js'
import { evalSampleOf, isWithoutEffect, measureText } from './evaluate.js'
import { contextOf, openTextEncoder } from './open.js'
import { type TextSubject, textSubject } from './subject.js'
import { isTextSample, type TextEncoder, type TextSample } from './task.js'

const texts = ({ samples }: DataSet): TextSample[] => samples.filter(isTextSample)

/** @throws M4Error `NOT_AVAILABLE`, `INVALID_REQUEST`, `UNKNOWN_NAME`, `CONTEXT_OVERFLOW`, `DISK_FULL` */
export async function openTextCourse(request: TrainRequest, sides: Sides, say: Say): Promise<Course> {
  const { image, engine, onProgress, signal, options: given = {} } = request
  const { abi } = image.manifest
  const options = resolveOptions(given, given.kind ?? 'lora', sides.train.samples.length, contextOf(image))
  const encoder = await openTextEncoder(request, sides, options)
  if (options.kind === 'head')
    throw new M4Error('NOT_AVAILABLE', 'Texts train an adapter of the backbone, not a head.', {
      hint: 'Leave --kind out.',
    })
  const trained = trainedOf(abi, { ...options, kind: options.kind })
  const parameters = trainedShapes(abi, trained).reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const adapterBytes = parameters * (options.dtype === 'float16' ? 2 : 4)
  requireSmall(adapterBytes, (share) => smaller(options, share))
  const initial = initialValues(abi, trained, options.seed, await initialRows(request, trained, encoder))
  const evaluation = texts(sides.evaluation)
  const isKnown = (sample: TextSample) => sample.kind !== 'text-label' || encoder.task.labels!.includes(sample.label)
  const subjectWith = (changed: Partial<ResolvedOptions>) =>
    textSubject({
      engine,
      image,
      home: request.home,
      trained,
      initial,
      encoder,
      train: texts(sides.train),
      // The loss knows only labels that are trained; the measurement counts the others as wrong.
      eval: evaluation.filter(isKnown),
      options: { ...options, ...changed },
      ...(onProgress ? { onProgress } : {}),
      ...(signal ? { signal } : {}),
    })
  const subject = subjectWith({})
  const memoryOf = async (changed: Partial<ResolvedOptions>): Promise<MemoryEstimate> => {
    const own = changed === options ? subject : subjectWith(changed)
    const state = parameters * 4 * STATE_COPIES
    return estimateMemory(await stepOf(own), largestPart(own, options), state, { packs: await own.packs() })
  }
  const plan: TrainPlan = {
    task: encoder.task,
    options,
    parameters,
    trainSamples: sides.train.samples.length,
    evalSamples: sides.evaluation.samples.length,
    memory: await memoryOf(options),
    adapterBytes,
  }
  return {
    plan,
    subject: async () => subject,
    seconds: () => secondsOf(engine, subject, options),
    gentler: () => gentlerSettings(options, memoryOf),
    finish: async (result) => {
      const cut = subject.truncated()
      if (cut)
        say(
          warning('truncated', `${cut} samples were longer than the limit of tokens: their texts were cut behind it.`),
        )
      const adapter = trainedAdapter(abi, trained, (name) => result.parameters.get(name)!)
      return finishText(request, plan, encoder, adapter, evaluation, say)
    },
  }
}

const smaller = ({ kind, rank, parts, tokens }: ResolvedOptions, share: number): string => {
  const fitting = (size: number) => Math.max(1, Math.floor(size * share))
  if (kind === 'lora' && parts.some((part) => part.includes(':')))
    return `${fitting(100)} % of the ranks of --parts fit, or twice that with --dtype float16.`
  return kind === 'lora'
    ? `Rank ${fitting(rank)} fits, or --dtype float16 at rank ${fitting(2 * rank)}.`
    : `${fitting(tokens)} tokens fit.`
}

const stepOf = (subject: TextSubject) => subject.graph(subject.parts ? 'accumulate' : 'adamw')

/** The first samples, to tell sizes from. */
const someOf = ({ trainCount }: TextSubject, batch: number) =>
  Array.from({ length: Math.min(Math.max(64, batch), trainCount) }, (_, i) => i)

/** Sizes of the largest run among the first samples: what memory depends on. */
function largestPart(subject: TextSubject, { batch }: ResolvedOptions): { B: number; T: number; N: number } {
  const indices = someOf(subject, batch)
  const parts = subject.parts?.('train', indices) ?? [indices.slice(0, batch)]
  const sizes = parts.map((part) => {
    const { feeds, weight } = subject.batch('train', part)
    const [B, T] = feeds.ids!.dims as [number, number]
    return { B, T, N: weight }
  })
  return sizes.reduce((most, each) => (each.B * each.T > most.B * most.T ? each : most))
}

/** Every step as long as one of average length, and the looks at the held-out loss. */
async function secondsOf(
  engine: TrainRequest['engine'],
  subject: TextSubject,
  { batch, steps, evalEvery }: ResolvedOptions,
): Promise<number> {
  const indices = someOf(subject, batch)
  const T = indices.reduce((sum, i) => sum + subject.lengthOf!(i), 0) / indices.length
  const N = (subject.weightOf(indices) / indices.length) * batch
  const perSample = (await estimateSeconds(engine, await stepOf(subject), { B: batch, T, N })) / batch
  const looks = Math.floor(steps / evalEvery) * Math.min(subject.evalCount, 64)
  return perSample * (steps * batch + looks)
}

async function gentlerSettings(
  { tokensAtOnce, recompute }: ResolvedOptions,
  memoryOf: (changed: Partial<ResolvedOptions>) => Promise<MemoryEstimate>,
): Promise<{ what: string; totalBytes: number }[]> {
  const fewer = [2, 4, 8].map((by) => ({ tokensAtOnce: Math.ceil(tokensAtOnce / by) }))
  const settings = [recompute, true].flatMap((again) => fewer.map((each) => ({ ...each, recompute: again })))
  const found: { what: string; totalBytes: number }[] = []
  for (const setting of settings) {
    const what = `--tokens-at-once ${setting.tokensAtOnce}${setting.recompute && !recompute ? ' --recompute' : ''}`
    found.push({ what, totalBytes: (await memoryOf(setting)).totalBytes })
  }
  return found
}

async function finishText(
  request: TrainRequest,
  { options, trainSamples }: TrainPlan,
  encoder: TextEncoder,
  adapter: TrainedAdapter,
  evaluation: readonly TextSample[],
  say: Say,
): Promise<Finished> {
  const { task, soft } = encoder
  const { image } = request
  const { abi, name } = image.manifest
  const quality = await measure(request, encoder, adapter, evaluation, say)
  return {
    facts: {
      task: task.task,
      path: task.task === 'describe' ? 1 : 2,
      kind: adapter.kind,
      prompt: { template: task.template, ...(task.labels ? { labels: task.labels } : {}) },
      base: {
        abi: abi.id,
        module: 'backbone',
        image: { name, digest: image.digest },
        sizes: { layers: abi.layers, width: abi.width, vocabulary: abi.vocabulary },
      },
    },
    parts: {
      peft: peftFiles(abi, adapter, { base: image.manifest.modules.backbone!.title, dtype: options.dtype }),
      evaluation: evaluation.slice(0, quality.metric?.count ?? 0).map((sample) => evalSampleOf(sample, soft)),
    },
    ...quality,
    trainSamples,
  }
}

/** Through the runtime, as it will be served, with and without the adapter. */
async function measure(
  request: TrainRequest,
  { task, soft }: TextEncoder,
  adapter: TrainedAdapter,
  evaluation: readonly TextSample[],
  say: Say,
): Promise<Pick<Finished, 'metric' | 'base'>> {
  const { image, engine, signal, onProgress } = request
  if (image.manifest.weights === 'random') {
    say(RANDOM_WEIGHTS)
    return { metric: undefined, base: undefined }
  }
  using firmware = await openFirmware(image, { engine })
  const tensors = packTrained(image.manifest.abi, nameOf(request), adapter)
  const samples = evaluation.slice(0, request.measured ?? MEASURED).map((sample) => evalSampleOf(sample, soft))
  const options = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  if (await isWithoutEffect(firmware, task, samples, tensors, signal))
    throw new M4Error(
      'INVALID_REQUEST',
      'The adapter has no effect: with it, the base answers its own samples to the bit as without.',
      {
        hint: 'Train more steps or with a higher learning rate.',
        details: { reason: 'same-output' },
      },
    )
  const base = request.measureBase === false ? undefined : await measureText(firmware, task, samples, options)
  const metric = await measureText(firmware, task, samples, { ...options, adapter: tensors })
  if (base) sayNoGain(metric, base, say)
  return { metric, base }
}

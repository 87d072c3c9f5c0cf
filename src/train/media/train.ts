/**
 * From pictures, sounds or motion to a head in a package: the steps of trainer.ts for data of these kinds.
 *
 *   prepareMedia   what is trained, whether it fits; one sample is embedded to know the width of the features
 *   mediaSubject   all samples through the image's encoder, once (subject.ts); then `fitSubject` as for text
 *   measureMedia   the head through the runtime, on samples that it never saw, beside the image without it
 *   packMedia      head.safetensors, m4fm.json, eval.jsonl (eval-lines.ts), the loss curve; whole or not at all
 */

import { mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ADAPTER_MAX_BYTES, type AdapterFacts, writeAdapterPackage } from '../../adapters/index.js'
import { type DataOf, toFloat32, toHalf } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { atomicWriteFile } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import { hostTensor } from '../../core/tensor.js'
import { canonicalJson } from '../../firmware/manifest.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import { featureAbi, headAdapter, usableHead } from '../../runtime/head-adapter.js'
import { openFirmware } from '../../runtime/index.js'
import { assertUnchanged, type DataSet } from '../data/index.js'
import { type FitResult, fitSubject } from '../fit.js'
import { lossPlot } from '../loss-plot.js'
import { availableBytes, estimateMemory, type MemoryEstimate, requireMemory } from '../memory.js'
import { peakMemoryBytes } from '../process-memory.js'
import type { TrainFinding, TrainRequest } from '../trainer.js'
import { measurables, mediaEvalLines } from './eval-lines.js'
import { type MediaBase, type MediaMeasured, measureBase, measureHead } from './evaluate.js'
import { type FeatureMemory, featureBytes, featureWidth, type MediaFinding, spread } from './features.js'
import { type MediaOptions, type ResolvedMediaOptions, resolveMediaOptions } from './options.js'
import { type HeadTensors, headOf, headStepGraph, type MediaSubject, mediaSubject } from './subject.js'
import { type MediaTask, mediaTask } from './task.js'

export interface MediaRequest extends Omit<TrainRequest, 'options' | 'onFinding'> {
  readonly options?: MediaOptions
  readonly onFinding?: (finding: TrainFinding | MediaFinding) => void
}

/** Read, checked and split. */
export interface MediaSides {
  /** The whole set: its digest and path are recorded. */
  readonly data: DataSet
  /** After the few-shot draw, where there is one. */
  readonly train: DataSet
  readonly evaluation: DataSet
}

export interface MediaPlan {
  readonly task: MediaTask
  readonly options: ResolvedMediaOptions
  readonly parameters: number
  readonly trainSamples: number
  readonly evalSamples: number
  /** Width of the features, C. */
  readonly width: number
  readonly memory: MemoryEstimate
  /** Of the package, about. */
  readonly adapterBytes: number
}

export interface PreparedMedia {
  readonly plan: MediaPlan
  readonly sides: MediaSides
  /** What was embedded on the way. */
  readonly memory: FeatureMemory
}

export interface MediaQuality {
  /** undefined for random weights: nothing is measured on them. */
  readonly metric: MediaMeasured | undefined
  readonly base: MediaBase | undefined
}

export interface MediaReport extends MediaQuality {
  readonly plan: MediaPlan
  readonly out: string
  readonly digest: string
  readonly bytes: number
  readonly fit: Omit<FitResult, 'parameters'>
  readonly peakMemoryBytes: number
  readonly plot: string
}

type Say = (finding: TrainFinding | MediaFinding) => void

/** Samples that a package is measured on, where `measured` does not say it. */
const MEASURED = 200

/** Values, two moments, their new values, and a gradient. */
const STATE_COPIES = 7

/** For all lines of eval.jsonl; the head and the manifest get the rest. */
const EVAL_BYTES = 5_000_000

/**
 * @throws M4Error `NOT_AVAILABLE` where the image lacks a module or the data are of another kind (`details.needs`),
 * `INVALID_REQUEST` for one class or a head that is too large, `FORMAT_INVALID` where the first samples cannot be read
 */
export async function prepareMedia(request: MediaRequest, sides: MediaSides): Promise<PreparedMedia> {
  const { image, engine, signal } = request
  const task = mediaTask(sides.data, image)
  const options = resolveMediaOptions(request.options ?? {}, sides.train.samples.length)
  const memory: FeatureMemory = new Map()
  using firmware = await openFirmware(image, { engine })
  const width = await featureWidth(firmware, sides.train, memory, signal)
  const textWidth =
    task.head === 'retrieval'
      ? (await firmware.ask({ task: 'embed', texts: ['a'], signal })).output.width // any text
      : undefined
  const head = headOf(task, width, textWidth, options.hidden)
  const parameters = head.parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const adapterBytes = parameters * (options.dtype === 'float16' ? 2 : 4)
  if (adapterBytes > ADAPTER_MAX_BYTES)
    throw new M4Error(
      'INVALID_REQUEST',
      `The head would have ${adapterBytes} bytes; at most ${ADAPTER_MAX_BYTES} are allowed.`,
      {
        hint: options.hidden.length ? 'Make its hidden layers narrower.' : 'Store it as float16 (--dtype float16).',
        details: { reason: 'adapter-too-large', bytes: adapterBytes, most: ADAPTER_MAX_BYTES },
      },
    )
  const samples = sides.train.samples.length + sides.evaluation.samples.length
  const plan: MediaPlan = {
    task,
    options,
    parameters,
    trainSamples: sides.train.samples.length,
    evalSamples: sides.evaluation.samples.length,
    width,
    // Features twice: as they come, and scaled.
    memory: withEncoder(
      estimateMemory(headStepGraph(head, 'adamw'), { B: options.batch }, parameters * 4 * STATE_COPIES),
      image.manifest.modules[task.module]!.weightBytes,
      2 * featureBytes(samples, width),
    ),
    adapterBytes,
  }
  return { plan, sides, memory }
}

function withEncoder(head: MemoryEstimate, weightBytes: number, stateBytes: number): MemoryEstimate {
  return {
    ...head,
    weightBytes: head.weightBytes + weightBytes,
    stateBytes: head.stateBytes + stateBytes,
    totalBytes: head.totalBytes + weightBytes + stateBytes,
  }
}

/**
 * The whole run.
 * @throws M4Error as `prepareMedia`, `mediaSubject` and `fitSubject`; `OUT_OF_MEMORY` before it happens, `DIGEST_MISMATCH` when the
 * data change on the way, `DISK_FULL`
 */
export async function trainMedia(request: MediaRequest, sides: MediaSides): Promise<MediaReport> {
  const { engine, image, signal, onProgress } = request
  const say: Say = (finding) => request.onFinding?.(finding)
  const prepared = await prepareMedia(request, sides)
  const { plan, memory } = prepared
  const { options, task } = plan
  requireMemory(plan.memory, request.availableBytes ?? availableBytes(), [])
  const out = resolve(request.out)
  const folder = `${out}.training`
  await mkdir(folder, { recursive: true })
  const subject = await openSubject()
  await assertUnchanged(sides.data, signal)
  const result = await fitSubject(engine, subject, {
    ...options,
    evalSamples: subject.evalCount,
    checkpoint: {
      folder,
      key: runKey(request, plan, sides),
      everySeconds: request.checkpointSeconds ?? 20,
      fresh: request.fresh ?? false,
    },
    signal,
    ...(request.onStep ? { onStep: request.onStep } : {}),
  })
  sayHowItEnded(result, say)
  const tensors = asStored(subject.tensors(result.parameters), options.dtype)
  const quality = await measureMedia(request, prepared, subject, tensors, say)
  const written = await packMedia(request, prepared, subject, tensors, result, quality)
  const { parameters: _, ...fit } = result
  return { plan, out, ...written, fit, ...quality, peakMemoryBytes: peakMemoryBytes() }

  /** The encoder is given back before training begins. */
  async function openSubject(): Promise<MediaSubject> {
    using firmware = await openFirmware(image, { engine })
    return await mediaSubject({
      engine,
      firmware,
      task,
      train: sides.train,
      eval: sides.evaluation,
      hidden: options.hidden,
      seed: options.seed,
      memory,
      onFinding: say,
      ...(onProgress ? { onProgress } : {}),
      ...(signal ? { signal } : {}),
    })
  }
}

/** What makes two runs the same one. */
function runKey(
  { image }: MediaRequest,
  { options, task }: MediaPlan,
  { data, train, evaluation }: MediaSides,
): string {
  const digests = [data.digest, train.digest, evaluation.digest]
  return sha256Hex(canonicalJson({ image: image.digest, digests, options, task }))
}

function sayHowItEnded({ stopped, step, losses }: FitResult, say: Say): void {
  if (stopped === 'diverged') {
    const message = `Training ran away after step ${losses.length}: the parameters of step ${step} were kept. Lower the learning rate.`
    say({ code: 'diverged', severity: 'warning', message })
  }
  if (stopped === 'patience') {
    const message = `Stopped after step ${losses.length}: the held-out loss no longer fell. Step ${step} was kept.`
    say({ code: 'early-stop', severity: 'warning', message })
  }
}

/** Rounded as the package will hold them, so that what is measured is what is shipped. */
function asStored(tensors: HeadTensors, dtype: 'float32' | 'float16'): HeadTensors {
  if (dtype === 'float32') return tensors
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { dims, data }]) => {
      const rounded = toFloat32('float16', toHalf(data) as DataOf)
      return [name, hostTensor('float32', dims, rounded as typeof data)]
    }),
  )
}

/** Through the runtime, as it will be served, with and without the adapter. @throws M4Error as the runtime */
export async function measureMedia(
  request: MediaRequest,
  prepared: PreparedMedia,
  subject: MediaSubject,
  tensors: HeadTensors,
  say: Say,
): Promise<MediaQuality> {
  const { image, engine, signal, onProgress } = request
  const adapter = adapterOf(request, prepared, tensors)
  if (image.manifest.weights === 'random') {
    const message = 'The weights of this image are random: no accuracy is measured on it.'
    say({ code: 'random-weights', severity: 'warning', message })
    return { metric: undefined, base: undefined }
  }
  using firmware = await openFirmware(image, { engine })
  const held = spread(subject.eval, request.measured ?? MEASURED)
  const metric = await measureHead(firmware, adapter, measurables(held.set, signal), {
    total: held.set.samples.length,
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  })
  if (request.measureBase === false) return { metric, base: undefined }
  const base = await measureBase(firmware, prepared.plan.task, held, subject.train.set.samples, signal)
  if (metric.value <= base.value) {
    const message = `On the held-out samples the adapter is no better than the base (${base.how}): ${metric.value.toFixed(3)} against ${base.value.toFixed(3)}.`
    say({ code: 'no-gain', severity: 'warning', message })
  }
  return { metric, base }
}

/** The head as requests take it. @throws M4Error `FORMAT_INVALID` for one that would not be served: NaN, or all zeros */
function adapterOf(request: MediaRequest, prepared: PreparedMedia, tensors: HeadTensors): HeadAdapter {
  const { head, base } = headFacts(request, prepared, tensors)
  return usableHead(headAdapter({ name: nameOf(request), head, base }, new Map(Object.entries(tensors))))
}

function headFacts({ image }: MediaRequest, { plan: { task, width } }: PreparedMedia, tensors: HeadTensors) {
  const { labels, module, head: type } = task
  const out = Object.values(tensors).at(-1)!.dims[0]!
  return {
    head: { type, in: width, out, ...(labels.length ? { labels } : {}) },
    base: {
      abi: featureAbi(image.manifest, module, width),
      module,
      image: { name: image.manifest.name, digest: image.digest },
      sizes: { width },
    },
  }
}

const nameOf = ({ name, out }: MediaRequest): string =>
  name ??
  (basename(resolve(out))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '') ||
    'adapter')

/**
 * The package in `request.out`, and its loss curve beside it.
 * @throws M4Error as `writeAdapterPackage`
 */
export async function packMedia(
  request: MediaRequest,
  prepared: PreparedMedia,
  subject: MediaSubject,
  tensors: HeadTensors,
  result: FitResult,
  { metric }: MediaQuality,
): Promise<{ readonly digest: string; readonly bytes: number; readonly plot: string }> {
  const { plan, sides } = prepared
  const { task, options } = plan
  const { outputs: _, ...score } = metric ?? { outputs: [] }
  const facts: AdapterFacts = {
    name: nameOf(request),
    version: '1.0.0',
    app: request.app ?? 'local',
    task: task.task,
    path: 3,
    kind: 'head',
    ...headFacts(request, prepared, tensors),
    training: {
      data: { digest: sides.data.digest, samples: subject.train.set.samples.length },
      recipe: JSON.parse(JSON.stringify({ ...options, data: basename(sides.data.path) })) as Record<string, never>,
      seed: options.seed,
      steps: result.step,
      seconds: Math.round(result.seconds),
      peakMemoryBytes: peakMemoryBytes(),
      // Of the step that was kept: what came behind it may not even be a number.
      loss: { first: result.losses[0]!, last: result.losses[result.step - 1]! },
    },
    ...(metric ? { metric: score as NonNullable<AdapterFacts['metric']> } : {}),
    licence: request.licence ?? 'LicenseRef-unspecified',
    created: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
  }
  const { digest, bytes } = await writeAdapterPackage(resolve(request.out), {
    facts,
    head: tensors,
    dtype: options.dtype,
    ...(metric ? { evaluation: mediaEvalLines(spread(subject.eval, metric.count), sides.evaluation, EVAL_BYTES) } : {}),
  })
  return { digest, bytes, plot: await plotLosses(request, facts, result) }
}

async function plotLosses({ image, out }: MediaRequest, { name, task }: AdapterFacts, result: FitResult) {
  const plot = join(dirname(resolve(out)), `${basename(resolve(out))}.loss.svg`)
  const random = image.manifest.weights === 'random' ? ' (random weights)' : ''
  const { losses, evaluations, step } = result
  const best = evaluations.length ? { bestStep: step } : {}
  await atomicWriteFile(
    plot,
    lossPlot({ title: `${name}: ${task} on ${image.manifest.name}${random}`, losses, evaluations, ...best }),
  )
  return plot
}

/**
 * From a file of samples to an adapter package. This is the whole life of a training run, in order:
 *
 *   data   ─► samples (data/), checked, split so that nothing is on both sides
 *   image  ─► what attaches to it (backbone/), tokens of every sample as the runtime will make them (text/)
 *   plan   ─► what is trained, and whether its memory is there: a dry run ends here
 *   fit    ─► steps, looks at the held-out loss, checkpoints (fit.ts); one graph is forward, backward and optimiser (step-graph.ts)
 *   check  ─► the best parameters as an adapter, measured through the runtime on samples that it never saw
 *   pack   ─► PEFT files, m4fm.json, the samples it was measured on, the loss curve; whole or not at all
 */

import { mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ADAPTER_MAX_BYTES, type AdapterFacts, packTrained, peftFiles, writeAdapterPackage } from '../adapters/index.js'
import type { TrainedAdapter } from '../adapters/trained.js'
import { M4Error } from '../core/errors.js'
import { atomicWriteFile, m4fmHome } from '../core/files.js'
import { sha256Hex } from '../core/hash.js'
import type { LongOperation } from '../core/progress.js'
import type { Engine } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import { canonicalJson } from '../firmware/manifest.js'
import { openFirmware } from '../runtime/index.js'
import { initialValues, trainedAdapter, trainedOf } from './backbone/adapter.js'
import { type Trained, trainedShapes } from './backbone/program.js'
import { initialRows } from './backbone/warm-start.js'
import {
  assertUnchanged,
  assertUsable,
  checkSplits,
  type DataSet,
  type Finding,
  fewShot,
  openDataSet,
  splitDataSet,
} from './data/index.js'
import { type FitResult, fitSubject, type StepReport } from './fit.js'
import { lossPlot } from './loss-plot.js'
import { availableBytes, estimateMemory, type MemoryEstimate, requireMemory } from './memory.js'
import { type ResolvedOptions, resolveOptions, type TrainOptions } from './options.js'
import { peakMemoryBytes } from './process-memory.js'
import { estimateSeconds } from './speed.js'
import { evalSampleOf, isWithoutEffect, type Measured, measureText } from './text/evaluate.js'
import { contextOf, openTextEncoder } from './text/open.js'
import { type TextSubject, textSubject } from './text/subject.js'
import { isTextSample, type TextSample, type TextTask } from './text/task.js'

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
  /** Samples that the finished adapter is measured on; all that were held out are carried. Default 200. */
  readonly measured?: number
  /** Also measure the base without the adapter, to compare with. Default true. */
  readonly measureBase?: boolean
}

export type TrainFinding =
  | Finding
  | {
      readonly code: 'truncated' | 'random-weights' | 'diverged' | 'early-stop' | 'resumed' | 'no-gain'
      readonly severity: 'warning'
      readonly message: string
    }

export interface TrainPlan {
  readonly task: TextTask
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

export interface TrainReport {
  readonly plan: TrainPlan
  readonly out: string
  readonly digest: string
  readonly bytes: number
  readonly fit: Omit<FitResult, 'parameters'>
  /** undefined for random weights: nothing is measured on them. */
  readonly metric: Measured | undefined
  /** Of the base without the adapter, on the same samples. */
  readonly base: Measured | undefined
  readonly peakMemoryBytes: number
  readonly findings: readonly TrainFinding[]
  readonly plot: string
}

/** Everything before the first step. */
interface Prepared {
  readonly plan: TrainPlan
  readonly trained: Trained
  readonly subject: TextSubject
  readonly data: DataSet
  readonly train: readonly TextSample[]
  readonly evaluation: readonly TextSample[]
  readonly findings: TrainFinding[]
  /** Settings that need less memory, the fastest first. */
  readonly gentler: () => Promise<{ what: string; totalBytes: number }[]>
}

/**
 * What a run would do, without doing it.
 * @throws M4Error as `trainAdapter`
 */
export async function planTraining(request: TrainRequest): Promise<TrainPlan> {
  const { plan, subject } = await prepare(request)
  return { ...plan, seconds: await secondsOf(request.engine, subject, plan.options) }
}

/**
 * @throws M4Error `FORMAT_INVALID` for data that cannot be trained on, `NOT_AVAILABLE` where the image has nothing to train,
 * `OUT_OF_MEMORY` before it happens, `DIGEST_MISMATCH` when the data change on the way, `INVALID_REQUEST` when training diverges at
 * once, learns nothing, or makes an adapter too large, `ABORTED` (the checkpoint is kept), `DISK_FULL`
 */
export async function trainAdapter(request: TrainRequest): Promise<TrainReport> {
  const { image, engine, signal } = request
  const prepared = await prepare(request)
  const { plan, trained, subject, data, findings } = prepared
  const available = request.availableBytes ?? availableBytes()
  requireMemory(plan.memory, available, plan.memory.totalBytes > available ? await prepared.gentler() : [])
  const out = resolve(request.out)
  const folder = `${out}.training`
  await mkdir(folder, { recursive: true })
  const key = runKey(request, plan, data)
  const result = await fitSubject(engine, subject, {
    ...plan.options,
    checkpoint: { folder, key, everySeconds: request.checkpointSeconds ?? 20, fresh: request.fresh ?? false },
    signal,
    beforeStep: (step) => (step % 25 === 0 ? assertUnchanged(data) : undefined),
    ...(request.onStep ? { onStep: request.onStep } : {}),
  })
  report(result, subject, findings, request)
  const adapter = trainedAdapter(image.manifest.abi, trained, plan.options, (name) => result.parameters.get(name)!)
  const quality = await measure(request, prepared, adapter)
  const written = await pack(request, prepared, adapter, result, quality)
  const { parameters: _, ...rest } = result
  return { plan, out, ...written, fit: rest, ...quality, peakMemoryBytes: peakMemoryBytes(), findings }
}

async function prepare(request: TrainRequest): Promise<Prepared> {
  const { image, options = {} } = request
  const findings: TrainFinding[] = []
  const { data, train: all, evaluation } = await openSides(request, findings)
  const train =
    options.fraction === undefined || options.fraction >= 1
      ? all
      : fewShot(all, { fraction: options.fraction, seed: options.seed ?? 0 })
  const texts = (set: DataSet) => set.samples.filter(isTextSample)
  const resolved = resolveOptions(options, options.kind ?? 'lora', train.samples.length, contextOf(image))
  const encoder = await openTextEncoder(image, data, resolved)
  const { abi } = image.manifest
  const trained = trainedOf(abi, { ...resolved, kind: resolved.kind as 'lora' })
  const initial = initialValues(abi, trained, resolved.seed, await initialRows(request, trained, encoder))
  const subjectWith = (changed: Partial<ResolvedOptions>) =>
    textSubject({
      engine: request.engine,
      image,
      home: request.home,
      trained,
      initial,
      encoder,
      train: texts(train),
      // The loss knows only labels that are trained; the measurement counts the others as wrong.
      eval: texts(evaluation).filter(
        (sample) => sample.kind !== 'text-label' || encoder.task.labels!.includes(sample.label),
      ),
      options: { ...resolved, ...changed },
      ...(request.onProgress ? { onProgress: request.onProgress } : {}),
      ...(request.signal ? { signal: request.signal } : {}),
    })
  const subject = subjectWith({})
  const parameters = trainedShapes(abi, trained).reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const adapterBytes = parameters * (resolved.dtype === 'float16' ? 2 : 4)
  requireSmall(adapterBytes, resolved)
  const memoryOf = async (changed: Partial<ResolvedOptions>) => {
    const own = subjectWith(changed)
    const graph = await own.graph(own.parts ? 'accumulate' : 'adamw')
    return estimateMemory(graph, largestPart(own, resolved), parameters * 4 * STATE_COPIES)
  }
  const memory = await memoryOf({})
  const plan = {
    task: encoder.task,
    options: resolved,
    parameters,
    trainSamples: train.samples.length,
    evalSamples: evaluation.samples.length,
    memory,
    adapterBytes,
  }
  const gentler = () => gentlerSettings(resolved, memoryOf)
  return { plan, trained, subject, data, train: texts(train), evaluation: texts(evaluation), findings, gentler }
}

/** Every step as long as one of average length, and the looks. */
async function secondsOf(
  engine: Engine,
  subject: TextSubject,
  { batch, steps, evalEvery }: ResolvedOptions,
): Promise<number> {
  const graph = await subject.graph(subject.parts ? 'accumulate' : 'adamw')
  const indices = Array.from({ length: Math.min(Math.max(64, batch), subject.trainCount) }, (_, i) => i)
  const { feeds, weight } = subject.batch('train', indices)
  const T = indices.reduce((sum, i) => sum + (subject.lengthOf?.(i) ?? feeds.ids!.dims[1]!), 0) / indices.length
  const perSample =
    (await estimateSeconds(engine, graph, { B: batch, T, N: (weight / indices.length) * batch })) / batch
  const looks = Math.floor(steps / evalEvery) * Math.min(subject.evalCount, 64)
  return perSample * (steps * batch + looks)
}

/** Values, two moments, their new values, and a gradient. */
const STATE_COPIES = 7

async function gentlerSettings(
  { tokensAtOnce, recompute }: ResolvedOptions,
  memoryOf: (changed: Partial<ResolvedOptions>) => Promise<MemoryEstimate>,
): Promise<{ what: string; totalBytes: number }[]> {
  const fewer = [2, 4, 8].map((by) => ({ tokensAtOnce: Math.ceil(tokensAtOnce / by) }))
  const settings = [
    ...fewer.map((each) => ({ ...each, recompute })),
    ...fewer.map((each) => ({ ...each, recompute: true })),
  ]
  const found: { what: string; totalBytes: number }[] = []
  for (const setting of settings) {
    const what = `--tokens-at-once ${setting.tokensAtOnce}${setting.recompute && !recompute ? ' --recompute' : ''}`
    found.push({ what, totalBytes: (await memoryOf(setting)).totalBytes })
  }
  return found
}

/** Sizes of the largest run among the first samples: what memory depends on. */
function largestPart(subject: TextSubject, { batch }: ResolvedOptions): { B: number; T: number; N: number } {
  const indices = Array.from({ length: Math.min(Math.max(64, batch), subject.trainCount) }, (_, i) => i)
  const parts = subject.parts?.('train', indices) ?? [indices.slice(0, batch)]
  const sizes = parts.map((part) => {
    const { feeds, weight } = subject.batch('train', part)
    const [B, T] = feeds.ids!.dims as [number, number]
    return { B, T, N: weight }
  })
  return sizes.reduce((most, each) => (each.B * each.T > most.B * most.T ? each : most))
}

/** The samples of both sides. */
async function openSides(
  request: TrainRequest,
  findings: TrainFinding[],
): Promise<{ data: DataSet; train: DataSet; evaluation: DataSet }> {
  const { options = {}, onProgress, signal } = request
  const long = { ...(onProgress ? { onProgress } : {}), ...(signal ? { signal } : {}) }
  const say = (found: readonly TrainFinding[]) => {
    for (const finding of found) {
      findings.push(finding)
      request.onFinding?.(finding)
    }
  }
  const data = await openDataSet(request.data, { ...options.read, ...long })
  say(data.findings)
  assertUsable(data)
  if (request.evalData !== undefined) {
    const evaluation = await openDataSet(request.evalData, { ...options.read, use: 'eval', ...long })
    const across = checkSplits(data, evaluation)
    say([...evaluation.findings, ...across])
    assertUsable({ path: evaluation.path, findings: [...evaluation.findings, ...across] })
    return { data, train: data, evaluation }
  }
  const count = Math.min(500, Math.max(2, Math.round((options.evalFraction ?? 0.1) * data.samples.length)))
  const split = splitDataSet(data, { evalCount: Math.min(count, data.samples.length - 1), seed: options.seed ?? 0 })
  say(split.findings)
  return { data, train: split.train, evaluation: split.eval }
}

function requireSmall(bytes: number, { kind, rank, tokens }: ResolvedOptions): void {
  if (bytes <= ADAPTER_MAX_BYTES) return
  const share = ADAPTER_MAX_BYTES / bytes
  const hint =
    kind === 'lora'
      ? `Rank ${Math.max(1, Math.floor(rank * share))} fits, or --dtype float16 at rank ${Math.max(1, Math.floor(2 * rank * share))}.`
      : `${Math.max(1, Math.floor(tokens * share))} tokens fit.`
  throw new M4Error(
    'INVALID_REQUEST',
    `The adapter would have ${bytes} bytes; at most ${ADAPTER_MAX_BYTES} are allowed.`,
    {
      hint,
      details: { reason: 'adapter-too-large', bytes, most: ADAPTER_MAX_BYTES },
    },
  )
}

/** What makes two runs the same one. */
function runKey({ image }: TrainRequest, { options, task }: TrainPlan, data: DataSet): string {
  return sha256Hex(canonicalJson({ image: image.digest, data: data.digest, options, task }))
}

function report(result: FitResult, subject: TextSubject, findings: TrainFinding[], request: TrainRequest): void {
  const say = (code: Exclude<TrainFinding['code'], Finding['code']>, message: string) => {
    const finding = { code, severity: 'warning', message } as const
    findings.push(finding)
    request.onFinding?.(finding)
  }
  const cut = subject.truncated()
  if (cut) say('truncated', `${cut} samples were longer than the limit of tokens: their texts were cut behind it.`)
  if (result.stopped === 'diverged')
    say(
      'diverged',
      `Training ran away after step ${result.losses.length}: the parameters of step ${result.step} were kept. Lower the learning rate.`,
    )
  if (result.stopped === 'patience')
    say(
      'early-stop',
      `Stopped after step ${result.losses.length}: the held-out loss no longer fell. Step ${result.step} was kept.`,
    )
}

interface Quality {
  readonly metric: Measured | undefined
  readonly base: Measured | undefined
}

/** Through the runtime, as it will be served, with and without the adapter. */
async function measure(
  request: TrainRequest,
  { plan, evaluation, findings }: Prepared,
  adapter: TrainedAdapter,
): Promise<Quality> {
  const { image, engine, signal, onProgress } = request
  if (image.manifest.weights === 'random') {
    const message = 'The weights of this image are random: no accuracy is measured on it.'
    findings.push({ code: 'random-weights', severity: 'warning', message })
    return { metric: undefined, base: undefined }
  }
  using firmware = await openFirmware(image, { engine })
  const tensors = packTrained(image.manifest.abi, nameOf(request), adapter)
  const samples = evaluation.slice(0, request.measured ?? 200).map(evalSampleOf)
  const options = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  if (await isWithoutEffect(firmware, plan.task, samples, tensors, signal))
    throw new M4Error(
      'INVALID_REQUEST',
      'The adapter has no effect: with it, the base answers its own samples to the bit as without.',
      {
        hint: 'Train more steps or with a higher learning rate.',
        details: { reason: 'same-output' },
      },
    )
  const base = request.measureBase === false ? undefined : await measureText(firmware, plan.task, samples, options)
  const metric = await measureText(firmware, plan.task, samples, { ...options, adapter: tensors })
  if (base && metric.value <= base.value) {
    const message = `On the held-out samples the adapter is no better than the base: ${metric.value.toFixed(3)} against ${base.value.toFixed(3)}.`
    findings.push({ code: 'no-gain', severity: 'warning', message })
  }
  return { metric, base }
}

const nameOf = ({ name, out }: TrainRequest): string =>
  name ??
  (basename(resolve(out))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '') ||
    'adapter')

async function pack(
  request: TrainRequest,
  { plan, data, evaluation, trained }: Prepared,
  adapter: TrainedAdapter,
  result: FitResult,
  { metric }: Quality,
): Promise<{ digest: string; bytes: number; plot: string }> {
  const { image } = request
  const { abi, name: imageName } = image.manifest
  const { task, options } = plan
  const { outputs: _, ...score } = metric ?? { outputs: [] }
  const facts: AdapterFacts = {
    name: nameOf(request),
    version: '1.0.0',
    app: request.app ?? 'local',
    task: task.task,
    path: 2,
    kind: trained.kind as AdapterFacts['kind'],
    prompt: { template: task.template, ...(task.labels ? { labels: task.labels } : {}) },
    base: {
      abi: abi.id,
      module: 'backbone',
      image: { name: imageName, digest: image.digest },
      sizes: { layers: abi.layers, width: abi.width, vocabulary: abi.vocabulary },
    },
    training: {
      data: { digest: data.digest, samples: plan.trainSamples },
      recipe: JSON.parse(JSON.stringify({ ...options, data: basename(data.path) })) as Record<string, never>,
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
  const measured = metric ? evaluation.slice(0, metric.count).map(evalSampleOf) : []
  const { digest, bytes } = await writeAdapterPackage(resolve(request.out), {
    facts,
    peft: peftFiles(abi, adapter, { base: image.manifest.modules.backbone!.title, dtype: options.dtype }),
    evaluation: measured,
  })
  const plot = join(dirname(resolve(request.out)), `${basename(resolve(request.out))}.loss.svg`)
  const title = `${facts.name}: ${task.task} on ${imageName}${image.manifest.weights === 'random' ? ' (random weights)' : ''}`
  await atomicWriteFile(
    plot,
    lossPlot({
      title,
      losses: result.losses,
      evaluations: result.evaluations,
      ...(result.evaluations.length ? { bestStep: result.step } : {}),
    }),
  )
  return { digest, bytes, plot }
}

export const trainingHome = (home?: string): string => join(home ?? m4fmHome(), 'train')

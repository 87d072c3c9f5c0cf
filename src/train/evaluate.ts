/** A finished adapter, measured again: on the samples that it carries, or on others, on the image that is there now. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterFit,
  type AdapterPackage,
  adapterFit,
  type MetricRecord,
  readAdapterPackage,
  readPeftAdapter,
  usableAdapter,
} from '../adapters/index.js'
import type { AdapterTensors } from '../adapters/types.js'
import { M4Error } from '../core/errors.js'
import type { LongOperation } from '../core/progress.js'
import type { Engine } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { Role } from '../firmware/manifest.js'
import { featureAbi, readHeadAdapter, usableHead } from '../runtime/head-adapter.js'
import { openFirmware } from '../runtime/index.js'
import type { Score } from './course.js'
import { openDataSet } from './data/index.js'
import { parseMediaEvalLines, remeasureHead } from './media/eval-lines.js'
import { parseObjectEvalLines, remeasureObjects } from './objects/eval-lines.js'
import { type EvalSample, evalSampleOf, isWithoutEffect, measureText } from './text/evaluate.js'
import { openSoftSource } from './text/soft-source.js'
import { isAsked, isTextSample, type TextTask } from './text/task.js'

export interface EvaluateRequest extends LongOperation {
  /** Folder of the package. */
  readonly adapter: string
  readonly image: Image
  readonly engine: Engine
  /** Other samples than the package's own; for a head the folder of the data that it was trained with. */
  readonly data?: string
  /** At most so many. Default: all. */
  readonly count?: number
  /** Also measure the base alone. Default true. */
  readonly measureBase?: boolean
}

export interface EvaluateReport {
  readonly adapter: string
  /** Of the package. */
  readonly digest: string
  readonly image: { readonly name: string; readonly digest: string }
  readonly fit: AdapterFit
  /** As the package recorded it, on the image that it was made on. */
  readonly recorded: MetricRecord | undefined
  readonly measured: Score
  /** The base alone, on the same samples, where that was asked for. */
  readonly base: Score | undefined
  /** True when the adapter changes no answer by a bit. */
  readonly sameOutput: boolean
}

/**
 * @throws M4Error `NOT_AVAILABLE` for another ABI, random weights (nothing is measured on them) or a task of another kind,
 * `EMPTY_INPUT` without samples, `FORMAT_INVALID`, `DIGEST_MISMATCH`
 */
export async function evaluateAdapter(request: EvaluateRequest): Promise<EvaluateReport> {
  const { image, engine, signal, onProgress } = request
  const found = await readAdapterPackage(request.adapter)
  const { manifest } = found
  if (manifest.kind === 'head') return evaluateHead(request, found)
  if (image.manifest.weights === 'random')
    throw new M4Error(
      'NOT_AVAILABLE',
      `The weights of image ${image.manifest.name} are random: no accuracy is measured on it.`,
      {
        hint: 'Use an image with real weights, e.g. `m4fm build lite`.',
      },
    )
  const task = taskOf(found)
  const adapter = tensorsOf(found, image)
  const samples = (await samplesOf(request, found)).slice(0, request.count)
  using firmware = await openFirmware(image, { engine })
  const options = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  const sameOutput = await isWithoutEffect(firmware, task, samples, adapter, signal)
  const base = request.measureBase === false ? undefined : await measureText(firmware, task, samples, options)
  const measured = sameOutput && base ? base : await measureText(firmware, task, samples, { ...options, adapter })
  return {
    adapter: manifest.name,
    digest: found.digest,
    image: { name: image.manifest.name, digest: image.digest },
    fit: adapterFit(manifest, { abi: image.manifest.abi.id, digest: image.digest }),
    recorded: manifest.metric,
    measured,
    base,
    sameOutput,
  }
}

/**
 * Refuses a text adapter that answers the samples which it carries to the bit as the base does: its tensors are not zero, and yet it
 * does nothing. Adapters without samples, heads, and images of random weights are not asked.
 * @throws M4Error `INVALID_REQUEST` (`details.reason` is `same-output`); as `evaluateAdapter`
 */
export async function requireEffect(
  request: Pick<EvaluateRequest, 'adapter' | 'image' | 'engine' | 'signal'>,
): Promise<void> {
  const { image, engine, signal } = request
  const found = await readAdapterPackage(request.adapter)
  const { manifest } = found
  if (manifest.kind === 'head' || image.manifest.weights === 'random' || !Object.hasOwn(manifest.files, 'eval.jsonl'))
    return
  const samples = await samplesOf({ image, engine, ...(signal ? { signal } : {}) }, found)
  using firmware = await openFirmware(image, { engine })
  if (!(await isWithoutEffect(firmware, taskOf(found), samples, tensorsOf(found, image), signal))) return
  throw new M4Error(
    'INVALID_REQUEST',
    `Adapter ${manifest.name} has no effect: the base answers its samples to the bit as without it.`,
    {
      hint: 'Get it from its publisher again, or train it longer; --force installs it all the same.',
      details: { reason: 'same-output', adapter: manifest.name },
    },
  )
}

/**
 * A head: through the encoder where the data are at hand, else on the features that it carries, which say nothing of another encoder.
 * @throws M4Error `INVALID_REQUEST` for another image without data; as `readHeadAdapter` and `remeasureHead`
 */
async function evaluateHead(
  request: EvaluateRequest,
  { path, manifest, digest }: AdapterPackage,
): Promise<EvaluateReport> {
  const { image, engine, signal, onProgress, data } = request
  const { module } = manifest.base
  const adapter = usableHead(await readHeadAdapter(path, image))
  const { in: width, patches } = manifest.head!
  const abi = featureAbi(image.manifest, module as Role, width)
  const fit = adapterFit(manifest, { abi, digest: image.digest })
  if (fit !== 'same' && data === undefined)
    throw new M4Error(
      'INVALID_REQUEST',
      `Adapter ${manifest.name}: its own samples are features of another image's ${module}.`,
      {
        hint: 'Give the folder of the data that it was trained with: --data FOLDER.',
      },
    )
  requireSamples(manifest)
  const text = await readFile(join(path, 'eval.jsonl'), 'utf8')
  using firmware = await openFirmware(image, { engine })
  const options = {
    ...(data === undefined ? {} : { folder: data }),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  }
  const read = (manifest.training?.recipe.read ?? {}) as object
  const measured = patches
    ? await remeasureObjects(firmware, adapter, parseObjectEvalLines(text).slice(0, request.count), options)
    : await remeasureHead(firmware, adapter, parseMediaEvalLines(text).slice(0, request.count), { ...options, read })
  return {
    adapter: manifest.name,
    digest,
    image: { name: image.manifest.name, digest: image.digest },
    fit,
    recorded: manifest.metric,
    measured,
    base: undefined,
    sameOutput: false,
  }
}

/** @throws M4Error `NOT_AVAILABLE` */
export function taskOf({ manifest }: AdapterPackage): TextTask {
  const { task, prompt, name } = manifest
  if ((task !== 'classify' && task !== 'generate' && task !== 'describe') || !prompt)
    throw new M4Error('NOT_AVAILABLE', `Adapter ${name}: the task ${task} cannot be measured by this command.`, {
      hint: 'Adapters of the backbone can: tasks classify, generate and describe with a prompt.',
    })
  return { task, template: prompt.template, ...(prompt.labels ? { labels: prompt.labels } : {}) }
}

/** @throws M4Error `NOT_AVAILABLE` for another ABI, `FORMAT_INVALID` with all that does not fit */
export function tensorsOf({ path, manifest }: AdapterPackage, { manifest: image }: Image): AdapterTensors {
  if (manifest.base.abi !== image.abi.id)
    throw new M4Error(
      'NOT_AVAILABLE',
      `Adapter ${manifest.name} was made for ${manifest.base.abi} of image ${manifest.base.image.name}; ${image.name} is ${image.abi.id}.`,
      {
        hint: 'Train it again: `m4fm adapter revalidate --retrain --data FILE`.',
        details: { reason: 'adapter-incompatible', expected: manifest.base.abi, got: image.abi.id },
      },
    )
  return { ...usableAdapter(readPeftAdapter(path, image.abi)), name: manifest.name }
}

async function samplesOf(
  request: Partial<Pick<EvaluateRequest, 'data' | 'signal' | 'onProgress'>> & Pick<EvaluateRequest, 'image' | 'engine'>,
  { path, manifest }: AdapterPackage,
): Promise<readonly EvalSample[]> {
  const { data } = request
  if (data !== undefined) {
    const read = (manifest.training?.recipe.read ?? {}) as object
    const set = await openDataSet(data, { ...read, use: 'eval' })
    const samples = set.samples.filter(isTextSample)
    const asked = samples.filter(isAsked)
    const soft = asked.length ? await openSoftSource(request, asked) : undefined
    return samples.map((sample) => evalSampleOf(sample, soft))
  }
  requireSamples(manifest)
  const lines = (await readFile(join(path, 'eval.jsonl'), 'utf8')).split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line) as EvalSample)
}

/** @throws M4Error `EMPTY_INPUT` */
function requireSamples({ name, files }: AdapterPackage['manifest']): void {
  if (Object.hasOwn(files, 'eval.jsonl')) return
  throw new M4Error('EMPTY_INPUT', `Adapter ${name} carries no samples to measure it on.`, {
    hint: 'Text adapters take others: --data FILE. Heads are trained again on an image whose weights are not random.',
  })
}

/** Pictures, sounds and motion: a head on the features of the image's encoder, which stays as it is. */

import type { HeadAdapter } from '../../runtime/class-head.js'
import { featureAbi, headAdapter, usableHead } from '../../runtime/head-adapter.js'
import { openFirmware } from '../../runtime/index.js'
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
} from '../course.js'
import { asStored, EVAL_BYTES, withEncoder } from '../head-package.js'
import { estimateMemory, STATE_COPIES } from '../memory.js'
import { nameOf, requireSmall } from '../pack.js'
import { measurables, mediaEvalLines } from './eval-lines.js'
import { measureBase, measureHead } from './evaluate.js'
import { type FeatureMemory, featureBytes, featureWidth, spread } from './features.js'
import { type ResolvedMediaOptions, resolveMediaOptions } from './options.js'
import { type HeadTensors, headOf, headStepGraph, type MediaSubject, mediaSubject } from './subject.js'
import { type MediaTask, mediaTask } from './task.js'

export interface MediaPlan extends TrainPlan {
  readonly task: MediaTask
  readonly options: ResolvedMediaOptions
  /** Width of the features, C. */
  readonly width: number
}

/**
 * One sample is embedded to know the width of the features; the others when training begins, each once.
 * @throws M4Error `NOT_AVAILABLE` where the image lacks a module or the data are of another kind (`details.needs`),
 * `INVALID_REQUEST` for one class or a head that is too large, `FORMAT_INVALID` where the first samples cannot be read
 */
export async function openMediaCourse(
  request: TrainRequest,
  sides: Sides,
  say: Say,
): Promise<Course & { readonly plan: MediaPlan }> {
  const { image, engine, signal, onProgress } = request
  const task = mediaTask(sides.data, image)
  const options = resolveMediaOptions(request.options ?? {}, sides.train.samples.length)
  const memory: FeatureMemory = new Map()
  const { width, textWidth } = await widths()
  const head = headOf(task, width, textWidth, options.hidden)
  const parameters = head.parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const adapterBytes = parameters * (options.dtype === 'float16' ? 2 : 4)
  requireSmall(adapterBytes, () =>
    options.hidden.length ? 'Make its hidden layers narrower.' : 'Store it as float16 (--dtype float16).',
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
  let opened: MediaSubject | undefined
  return {
    plan,
    subject: async () => {
      opened = await openSubject()
      return opened
    },
    finish: (result) =>
      finishMedia(request, sides, plan, opened!, asStored(opened!.tensors(result.parameters), options.dtype), say),
  }

  async function widths() {
    using firmware = await openFirmware(image, { engine })
    return {
      width: await featureWidth(firmware, sides.train, memory, signal),
      textWidth:
        task.head === 'retrieval'
          ? (await firmware.ask({ task: 'embed', texts: ['a'], signal })).output.width // any text
          : undefined,
    }
  }

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
      layers: options.layers,
      seed: options.seed,
      memory,
      onFinding: say,
      ...(onProgress ? { onProgress } : {}),
      ...(signal ? { signal } : {}),
    })
  }
}

async function finishMedia(
  request: TrainRequest,
  sides: Sides,
  plan: MediaPlan,
  subject: MediaSubject,
  tensors: HeadTensors,
  say: Say,
): Promise<Finished> {
  const { metric, base } = await measure(request, plan, subject, tensors, say)
  return {
    facts: { task: plan.task.task, path: 3, kind: 'head', ...headFacts(request, plan, tensors) },
    parts: {
      head: tensors,
      dtype: plan.options.dtype,
      ...(metric
        ? { evaluation: mediaEvalLines(spread(subject.eval, metric.count), sides.evaluation, EVAL_BYTES) }
        : {}),
    },
    metric,
    base,
    trainSamples: subject.train.set.samples.length,
  }
}

/** Through the runtime, as it will be served, beside the image without it. @throws M4Error as the runtime */
async function measure(
  request: TrainRequest,
  plan: MediaPlan,
  subject: MediaSubject,
  tensors: HeadTensors,
  say: Say,
): Promise<Pick<Finished, 'metric' | 'base'>> {
  const { image, engine, signal, onProgress } = request
  const adapter = adapterOf(request, plan, tensors)
  if (image.manifest.weights === 'random') {
    say(RANDOM_WEIGHTS)
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
  const base = await measureBase(firmware, plan.task, held, subject.train.set.samples, signal)
  sayNoGain(metric, base, say)
  return { metric, base }
}

/** The head as requests take it. @throws M4Error `FORMAT_INVALID` for one that would not be served: NaN, or all zeros */
function adapterOf(request: TrainRequest, plan: MediaPlan, tensors: HeadTensors): HeadAdapter {
  const { head, base } = headFacts(request, plan, tensors)
  return usableHead(headAdapter({ name: nameOf(request), head, base }, new Map(Object.entries(tensors))))
}

function headFacts({ image }: TrainRequest, { task, width }: MediaPlan, tensors: HeadTensors) {
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

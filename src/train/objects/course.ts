/** Boxes, points, masks and counts: a head on the patches of the image's encoder of pictures, which stays as it is. */

import { M4Error } from '../../core/errors.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import { featureAbi, headAdapter, usableHead } from '../../runtime/head-adapter.js'
import { createModules, openFirmware, type PictureEncoder } from '../../runtime/index.js'
import {
  type Course,
  type Finished,
  MEASURED,
  type Say,
  type Sides,
  sayNoGain,
  type TrainPlan,
  type TrainRequest,
  warning,
} from '../course.js'
import { asStored, EVAL_BYTES, withEncoder } from '../head-package.js'
import { featureBytes, spreadOver } from '../media/features.js'
import { resolveMediaOptions } from '../media/options.js'
import { type HeadTensors, headStepGraph } from '../media/subject.js'
import { estimateMemory, STATE_COPIES } from '../memory.js'
import { nameOf, requireSmall } from '../pack.js'
import { fittingLines, objectEvalLines } from './eval-lines.js'
import { measureConstant, measureObjects } from './evaluate.js'
import { type SeenViews, seeViews } from './features.js'
import { type ObjectSubject, objectSubject } from './subject.js'
import { anchorsFor, type HeadSizes, objectHead } from './targets.js'
import { type ObjectTask, objectTask } from './task.js'
import { type SizedView, type ViewSet, viewsOf } from './views.js'

/** A sample is hundreds of vectors: fewer make a step than of whole pictures. */
const BATCH = 16

interface ObjectPlan extends TrainPlan {
  readonly task: ObjectTask
}

/**
 * The encoder is asked for its grid; pictures are looked at when training begins, each once.
 * @throws M4Error `NOT_AVAILABLE` where the image gives no patches (`details.needs`), `INVALID_REQUEST` for data that do not fit the task
 * or a head that is too large
 */
export async function openObjectCourse(request: TrainRequest, sides: Sides, say: Say): Promise<Course> {
  const { image, engine } = request
  const given = request.options ?? {}
  const task = objectTask(sides.train, image, given.task)
  const views = { train: viewsOf(sides.train, task), eval: viewsOf(sides.evaluation, task) }
  requireMeasurable(task, views.eval)
  const options = resolveMediaOptions({ ...given, batch: given.batch ?? BATCH }, views.train.samples.length)
  const grid = await withEncoderOf(request, async (encoder) => encoder.patchGrid)
  const anchors = anchorsFor(task, roughly(views.train))
  const head = objectHead(task, { ...grid, anchors }, options.hidden)
  const parameters = head.parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const adapterBytes = parameters * (options.dtype === 'float16' ? 2 : 4)
  requireSmall(adapterBytes, () =>
    options.hidden.length ? 'Make its hidden layers narrower.' : 'Store it as float16 (--dtype float16).',
  )
  const count = views.train.samples.length + views.eval.samples.length
  const plan: ObjectPlan = {
    task,
    options,
    parameters,
    trainSamples: views.train.samples.length,
    evalSamples: views.eval.samples.length,
    // Features twice: as they come, and scaled.
    memory: withEncoder(
      estimateMemory(headStepGraph(head, 'adamw'), { B: options.batch }, parameters * 4 * STATE_COPIES),
      image.manifest.modules[task.module]!.weightBytes,
      2 * featureBytes(count, grid.rows * grid.columns * grid.width),
    ),
    adapterBytes,
  }
  let opened: ObjectSubject | undefined
  return {
    plan,
    subject: async () => {
      const long = {
        onFinding: say,
        ...(request.onProgress ? { onProgress: request.onProgress } : {}),
        ...(request.signal ? { signal: request.signal } : {}),
      }
      const seen = await withEncoderOf(request, async (encoder) => ({
        train: await seeViews(encoder, views.train, long),
        eval: await seeViews(encoder, views.eval, long),
      }))
      const { hidden, seed } = options
      opened = await objectSubject({ engine, task, ...seen, sizes: { ...grid, anchors }, hidden, seed })
      return opened
    },
    finish: (result) =>
      finishObjects(request, sides, plan, opened!, asStored(opened!.tensors(result.parameters), options.dtype), say),
  }
}

/** The image's encoder of pictures, whatever its architecture; given back behind `use`. */
async function withEncoderOf<T>(
  { image, engine, signal }: TrainRequest,
  use: (encoder: PictureEncoder) => Promise<T>,
): Promise<T> {
  const modules = createModules(image, engine)
  try {
    const lease = await modules.use('IMG', signal)
    try {
      return await use(lease.module)
    } finally {
      lease.leave()
    }
  } finally {
    modules.close()
  }
}

/** Views of boxes with their size as the annotations say it: files are decoded later, and checked against it then. */
const roughly = ({ samples }: ViewSet): SizedView[] =>
  samples.flatMap((view) => {
    if (!view.size) return []
    const { width, height } = view.size
    return [{ ...view, region: { left: 0, top: 0, width, height, side: Math.max(width, height) } }]
  })

/** Said before a night of training and not after it. */
function requireMeasurable({ head, labels }: ObjectTask, { path, samples }: ViewSet): void {
  const found =
    head === 'boxes'
      ? samples.some(({ objects }) => objects.some(({ box, crowd }) => box && !crowd))
      : samples.length > 0
  if (found) return
  throw new M4Error('INVALID_REQUEST', `${path}: nothing that is held out has ${labels.join(', ')} to measure on.`, {
    hint: 'Hold out more (--eval-fraction), take another --seed, or give a second file (--eval).',
  })
}

async function finishObjects(
  request: TrainRequest,
  sides: Sides,
  { task, options }: ObjectPlan,
  { train, eval: evaluation, sizes }: ObjectSubject,
  tensors: HeadTensors,
  say: Say,
): Promise<Finished> {
  const facts = headFacts(request, task, sizes, tensors)
  const files = [...sides.data.files, ...sides.evaluation.files]
  const spread = spreadOver(evaluation.views.length, request.measured ?? MEASURED).map((i) => evaluation.views[i]!)
  const lines = objectEvalLines(spread, task.head, sides.evaluation, files)
  const carried = fittingLines(lines, EVAL_BYTES)
  const measured = await measure(request, task, facts, tensors, { train, views: spread.slice(0, carried) }, say)
  return {
    facts: { task: task.task, path: 3, kind: 'head', ...facts },
    parts: {
      head: tensors,
      dtype: options.dtype,
      ...(measured.metric ? { evaluation: lines.slice(0, carried) } : {}),
    },
    ...measured,
    trainSamples: train.views.length,
  }
}

/** Through the runtime, as it will be served. @throws M4Error as the runtime, `FORMAT_INVALID` for a head that would not be served */
async function measure(
  request: TrainRequest,
  task: ObjectTask,
  facts: ReturnType<typeof headFacts>,
  tensors: HeadTensors,
  { train, views }: { readonly train: SeenViews; readonly views: readonly SizedView[] },
  say: Say,
): Promise<Pick<Finished, 'metric' | 'base'>> {
  const { image, engine, signal, onProgress } = request
  const read = headAdapter({ name: nameOf(request), ...facts }, new Map(Object.entries(tensors)))
  const adapter: HeadAdapter = usableHead(read)
  if (image.manifest.weights === 'random') {
    say(warning('random-weights', 'The weights of this image are random: no accuracy is measured on it.'))
    return { metric: undefined, base: undefined }
  }
  using firmware = await openFirmware(image, { engine })
  const long = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  const metric = await measureObjects(firmware, adapter, views, long)
  const base = request.measureBase === false ? undefined : await measureConstant(task, train.views, views, signal)
  if (base) sayNoGain(metric, base, say)
  return { metric, base }
}

function headFacts(
  { image }: TrainRequest,
  { head: type, labels, module }: ObjectTask,
  sizes: HeadSizes,
  tensors: HeadTensors,
) {
  const { rows, columns, width, anchors } = sizes
  const out = Object.values(tensors).at(-1)!.dims[0]!
  const patches = { rows, columns }
  return {
    head: {
      type,
      in: width,
      out,
      ...(labels.length ? { labels } : {}),
      patches,
      ...(anchors.length ? { anchors } : {}),
    },
    base: {
      abi: featureAbi(image.manifest, module, width),
      module,
      image: { name: image.manifest.name, digest: image.digest },
      sizes: { width, rows, columns },
    },
  }
}

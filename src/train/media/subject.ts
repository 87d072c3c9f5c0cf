/** A head on features of pictures, sounds or motion, as the loop takes it (fit.ts). */

import { unknownName } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel, type Graph } from '../../graph/index.js'
import { featureLayers } from '../../runtime/feature-layers.js'
import type { Firmware } from '../../runtime/index.js'
import type { DataSet } from '../data/index.js'
import { type FeatureCache, featureBatch } from '../encoders/features.js'
import type { FitSubject } from '../fit.js'
import { classifierHead, headProgram, initialValues, retrievalHead, type TaskHead } from '../heads/index.js'
import { IGNORED_LABEL } from '../losses/index.js'
import { optimiserGraph, type StepKind, stepGraph } from '../step-graph.js'
import { captionVectors } from './captions.js'
import { type EmbeddedSet, type EmbedOptions, embedSamples, type FeatureMemory } from './features.js'
import { foldScaling, type Scaling, scaled, scalingOf, within } from './standardise.js'
import type { MediaSample, MediaTask } from './task.js'

export interface MediaSubjectParts extends LongOperation {
  readonly engine: Engine
  /** Gives the features; it may be closed as soon as the subject is there. */
  readonly firmware: Firmware
  readonly task: MediaTask
  readonly train: DataSet
  readonly eval: DataSet
  /** Widths of layers between features and classes; none is a linear head. */
  readonly hidden: readonly number[]
  /** Layers of the encoder that the head reads; none: all. */
  readonly layers?: readonly string[]
  readonly seed: number
  readonly memory?: FeatureMemory
  readonly limitBytes?: number
  readonly onFinding?: EmbedOptions['onFinding']
}

export type HeadTensors = Readonly<Record<string, HostTensor<'float32'>>>

export interface MediaSubject extends FitSubject {
  readonly head: TaskHead
  /** What was really trained and looked at: without samples that could not be read. */
  readonly train: EmbeddedSet
  readonly eval: EmbeddedSet
  /** Trained parameters as a device reads them: `layers.0.weight`, `layers.0.bias`, … over unscaled features. */
  tensors(parameters: ReadonlyMap<string, Float32Array>): HeadTensors
}

/** Training sessions: all batches share one. */
const SESSION = { memoryPattern: false } as const

/**
 * Embeds both sides, once, and makes the head. AdamW then runs on features in memory, standardised by those that are trained on.
 * @throws M4Error as `embedSamples`
 */
export async function mediaSubject(parts: MediaSubjectParts): Promise<MediaSubject> {
  const { firmware, task, hidden, seed, onProgress: _, signal, engine } = parts
  const train = await embedSamples(firmware, parts.train, { ...embedOptions(parts), everyClass: true })
  const evaluation = await embedSamples(firmware, parts.eval, embedOptions(parts))
  const scaling = readLayers(scalingOf(train.features), parts)
  const sides = { train: scaled(train.features, scaling), eval: scaled(evaluation.features, scaling) }
  const pairs =
    task.head === 'retrieval'
      ? {
          train: await captionVectors(firmware, train.set.samples, signal),
          eval: await captionVectors(firmware, evaluation.set.samples, signal),
        }
      : undefined
  const head = headOf(task, train.features.dims[0]!, pairs?.train.dims[0], hidden)
  const shapes = head.parameters.map(({ name, dims }) => ({ name, dims }))
  const targets = {
    train: targetsOf(task, train.set.samples, pairs?.train),
    eval: targetsOf(task, evaluation.set.samples, pairs?.eval),
  }
  // A label that is measured on and never trained on has no place in the loss; it counts as wrong when answers are measured.
  const known = evaluation.set.samples.flatMap((sample, i) =>
    'label' in sample && !task.labels.includes(sample.label) ? [] : [i],
  )
  const graph = (kind: StepKind) => headStepGraph(head, kind)
  return {
    head,
    train,
    eval: evaluation,
    shapes,
    initial: initialValues(head.parameters, seed),
    trainCount: train.features.count,
    evalCount: known.length,
    weightOf: (indices) => indices.length,
    batch: (side, indices) => {
      const rows = side === 'eval' ? indices.map((i) => known[i]!) : indices
      const feeds = { features: featureBatch(sides[side], rows), ...targets[side](rows) }
      return { feeds, weight: rows.length, units: rows.length }
    },
    open: async (kind) => engine.createSession({ bytes: await encodeModel(graph(kind)) }, SESSION),
    openOptimiser: async () =>
      engine.createSession({ bytes: await encodeModel(optimiserGraph('train.update', shapes)) }, SESSION),
    tensors: (parameters) => deviceTensors(head, parameters, scaling),
  }
}

/** @throws M4Error `UNKNOWN_NAME` for a layer that the encoder does not give */
function readLayers(scaling: Scaling, { layers = [], firmware, task }: MediaSubjectParts): Scaling {
  if (!layers.length) return scaling
  const known = featureLayers(firmware.manifest.modules[task.module]!)
  const spans = layers.map((layer) => {
    const span = known.find(({ name }) => name === layer)
    if (span) return span
    throw unknownName(
      'layer',
      layer,
      known.map(({ name }) => name),
    )
  })
  return within(scaling, spans)
}

const embedOptions = ({ memory, limitBytes, onFinding, onProgress, signal }: MediaSubjectParts): EmbedOptions => ({
  ...(memory ? { memory } : {}),
  ...(limitBytes === undefined ? {} : { limitBytes }),
  ...(onFinding ? { onFinding } : {}),
  ...(onProgress ? { onProgress } : {}),
  ...(signal ? { signal } : {}),
})

/** @param textWidth of the space that a retrieval head projects into */
export function headOf(
  task: MediaTask,
  width: number,
  textWidth: number | undefined,
  hidden: readonly number[],
): TaskHead {
  if (task.head === 'retrieval') return retrievalHead({ in: width, out: textWidth! }) as TaskHead
  return classifierHead({ in: width, hidden, classes: task.labels.length, activation: 'relu' }) as TaskHead
}

export const headStepGraph = (head: TaskHead, kind: StepKind): Graph =>
  stepGraph(`train.${kind}`, head.parameters, headProgram(head), kind)

function targetsOf(
  { head, labels }: MediaTask,
  samples: readonly MediaSample[],
  pairs: FeatureCache | undefined,
): (rows: readonly number[]) => Record<string, HostTensor> {
  if (head === 'retrieval') return (rows) => ({ 'target/pair': featureBatch(pairs!, rows) })
  const places = new Map(labels.map((label, i) => [label, i]))
  const classes = samples.map((sample) => ('label' in sample ? places.get(sample.label) : undefined) ?? IGNORED_LABEL)
  return (rows) => ({
    'target/labels': int64Tensor(
      [rows.length],
      rows.map((row) => classes[row]!),
    ),
  })
}

/** Layers in order, the scaling of features folded into the first. */
function deviceTensors(
  head: TaskHead,
  parameters: ReadonlyMap<string, Float32Array>,
  scaling: Scaling,
): Record<string, HostTensor<'float32'>> {
  const matrices = head.parameters.filter(({ dims }) => dims.length === 2)
  return Object.fromEntries(
    matrices.flatMap(({ name, dims }, l) => {
      const own = { weight: parameters.get(name)!, bias: parameters.get(`${name}/bias`) }
      const { weight, bias } = l === 0 ? foldScaling(own.weight, own.bias, scaling) : own
      const tensor = (sizes: readonly number[], data: Float32Array) =>
        hostTensor('float32', sizes, Float32Array.from(data))
      return [
        [`layers.${l}.weight`, tensor(dims, weight)],
        [`layers.${l}.bias`, tensor([dims[0]!], bias!)],
      ]
    }),
  )
}

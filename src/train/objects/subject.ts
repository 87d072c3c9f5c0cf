/** A head on patches, as the loop takes it (fit.ts). */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel } from '../../graph/index.js'
import { featureBatch } from '../encoders/features.js'
import type { FitSubject } from '../fit.js'
import { initialValues, type TaskHead } from '../heads/index.js'
import { foldScaling, type Scaling, scaled, scalingOf } from '../media/standardise.js'
import { type HeadTensors, headStepGraph } from '../media/subject.js'
import { optimiserGraph } from '../step-graph.js'
import type { SeenViews } from './features.js'
import { type HeadSizes, objectHead, objectTargets } from './targets.js'
import type { ObjectTask } from './task.js'

export interface ObjectSubject extends FitSubject {
  readonly train: SeenViews
  readonly eval: SeenViews
  readonly sizes: HeadSizes
  /** Trained parameters as a device reads them: `layers.0.weight`, `layers.0.bias`, … over unscaled features. */
  tensors(parameters: ReadonlyMap<string, Float32Array>): HeadTensors
}

export interface ObjectSubjectParts {
  readonly engine: Engine
  readonly task: ObjectTask
  readonly train: SeenViews
  readonly eval: SeenViews
  readonly sizes: HeadSizes
  readonly hidden: readonly number[]
  readonly seed: number
}

/** Training sessions: all batches share one. */
const SESSION = { memoryPattern: false } as const

/** @throws M4Error as `objectTargets` */
export async function objectSubject(parts: ObjectSubjectParts): Promise<ObjectSubject> {
  const { engine, task, sizes, hidden, seed } = parts
  const head = objectHead(task, sizes, hidden)
  const scaling = scalingOf(parts.train.features)
  const sides = { train: scaled(parts.train.features, scaling), eval: scaled(parts.eval.features, scaling) }
  const targets = {
    train: await objectTargets(task, sizes, parts.train.views),
    eval: await objectTargets(task, sizes, parts.eval.views),
  }
  const shapes = head.parameters.map(({ name, dims }) => ({ name, dims }))
  return {
    train: parts.train,
    eval: parts.eval,
    sizes,
    shapes,
    initial: initialValues(head.parameters, seed),
    trainCount: sides.train.count,
    evalCount: sides.eval.count,
    weightOf: (indices) => indices.length,
    batch: (side, indices) => ({
      feeds: { features: featureBatch(sides[side], indices), ...targets[side](indices) },
      weight: indices.length,
      units: indices.length,
    }),
    open: async (kind) => engine.createSession({ bytes: await encodeModel(headStepGraph(head, kind)) }, SESSION),
    openOptimiser: async () =>
      engine.createSession({ bytes: await encodeModel(optimiserGraph('train.update', shapes)) }, SESSION),
    tensors: (parameters) => deviceTensors(head, parameters, scaling),
  }
}

/**
 * Hidden layers in order, then the head: its matrices one below the other (of boxes: scores, then offsets). The scaling of features is
 * folded into the first layer.
 */
function deviceTensors(
  head: TaskHead,
  parameters: ReadonlyMap<string, Float32Array>,
  scaling: Scaling,
): Record<string, HostTensor<'float32'>> {
  const matrices = head.parameters.filter(({ dims }) => dims.length === 2)
  const hidden = matrices.filter(({ name }) => name.startsWith('hidden.'))
  const layers = [...hidden.map((matrix) => [matrix]), matrices.filter((matrix) => !hidden.includes(matrix))]
  return Object.fromEntries(
    layers.flatMap((parts, l) => {
      const stacked = {
        weight: joined(parts.map(({ name }) => parameters.get(name)!)),
        bias: joined(parts.map(({ name }) => parameters.get(`${name}/bias`)!)),
      }
      const { weight, bias } = l === 0 ? foldScaling(stacked.weight, stacked.bias, scaling) : stacked
      return [
        [
          `layers.${l}.weight`,
          hostTensor('float32', [bias.length, weight.length / bias.length], Float32Array.from(weight)),
        ],
        [`layers.${l}.bias`, hostTensor('float32', [bias.length], Float32Array.from(bias))],
      ]
    }),
  )
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

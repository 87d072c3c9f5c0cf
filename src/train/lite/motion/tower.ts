/**
 * The tower as a thing to train: a softmax over texts with a learned scale, and the batches that it is shown.
 *
 * @paper arXiv:2305.05665 (the tower) · arXiv:2103.00020 §2.3 (cosines with texts, their scale learned) · arXiv:1812.04606 (samples
 * from outside, to be equally unsure of)
 */

import { M4Error } from '../../../core/errors.js'
import { type HostTensor, hostTensor } from '../../../core/tensor.js'
import type { Engine } from '../../../engine/types.js'
import { encodeModel } from '../../../graph/index.js'
import {
  type ImageBindConfig,
  imagebindRandom,
  LITE_MOTION_RATE_HZ,
  LITE_MOTION_SAMPLES,
  type WeightTensor,
} from '../../../models/index.js'
import { encoderFeatures, imagebindTrainingGraph } from '../../encoders/index.js'
import type { FitSubject } from '../../fit.js'
import { trainable, withTrained } from '../../full.js'
import { learnedScale, softCrossEntropy, unitLength } from '../../losses/index.js'
import { type ParameterShape, type Program, stepGraph } from '../../step-graph.js'
import { augmentedSample, chanceOf, type MotionSample, plainSample, strangeSample } from './augment.js'
import { anyWording } from './prompts.js'
import type { HarWindow } from './recordings.js'

export const GRID = { sampleRateHz: LITE_MOTION_RATE_HZ, samples: LITE_MOTION_SAMPLES }

/** Of each batch: windows of no activity. */
const STRANGE = 6
const LOG_SCALE = 'logScale'
const FIRST_SCALE = 20

export interface MotionTower {
  readonly config: ImageBindConfig
  readonly shapes: readonly ParameterShape[]
  readonly initial: ReadonlyMap<string, Float32Array>
  readonly parameterCount: number
  /** Inputs: motion [B, 6, N], texts [K, E] of length 1, shares [B, K] over B. */
  readonly program: Program
  /** The weights under our names, and what cosines are multiplied with. */
  trained(parameters: ReadonlyMap<string, Float32Array>): {
    readonly weights: ReadonlyMap<string, WeightTensor>
    readonly logitScale: number
  }
}

export function motionTower(config: ImageBindConfig, seed: number): MotionTower {
  const { graph, weights } = imagebindTrainingGraph(config, firstWeights(config, seed), { adapters: false })
  const full = trainable(graph, weights, { wanted: ['head'] })
  return {
    config,
    shapes: [...full.parameters, { name: LOG_SCALE, dims: [] }],
    initial: new Map<string, Float32Array>([
      ...full.parameters.map((each): [string, Float32Array] => [each.name, each.initial()]),
      [LOG_SCALE, Float32Array.of(Math.log(FIRST_SCALE))],
    ]),
    parameterCount: full.parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0),
    program: (tape, parameter) => {
      const { g } = tape
      const head = encoderFeatures(tape, { graph, value: 'head', full }, parameter)
      const texts = g.input('texts', 'float32', ['K', config.joint])
      const shares = g.input('shares', 'float32', ['B', 'K'])
      const cosines = g.op('FusedMatMul', [unitLength(tape, g, head), texts], { transB: 1 }, 'cosines') // [B, K]
      const scale = learnedScale(g, parameter(LOG_SCALE), config.maxScale)
      return { loss: softCrossEntropy(tape, g, g.op('Mul', [cosines, scale], {}, 'logits'), shares) }
    },
    trained: (parameters) => {
      const own = new Map(parameters)
      const logScale = own.get(LOG_SCALE)![0]!
      own.delete(LOG_SCALE)
      return { weights: withTrained(weights, own), logitScale: Math.min(Math.exp(logScale), config.maxScale) }
    },
  }
}

/** The scale inside the tower is 1: that of the softmax stands in the recipe (`logitScale`), where the runtime looks. */
function firstWeights(config: ImageBindConfig, seed: number): Map<string, WeightTensor> {
  const one: WeightTensor = { name: LOG_SCALE, dims: [1], float32: () => new Float32Array(1) }
  return imagebindRandom(config, seed).set(LOG_SCALE, one)
}

export interface Words {
  /** Of each activity, every wording. [K][..][E] */
  readonly prompts: readonly (readonly Float32Array[])[]
  /** The first wording of each, as it is. [K][E] */
  readonly plain: readonly Float32Array[]
  /** Sets of wordings that are not trained on. [..][K][E] */
  readonly others: readonly (readonly Float32Array[])[]
}

export interface MotionSides {
  readonly train: readonly HarWindow[]
  readonly evaluation: readonly HarWindow[]
  readonly words: Words
  readonly seed: number
}

export function motionSubject(engine: Engine, tower: MotionTower, sides: MotionSides): FitSubject {
  const { shapes, initial, program } = tower
  return {
    shapes,
    initial,
    trainCount: sides.train.length,
    evalCount: sides.evaluation.length,
    batch: batches(sides),
    weightOf: (indices) => indices.length,
    open: async (kind) =>
      engine.createSession(
        { bytes: await encodeModel(stepGraph('motion', shapes, program, kind)) },
        { memoryPattern: false },
      ),
    openOptimiser: () => Promise.reject(new M4Error('USAGE', 'Batches of motion are run whole.')),
  }
}

function batches({ train, evaluation, words, seed }: MotionSides): FitSubject['batch'] {
  const activities = words.plain.length
  const chance = chanceOf(seed)
  return (side, indices) => {
    const samples =
      side === 'train'
        ? [
            ...indices.map((i) => augmentedSample(train[i]!, GRID, chance)),
            ...Array.from({ length: STRANGE }, () => strangeSample(activities, GRID, chance)),
          ]
        : indices.map((i) => plainSample(evaluation[i]!, GRID))
    const texts = side === 'train' ? words.prompts.map((prompts) => anyWording(prompts, chance)) : words.plain
    return { feeds: feedsOf(samples, texts), weight: samples.length, units: samples.length }
  }
}

function feedsOf(samples: readonly MotionSample[], texts: readonly Float32Array[]): Record<string, HostTensor> {
  const count = samples.length
  return {
    motion: stacked(
      [count, 6, GRID.samples],
      samples.map(({ motion }) => motion),
    ),
    texts: stacked([texts.length, texts[0]!.length], texts),
    shares: stacked(
      [count, texts.length],
      samples.map(({ shares }) => shares.map((share) => share / count)),
    ),
  }
}

function stacked(dims: readonly number[], rows: readonly ArrayLike<number>[]): HostTensor {
  const width = rows[0]!.length
  const data = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) data.set(row, i * width)
  return hostTensor('float32', dims, data)
}

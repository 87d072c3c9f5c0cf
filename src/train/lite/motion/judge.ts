/** What a trained tower makes of windows, and how far that can be believed. */

import type { Engine } from '../../../engine/types.js'
import { encodeModel } from '../../../graph/index.js'
import { type ImageBindConfig, imagebindGraph, type WeightTensor } from '../../../models/index.js'
import { probabilitiesOf } from '../../../runtime/class-head.js'
import { toUnitLength } from '../../../runtime/tower.js'
import type { MotionSample } from './augment.js'

const AT_ONCE = 256

/** Unit vectors of the space. @throws M4Error `ENGINE` */
export async function windowVectors(
  engine: Engine,
  config: ImageBindConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  samples: readonly MotionSample[],
): Promise<Float32Array[]> {
  const graph = imagebindGraph(config, weights, {
    quantisation: { default: 'fp32' },
    embedding: 'fp32',
    adapters: false,
  })
  using session = await engine.createSession({ bytes: await encodeModel(graph) })
  const width = config.joint
  const vectors: Float32Array[] = []
  for (let from = 0; from < samples.length; from += AT_ONCE) {
    const some = samples.slice(from, from + AT_ONCE)
    const size = some[0]!.motion.length
    using motion = engine.tensor('float32', [some.length, 6, size / 6])
    for (const [i, sample] of some.entries()) (motion.data as Float32Array).set(sample.motion, i * size)
    using head = (await session.run({ motion }, ['head'])).head!
    for (let i = 0; i < some.length; i++)
      vectors.push(toUnitLength((head.data as Float32Array).slice(i * width, (i + 1) * width)))
  }
  return vectors
}

export interface Judged {
  readonly right: boolean
  /** Of the answer. */
  readonly probability: number
}

/** @param labels unit vectors of the texts. [K][E] */
export const judged = (
  vectors: readonly Float32Array[],
  truth: readonly number[],
  labels: readonly Float32Array[],
  logitScale: number,
): Judged[] =>
  vectors.map((vector, i) => {
    const probabilities = probabilitiesOf(
      labels.map((label) => logitScale * label.reduce((sum, value, c) => sum + value * vector[c]!, 0)),
    )
    const probability = Math.max(...probabilities)
    return { right: probabilities.indexOf(probability) === truth[i], probability }
  })

export const accuracyOf = (answers: readonly Judged[]): number =>
  answers.filter(({ right }) => right).length / answers.length

/**
 * The lowest probability above which answers are right this often; 1 where none is.
 * Answers of one probability stand or fall together.
 */
export function confidenceThreshold(answers: readonly Judged[], precision: number): number {
  const sorted = [...answers].sort((a, b) => b.probability - a.probability)
  let right = 0
  let threshold = 1
  for (const [i, answer] of sorted.entries()) {
    right += Number(answer.right)
    const last = sorted[i + 1]?.probability !== answer.probability
    if (last && right / (i + 1) >= precision) threshold = answer.probability
  }
  return threshold
}

/**
 * The model that is trained in full: a LLaMA of the shape of stories15M (github.com/karpathy/llama2.c), tied head, seeded random
 * weights; and batches of seeded tokens. Every contender gets these very bytes.
 */

import { randomSource } from '../../dist/core/random.js'
import { hostTensor } from '../../dist/core/tensor.js'
import { abiOf } from '../../dist/firmware/describe.js'
import { ARCHITECTURES, withOrigins } from '../../dist/models/index.js'
import { backboneBatch } from '../../dist/train/backbone/batch.js'
import { backboneProgram } from '../../dist/train/backbone/program.js'
import { joinedParameters, trainable } from '../../dist/train/full.js'
import { stepGraph } from '../../dist/train/step-graph.js'

export const STORIES = Object.freeze({
  vocabulary: 32_000,
  width: 288,
  feedForward: 768,
  layers: 6,
  heads: 6,
  kvHeads: 6,
  headWidth: 48,
  contextLength: 256,
  normEpsilon: 1e-5,
  ropeTheta: 10_000,
})
export const WEIGHTS_SEED = 1

/** Constant, so that every contender takes the same steps. */
export const OPTIMISER = Object.freeze({
  lr: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  epsilon: 1e-8,
  decay: 0.1,
  clip: 1,
  schedule: 'constant',
  warmupSteps: 0,
  floor: 0,
})

const OPTIONS = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: [] }

/** Name → tensor, the head being the embedding. */
export function storiesWeights() {
  const weights = ARCHITECTURES.llama.random(STORIES, WEIGHTS_SEED)
  return withOrigins(weights.set('head', weights.get('embed')))
}

/** @returns `graph` of one step, `parameters` with their first values, `abi` */
export function storiesStep(kind) {
  const { llama } = ARCHITECTURES
  const weights = storiesWeights()
  const graphs = llama.graphs(STORIES, weights, OPTIONS)
  const [embed, decode] = [graphs.embed(), graphs.decode()]
  const full = { embed: trainable(embed, weights), decode: trainable(decode, weights, { wanted: ['logits'] }) }
  const parameters = joinedParameters([full.embed, full.decode])
  const abi = abiOf(llama.adapters(STORIES, OPTIONS))
  const program = backboneProgram({ embed, decode }, abi, { kind: 'full' }, { full })
  return { graph: stepGraph(`stories.${kind}`, parameters, program, kind), parameters, abi }
}

/** [rows, inner, columns] of products of a step of 2048 tokens, the head’s first; and a square one, that the cache likes best. */
export const STEP_SHAPES = Object.freeze([
  [2048, STORIES.width, STORIES.vocabulary],
  [2048, STORIES.width, STORIES.feedForward],
  [1024, 1024, 1024],
])

/**
 * The products that no trainer can do without, in multiply-accumulates: forwards, and the gradients of both factors, are one each.
 * A layer has 4 C² + 3 C F weights; the head sees every token but a row's last. Attention: scores and mixing, 2 products forwards
 * and 4 backwards of T/2 · C a token, what is masked left out.
 */
export function stepMacs(rows, length) {
  const { width: C, feedForward: F, layers, vocabulary } = STORIES
  const linear = 3 * layers * (4 * C ** 2 + 3 * C * F) * rows * length
  const head = 3 * C * vocabulary * rows * (length - 1)
  const attention = 6 * layers * (length / 2) * C * rows * length
  return linear + head + attention
}

/** Token ids of step `step`, [rows][length]; frequencies fall as in text (log-uniform), so that there is something to learn. */
export function storiesTokens(step, rows, length) {
  const next = randomSource(1000 + step)
  return Array.from({ length: rows }, () =>
    Array.from({ length }, () => Math.min(STORIES.vocabulary - 1, Math.floor(STORIES.vocabulary ** next()))),
  )
}

/** The same as feeds of the step graph: every token but a row's first is learned. */
export function storiesBatch(abi, step, rows, length) {
  const tokens = storiesTokens(step, rows, length).map((ids) => ({ ids, labels: ids }))
  return backboneBatch(tokens, { promptTokens: 0, prefixTokens: 0, kvHeads: abi.kvHeads, headWidth: abi.headWidth })
}

/** Parameters by name as tensors of the host. */
export const initialTensors = (parameters) =>
  Object.fromEntries(parameters.map(({ name, dims, initial }) => [name, hostTensor('float32', dims, initial())]))

/**
 * How an English word sounds, from its letters: each letter gives none, one or a few phonemes (x gives `K S`), named by class. Three
 * letters on either side enter by a convolution, the whole word — for the stress — by a small pre-norm transformer.
 *
 * @paper one class a letter, after alignment: Pagel, Lenzo, Black, "Letter to sound rules for accented lexicon compression" (1998)
 */

import { DTYPES } from '../core/dtypes.js'
import { type Graph, GraphBuilder, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { type EmbeddingKind, embeddingTable } from './embedding.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import { type QuantisationPlan, table } from './linear.js'
import { dense, type EmitContext, layerNorm, need, stackShapes } from './transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface LetterToSoundConfig {
  /** Ids of letters; 0 is none. */
  readonly letters: number
  /** Width of a letter before the convolution, E. */
  readonly letterWidth: number
  /** Letters that the convolution sees at once, odd. */
  readonly window: number
  readonly width: number
  readonly feedForward: number
  readonly layers: number
  readonly heads: number
  /** Letters of a word at most. */
  readonly longest: number
  /** Classes. */
  readonly sounds: number
}

const withBias = (name: string) => [name, `${name}/bias`]

const NAMES = [
  'letters',
  ...withBias('window'),
  'positions',
  ...['attn/norm', 'attn/q', 'attn/k', 'attn/v', 'attn/o', 'mlp/norm', 'mlp/fc1', 'mlp/fc2'].flatMap((part) =>
    withBias(`layers.{}/${part}`),
  ),
  ...withBias('norm'),
  ...withBias('head'),
]

const NORM_EPSILON = 1e-5

/** Sizes from the tensors; the number of heads from the recipe's `config`. */
export function letterToSoundConfig({ weights, metadata }: CheckpointFacts): LetterToSoundConfig {
  const [letters, letterWidth] = dimsOf(weights, ['letters']) as [number, number]
  const [width, , window] = dimsOf(weights, ['window']) as [number, number, number]
  return {
    letters,
    letterWidth,
    window,
    width,
    feedForward: dimsOf(weights, ['layers.0/mlp/fc1'])[0]!,
    layers: countLayers(weights, ['layers.{}/mlp/fc1']),
    heads: numberFact(metadata, ['config/heads']),
    longest: dimsOf(weights, ['positions'])[0]!,
    sounds: dimsOf(weights, ['head'])[0]!,
  }
}

export function letterToSoundShapes(config: LetterToSoundConfig): Record<string, readonly number[]> {
  const { letters, letterWidth, window, width, longest, sounds } = config
  return stackShapes(NAMES, config, {
    letters: [letters, letterWidth],
    window: [width, letterWidth, window],
    positions: [longest, width],
    head: [sounds, width],
    'head/bias': [sounds],
  })
}

/** Files of this architecture carry our own names. */
export function letterToSoundWeights(config: LetterToSoundConfig, weights: Weights): Map<string, WeightTensor> {
  const names = Object.fromEntries(NAMES.map((name) => [name, name]))
  return resolveWeights(weights, { names }, config.layers, letterToSoundShapes(config))
}

/** `letters` int64 [B, T], 0 behind the end of shorter words → `scores` float32 [B, T, sounds]; T at most `longest`. */
export function letterToSoundGraph(
  config: LetterToSoundConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  options: { readonly quantisation: QuantisationPlan; readonly embedding: EmbeddingKind },
): Graph {
  const g = new GraphBuilder('letters')
  const ctx: EmitContext = { weights, plan: options.quantisation, normEpsilon: NORM_EPSILON }
  const letters = g.input('letters', 'int64', ['B', 'T'])
  const there = g.op('Not', [g.op('Equal', [letters, g.int64(0)], {}, 'none')], {}, 'there')
  const mask = g.op('Cast', [there], { to: DTYPES.int32.onnx }, 'mask')
  let x = g.op('Add', [windows(g, letters, config, ctx, options.embedding), places(g, letters, weights)], {}, 'in')
  for (let l = 0; l < config.layers; l++) {
    const path = `layers.${l}`
    const attn = g.scope(`${path}/attn`)
    const normed = layerNorm(ctx, attn, x, `${path}/attn/norm`, 'norm')
    const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, normed, `${path}/attn/${part}`, part))
    const mixed = attn.op('MultiHeadAttention', [q, k, v, undefined, mask], { num_heads: config.heads }, 'mixed')
    x = attn.op('Add', [x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o')], {}, 'sum') // [B, T, C]
    const mlp = g.scope(`${path}/mlp`)
    const wide = dense(ctx, mlp, layerNorm(ctx, mlp, x, `${path}/mlp/norm`, 'norm'), `${path}/mlp/fc1`, 'fc1')
    const narrow = dense(ctx, mlp, mlp.op('Gelu', [wide], {}, 'gelu'), `${path}/mlp/fc2`, 'fc2')
    x = mlp.op('Add', [x, narrow], {}, 'sum')
  }
  g.output('scores', dense(ctx, g, layerNorm(ctx, g, x, 'norm', 'norm'), 'head', 'head'))
  return g.build()
}

/** Each letter with its neighbours. [B, T] → [B, T, C] */
function windows(
  g: GraphBuilder,
  letters: Value,
  { window }: LetterToSoundConfig,
  { weights }: EmitContext,
  embedding: EmbeddingKind,
): Value {
  const reach = (window - 1) / 2
  // Letters that are not there are the rows of id 0, in front of a word as behind it.
  const wide = g.op('Pad', [letters, g.int64([reach, reach]), g.int64(0), g.int64([1])], {}, 'wide')
  const rows = embeddingTable(g, wide, need(weights, 'letters'), embedding, 'letters/rows')
  const channels = g.op('Transpose', [rows], { perm: [0, 2, 1] }, 'channels') // [B, E, T + 2·reach]
  const filter = table(g, need(weights, 'window'), 'float32', 'window/weight')
  const bias = table(g, need(weights, 'window/bias'), 'float32', 'window/bias')
  return g.op('Transpose', [g.op('Conv', [channels, filter, bias], {}, 'window')], { perm: [0, 2, 1] }, 'seen')
}

/** Rows of the first T places. [T, C] */
function places(g: GraphBuilder, letters: Value, weights: ReadonlyMap<string, WeightTensor>): Value {
  const length = g.op('Shape', [letters], { start: 1, end: 2 }, 'length')
  const all = table(g, need(weights, 'positions'), 'float32', 'positions')
  return g.op('Slice', [all, g.int64([0]), length, g.int64([0])], {}, 'places')
}

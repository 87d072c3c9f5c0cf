/**
 * From the joint space into the backbone: unit length, mean over clips, then one linear layer to one soft token (PandaGPT), or
 * two with a GELU between them to several (LLaVA 1.5).
 *
 * @paper arXiv:2305.16355 · arXiv:2310.03744 §3
 * @reference yxuansu/PandaGPT@9b77e04 code/model/openllama.py `encode_image`, `encode_audio`
 */

import { M4Error } from '../core/errors.js'
import { type Graph, GraphBuilder, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { dimsOf, numberFact } from './facts.js'
import { joint } from './imagebind/post.js'
import type { QuantisationPlan } from './linear.js'
import { dense } from './transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface ProjectionConfig {
  /** Width of the joint space, E. */
  readonly joint: number
  /** Width of the backbone, C. */
  readonly width: number
  /** Soft tokens of an item, n. */
  readonly tokens: number
  /** Between two layers, H; absent: one layer. */
  readonly hidden?: number
}

/** The text around the soft tokens of `lite`: its recipe says it to the runtime, and they are trained in it. */
export const LITE_SOFT_PROMPT = { before: '', question: '\nQ: {}\nA:', end: '\n' } as const

/** PandaGPT's delta; the LoRA in the same file is an adapter of the backbone. */
export const PROJECTION_LAYOUT: NameTable = {
  names: { proj: 'llama_proj.weight', 'proj/bias': 'llama_proj.bias' },
  ignore: [/\.lora_[AB]\.(?:default\.)?weight$/],
}

/** As `npm run train:lite` writes it. */
const TWO_LAYERS: NameTable = {
  names: {
    first: 'projection.first.weight',
    'first/bias': 'projection.first.bias',
    proj: 'projection.second.weight',
    'proj/bias': 'projection.second.bias',
  },
}

/** Sizes from the tensors; how many tokens their rows are, from `tokens` of the recipe's `config` (default 1). */
export function projectionConfig({ weights, metadata }: CheckpointFacts): ProjectionConfig {
  const tokens = numberFact(metadata, ['config/tokens'], 1)
  const [rows, inner] = dimsOf(weights, ['llama_proj.weight', 'projection.second.weight']) as [number, number]
  if (rows % tokens)
    throw new M4Error('SHAPE_MISMATCH', `The projection has ${rows} rows, which are no ${tokens} tokens.`, {
      hint: 'Correct `tokens` of its config in the recipe.',
    })
  const width = rows / tokens
  if (!weights.has('projection.second.weight')) return { joint: inner, width, tokens }
  return { joint: dimsOf(weights, ['projection.first.weight'])[1]!, width, tokens, hidden: inner }
}

export const projectionShapes = (config: ProjectionConfig): Record<string, readonly number[]> => {
  const { joint: size, width, tokens, hidden } = config
  return {
    ...(hidden === undefined ? {} : { first: [hidden, size], 'first/bias': [hidden] }),
    proj: [tokens * width, hidden ?? size],
    'proj/bias': [tokens * width],
  }
}

export const projectionWeights = (config: ProjectionConfig, weights: Weights): Map<string, WeightTensor> =>
  resolveWeights(weights, config.hidden === undefined ? PROJECTION_LAYOUT : TWO_LAYERS, 0, projectionShapes(config))

/**
 * `head` [B, Q, E] (what an encoder's head gives for the Q clips of each item: neither normalised nor scaled) → `embedding` [B, E],
 * the mean of the clips at length 1, and `softToken` [B, n, C]. Soft tokens of several modalities are added up.
 */
export function projectionGraph(
  { joint: size, width, tokens, hidden }: ProjectionConfig,
  plan: QuantisationPlan,
  weights: ReadonlyMap<string, WeightTensor>,
): Graph {
  const g = new GraphBuilder('projection')
  const ctx = { weights, plan, normEpsilon: 0 }
  const head = g.input('head', 'float32', ['B', 'Q', size])
  const rows = g.op('Reshape', [head, g.int64([-1, size])], {}, 'rows') // [B·Q, E]
  const embedding = joint(g, rows, { items: head }) // [B, E]
  g.output('embedding', embedding)
  let x: Value = embedding
  if (hidden !== undefined) x = g.op('Gelu', [dense(ctx, g, x, 'first', 'first')], {}, 'first/activated')
  const token = dense(ctx, g, x, 'proj', 'projected')
  g.output('softToken', g.op('Reshape', [token, g.int64([-1, tokens, width])], {}, 'tokens'))
  return g.build()
}

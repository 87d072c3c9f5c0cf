/**
 * From the joint space into the backbone: unit length, mean over clips, one linear layer, one soft token (PandaGPT).
 *
 * @paper arXiv:2305.16355 · @reference yxuansu/PandaGPT@9b77e04 code/model/openllama.py `encode_image`, `encode_audio`
 */

import { type Graph, GraphBuilder } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { dimsOf } from './facts.js'
import { joint } from './imagebind/post.js'
import type { QuantisationPlan } from './linear.js'
import { dense } from './transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface ProjectionConfig {
  /** Width of the joint space, E. */
  readonly joint: number
  /** Width of the backbone, C. */
  readonly width: number
}

/** PandaGPT's delta; the LoRA in the same file is an adapter of the backbone. */
export const PROJECTION_LAYOUT: NameTable = {
  names: { proj: 'llama_proj.weight', 'proj/bias': 'llama_proj.bias' },
  ignore: [/\.lora_[AB]\.(?:default\.)?weight$/],
}

export function projectionConfig({ weights }: CheckpointFacts): ProjectionConfig {
  const [width, joint] = dimsOf(weights, ['llama_proj.weight']) as [number, number]
  return { joint, width }
}

export const projectionShapes = ({ joint: size, width }: ProjectionConfig): Record<string, readonly number[]> => ({
  proj: [width, size],
  'proj/bias': [width],
})

export const projectionWeights = (config: ProjectionConfig, weights: Weights): Map<string, WeightTensor> =>
  resolveWeights(weights, PROJECTION_LAYOUT, 0, projectionShapes(config))

/**
 * `head` [B, Q, E] (ImageBind's output `head` for the Q clips of each item: neither normalised nor scaled) → `embedding` [B, E],
 * the mean of the clips at length 1, and `softToken` [B, 1, C]. Soft tokens of several modalities are added up.
 * @param weights without them `weight` [E, C] and `bias` [C] are inputs, so that an adapter can bring its own
 */
export function projectionGraph(
  { joint: size, width }: ProjectionConfig,
  plan: QuantisationPlan,
  weights?: ReadonlyMap<string, WeightTensor>,
): Graph {
  const g = new GraphBuilder('projection')
  const head = g.input('head', 'float32', ['B', 'Q', size])
  const rows = g.op('Reshape', [head, g.int64([-1, size])], {}, 'rows') // [B·Q, E]
  const embedding = joint(g, rows, { items: head }) // [B, E]
  g.output('embedding', embedding)
  const token = weights
    ? dense({ weights, plan, normEpsilon: 0 }, g, embedding, 'proj', 'projected')
    : g.op(
        'Add',
        [
          g.op('MatMul', [embedding, g.input('weight', 'float32', [size, width])], {}, 'product'),
          g.input('bias', 'float32', [width]),
        ],
        {},
        'projected',
      )
  g.output('softToken', g.op('Unsqueeze', [token, g.int64([1])], {}, 'token'))
  return g.build()
}

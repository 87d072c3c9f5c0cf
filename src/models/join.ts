/**
 * From an encoder's features into the joint space, as a graph of its own beside the encoder (`join`): linear layers with a GELU
 * between them. What comes out has no length yet: whoever compares brings it to 1.
 *
 * @paper arXiv:2103.00020 §2.3 (a linear projection for each modality)
 */

import { type Graph, GraphBuilder, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { dimsOf, factAt } from './facts.js'
import type { QuantisationPlan } from './linear.js'
import { dense } from './transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface JoinConfig {
  /** Width of what it reads, F. */
  readonly in: number
  /** All features (default); or of the classes alone, the square roots of their probabilities. */
  readonly reads?: 'features' | 'classes'
  /** Between the two layers; absent: one layer. */
  readonly hidden?: number
  /** Width of the joint space, E. */
  readonly joint: number
}

const FIRST = 'join.first.weight'
const LAST = 'join.weight'

/**
 * `join.weight` [E, F] and `join.bias`; of two layers the first is `join.first.weight` [H, F]. What it reads from the configuration
 * (`reads`, default features).
 */
export function joinConfig({ weights, metadata }: CheckpointFacts): JoinConfig {
  const reads = factAt(metadata, 'config/reads') === 'classes' ? 'classes' : 'features'
  const [joint, inner] = dimsOf(weights, [LAST]) as [number, number]
  if (!weights.has(FIRST)) return { in: inner, reads, joint }
  return { in: dimsOf(weights, [FIRST])[1]!, reads, hidden: inner, joint }
}

export const joinShapes = ({ in: inner, hidden, joint }: JoinConfig): Record<string, readonly number[]> => ({
  ...(hidden === undefined ? {} : { first: [hidden, inner], 'first/bias': [hidden] }),
  last: [joint, hidden ?? inner],
  'last/bias': [joint],
})

export const joinWeights = (config: JoinConfig, weights: Weights): Map<string, WeightTensor> =>
  resolveWeights(
    weights,
    {
      names: {
        ...(config.hidden === undefined ? {} : { first: FIRST, 'first/bias': 'join.first.bias' }),
        last: LAST,
        'last/bias': 'join.bias',
      },
    },
    0,
    joinShapes(config),
  )

/** `features` or `classes` [B, F] → `head` [B, E] */
export function joinGraph(
  { in: inner, reads = 'features', hidden }: JoinConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('join')
  const ctx = { weights, plan, normEpsilon: 0 }
  let x: Value = g.input(reads, 'float32', ['B', inner])
  if (hidden !== undefined) x = g.op('Gelu', [dense(ctx, g, x, 'first', 'first')], {}, 'first/activated')
  g.output('head', dense(ctx, g, x, 'last', 'last'))
  return g.build()
}

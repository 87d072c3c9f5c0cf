/**
 * The paper's decoder of classes (GEN_dec): linear layers with an activation between them, softmax at the end. It stands beside an
 * encoder as the part `classify` of its module.
 *
 * @paper arXiv:2308.14363 §3
 */

import { M4Error } from '../core/errors.js'
import { type Graph, GraphBuilder, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { factAt } from './facts.js'
import type { QuantisationPlan } from './linear.js'
import { dense } from './transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from './weights.js'

const ACTIVATIONS = { gelu: 'Gelu', relu: 'Relu' } as const

export interface MlpHeadConfig {
  /** Width of the features, C. */
  readonly in: number
  /** Widths between the layers, first to last; none for one layer. */
  readonly hidden: readonly number[]
  readonly classes: number
  /** Between layers. `gelu` is the exact one. */
  readonly activation: keyof typeof ACTIVATIONS
}

/** Numbers of the layers in the file, ascending: PyTorch's Sequential counts activations too. */
const layerNumbers = (weights: Weights): number[] =>
  [...weights.keys()]
    .flatMap((name) => /^layers\.(\d+)\.weight$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)

/**
 * Widths from the tensors, the activation from `activation` of the recipe's `config`.
 * @throws M4Error `TENSOR_MISSING`, `SHAPE_MISMATCH`, `FORMAT_INVALID` where there are several layers and no activation is named
 */
export function mlpHeadConfig({ weights, metadata }: CheckpointFacts): MlpHeadConfig {
  const sizes = layerNumbers(weights).map((number) => weights.get(`layers.${number}.weight`)!.dims)
  if (sizes.length === 0)
    throw new M4Error('TENSOR_MISSING', 'The checkpoint has no layers.0.weight.', {
      hint: 'Save the linear layers in order as layers.{}.weight and layers.{}.bias.',
    })
  for (const [i, dims] of sizes.entries())
    if (dims.length !== 2 || (i > 0 && dims[1] !== sizes[i - 1]![0]))
      throw new M4Error(
        'SHAPE_MISMATCH',
        `Layer ${i} of the head: expected [out, ${sizes[i - 1]?.[0] ?? 'in'}], the checkpoint has [${dims.join(', ')}].`,
        { hint: 'Number the linear layers in the order in which they are computed.' },
      )
  const widths = sizes.map(([out]) => out!)
  const activation = factAt(metadata, 'config/activation') ?? (sizes.length === 1 ? 'relu' : undefined)
  if (typeof activation !== 'string' || !Object.hasOwn(ACTIVATIONS, activation))
    throw new M4Error('FORMAT_INVALID', `config.activation: expected gelu or relu, got ${activation ?? 'nothing'}.`, {
      hint: 'State dicts do not say it: name it under `config` in the recipe.',
    })
  return {
    in: sizes[0]![1]!,
    hidden: widths.slice(0, -1),
    classes: widths.at(-1)!,
    activation: activation as MlpHeadConfig['activation'],
  }
}

export const mlpHeadShapes = (config: MlpHeadConfig): Record<string, readonly number[]> => {
  const widths = [config.in, ...config.hidden, config.classes]
  return Object.fromEntries(
    widths.slice(1).flatMap((out, i) => [
      [`layers.${i}`, [out, widths[i]!]],
      [`layers.${i}/bias`, [out]],
    ]),
  )
}

export function mlpHeadWeights(config: MlpHeadConfig, weights: Weights): Map<string, WeightTensor> {
  const names = layerNumbers(weights).flatMap((number, i) => [
    [`layers.${i}`, `layers.${number}.weight`],
    [`layers.${i}/bias`, `layers.${number}.bias`],
  ])
  return resolveWeights(weights, { names: Object.fromEntries(names) }, 0, mlpHeadShapes(config))
}

/** `features` [B, C] → `probabilities` [B, classes] */
export function mlpHeadGraph(
  config: MlpHeadConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('head')
  const ctx = { weights, plan, normEpsilon: 0 }
  let x: Value = g.input('features', 'float32', ['B', config.in])
  for (const i of config.hidden.keys()) {
    const layer = dense(ctx, g, x, `layers.${i}`, `layers.${i}`)
    x = g.op(ACTIVATIONS[config.activation], [layer], {}, `layers.${i}/activated`)
  }
  const last = `layers.${config.hidden.length}`
  g.output('probabilities', g.op('Softmax', [dense(ctx, g, x, last, last)], { axis: -1 }, 'softmax'))
  return g.build()
}

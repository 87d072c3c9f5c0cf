/**
 * unCLIP's conditioning by an image embedding: normalised, noised like a diffusion step at `level`, un-normalised, and joined
 * with the sinusoids of the level into the class vector of the U-Net.
 *
 * @paper arXiv:2204.06125 · @reference Stability-AI/stablediffusion@cf1d67a:ldm/modules/karlo/kakao/template.py, diffusers
 * `StableUnCLIPImageNormalizer`
 */

import { bytesOf } from '../../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor } from '../../graph/index.js'
import type { CheckpointFacts } from '../architecture.js'
import { dimsOf } from '../facts.js'
import { vector } from '../linear.js'
import { need } from '../transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import { sinusoids } from './sinusoids.js'

export interface AugmentConfig {
  /** Width of the image embedding. */
  readonly width: number
}

const LEVELS = 1000

const TABLES: Readonly<Record<'diffusers' | 'ldm', NameTable>> = {
  diffusers: { names: { 'augment/mean': 'mean', 'augment/deviation': 'std' } },
  ldm: { names: { 'augment/mean': 'data_mean', 'augment/deviation': 'data_std' } },
}

const tableOf = (weights: Weights) => TABLES[weights.has('data_mean') ? 'ldm' : 'diffusers']

export function augmentConfig({ weights }: CheckpointFacts): AugmentConfig {
  return { width: dimsOf(weights, ['data_mean', 'mean']).at(-1)! }
}

export const augmentShapes = ({ width }: AugmentConfig): Record<string, readonly number[]> => ({
  'augment/mean': [width],
  'augment/deviation': [width],
})

export function augmentWeights(config: AugmentConfig, weights: Weights): Map<string, WeightTensor> {
  // Counters of the noise schedule that some files keep are computed here.
  const ignore = [/^(betas|alphas|sqrt_|log_|posterior_)/]
  return resolveWeights(weights, { ...tableOf(weights), ignore }, 1, augmentShapes(config))
}

/** `embedding` [B, C], `noise` [B, C], `level` int64 [B], 0 to 999 → `class` [B, 2·C]: the noised embedding, sinusoids of the level. */
export function augmentGraph({ width }: AugmentConfig, weights: ReadonlyMap<string, WeightTensor>): Graph {
  const g = new GraphBuilder('picture.augment')
  const embedding = g.input('embedding', 'float32', ['B', width])
  const noise = g.input('noise', 'float32', ['B', width])
  const level = g.input('level', 'int64', ['B'])
  const mean = vector(g, need(weights, 'augment/mean'), 'mean')
  const deviation = vector(g, need(weights, 'augment/deviation'), 'deviation')
  const table = (name: string, columns: number, data: () => Float32Array) => {
    const tensor = lazyTensor('float32', [LEVELS, columns], () => bytesOf(data()))
    return g.op('Gather', [g.initializer(`${name}/table`, tensor), level], { axis: 0 }, name) // [B, columns]
  }
  const kept = () => cosineSchedule(LEVELS)
  const signal = table('signal', 1, () => Float32Array.from(kept(), Math.sqrt))
  const share = table('share', 1, () => Float32Array.from(kept(), (value) => Math.sqrt(1 - value)))
  const normed = g.op('Div', [g.op('Sub', [embedding, mean], {}, 'centred'), deviation], {}, 'normed')
  const noised = g.op(
    'Add',
    [g.op('Mul', [normed, signal], {}, 'faded'), g.op('Mul', [noise, share], {}, 'noisePart')],
    {},
    'noised',
  )
  const restored = g.op('Add', [g.op('Mul', [noised, deviation], {}, 'scaled'), mean], {}, 'restored')
  const waves = table('waves', width, () => sinusoids(LEVELS, width))
  g.output('class', g.op('Concat', [restored, waves], { axis: 1 }, 'joined'))
  return g.build()
}

/** What is left of the signal after each step (arXiv:2102.09672), the loss of one step at most 0.999. */
function cosineSchedule(steps: number): Float64Array {
  const bar = (t: number) => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2
  let product = 1
  return Float64Array.from({ length: steps }, (_, i) => {
    product *= 1 - Math.min(1 - bar((i + 1) / steps) / bar(i / steps), 0.999)
    return product
  })
}

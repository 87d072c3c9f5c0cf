/**
 * The autoencoder of Stable Diffusion: pictures to latents of an eighth of the size, and back.
 *
 * @paper arXiv:2112.10752 · @reference CompVis/stable-diffusion@21f890f:ldm/modules/diffusionmodules/model.py
 */

import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { clamp } from '../clamp.js'
import type { QuantisationPlan } from '../linear.js'
import { dense } from '../transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import {
  convolution,
  fromTokens,
  groupNorm,
  normedConvolution,
  type PictureContext,
  residualBlock,
  SAME_3X3,
  sizeOf,
  toTokens,
  upsample,
} from './layers.js'
import { namesIn, shapesOf } from './tensors.js'
import { VAE_IGNORED, type VaeConfig, vaeLayout, vaeTensors } from './vae-tensors.js'

const NORM_EPSILON = 1e-6

export const vaeShapes = (config: VaeConfig): Record<string, readonly number[]> => shapesOf(vaeTensors(config))

export function vaeWeights(config: VaeConfig, weights: Weights): Map<string, WeightTensor> {
  const rows = vaeTensors(config)
  return resolveWeights(weights, { ...namesIn(rows, vaeLayout(weights)), ignore: VAE_IGNORED }, 1, shapesOf(rows))
}

const contextOf = (
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
  { groups }: VaeConfig,
): PictureContext => ({ weights, plan, normEpsilon: NORM_EPSILON, groups })

/**
 * `picture` float32 [B, 3, Y, X] in [-1, 1] → `moments` [B, 2·Z, y, x]: mean and logarithm of the variance of the latents,
 * before scaling and clamping.
 */
export function vaeEncoderGraph(
  config: VaeConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('picture.encode')
  const ctx = contextOf(weights, plan, config)
  const enc = g.scope('vae/enc')
  const picture = g.input('picture', 'float32', ['B', config.channels, 'Y', 'X'])
  let x = convolution(ctx, enc, picture, 'vae/enc/in', 'in', SAME_3X3)
  for (let i = 0; i < config.levels.length; i++) {
    const path = `vae/enc/down.${i}`
    for (let j = 0; j < config.blocks; j++)
      x = residualBlock(ctx, g.scope(`${path}/${j}`), x, `${path}/${j}`, NORM_EPSILON)
    // Padded at the far sides only.
    const shrink = { strides: [2, 2], pads: [0, 0, 1, 1] }
    if (i + 1 < config.levels.length) x = convolution(ctx, g.scope(path), x, `${path}/resize`, 'resize', shrink)
  }
  x = normedConvolution(ctx, enc, middle(ctx, g, x, 'vae/enc/mid'), 'vae/enc/out', 'out', NORM_EPSILON)
  g.output('moments', convolution(ctx, enc, x, 'vae/enc/quant', 'quant', {}))
  return g.build()
}

/**
 * `latents` float32 [B, Z, y, x] of the U-Net's scale → `decoded` [B, 3, Y, X], about [-1, 1], and `picture`, the same in
 * [0, 1] and clamped.
 */
export function vaeDecoderGraph(
  config: VaeConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('picture.decode')
  const ctx = contextOf(weights, plan, config)
  const dec = g.scope('vae/dec')
  const latents = g.input('latents', 'float32', ['B', config.latentChannels, 'Y', 'X'])
  const unscaled = dec.op('Div', [latents, g.float32(config.scale)], {}, 'unscaled')
  let x = convolution(ctx, dec, unscaled, 'vae/dec/quant', 'quant', {})
  x = middle(ctx, g, convolution(ctx, dec, x, 'vae/dec/in', 'in', SAME_3X3), 'vae/dec/mid')
  for (let i = 0; i < config.levels.length; i++) {
    const path = `vae/dec/up.${i}`
    const scope = g.scope(path)
    for (let j = 0; j <= config.blocks; j++)
      x = residualBlock(ctx, g.scope(`${path}/${j}`), x, `${path}/${j}`, NORM_EPSILON)
    if (i + 1 === config.levels.length) continue
    const twice = (axis: 2 | 3, name: string) =>
      scope.op('Mul', [sizeOf(scope, x, axis, name), g.int64(2)], {}, `${name}/twice`)
    x = convolution(
      ctx,
      scope,
      upsample(scope, x, twice(2, 'height'), twice(3, 'width')),
      `${path}/resize`,
      'resize',
      SAME_3X3,
    )
  }
  const decoded = normedConvolution(ctx, dec, x, 'vae/dec/out', 'out', NORM_EPSILON)
  g.output('decoded', decoded)
  const half = g.op('Mul', [decoded, g.float32(0.5)], {}, 'half')
  const shifted = g.op('Add', [half, g.float32(0.5)], {}, 'shifted')
  g.output('picture', clamp(g, shifted, 0, 1, 'clamped'))
  return g.build()
}

/** Residual block, attention of one head over all pixels, residual block. */
function middle(ctx: PictureContext, g: GraphBuilder, x: Value, path: string): Value {
  const before = residualBlock(ctx, g.scope(`${path}/0`), x, `${path}/0`, NORM_EPSILON)
  const attended = attend(ctx, g.scope(`${path}/attn`), before, `${path}/attn`)
  return residualBlock(ctx, g.scope(`${path}/1`), attended, `${path}/1`, NORM_EPSILON)
}

function attend(ctx: PictureContext, scope: Scope, x: Value, path: string): Value {
  const tokens = toTokens(scope, groupNorm(ctx, scope, x, `${path}/norm`, NORM_EPSILON))
  const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, scope, tokens, `${path}/${part}`, part))
  const mixed = scope.op('MultiHeadAttention', [q, k, v], { num_heads: 1 }, 'mixed')
  const y = fromTokens(scope, dense(ctx, scope, mixed, `${path}/o`, 'o'), x)
  return scope.op('Add', [x, y], {}, 'sum')
}

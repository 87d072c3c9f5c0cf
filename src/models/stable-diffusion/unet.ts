/**
 * The U-Net of Stable Diffusion: residual blocks that know the time, transformers that attend to the text, on four sizes.
 *
 * @paper arXiv:2112.10752 · @reference CompVis/stable-diffusion@21f890f:ldm/modules/diffusionmodules/openaimodel.py
 */

import { bytesOf } from '../../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../../graph/index.js'
import type { QuantisationPlan } from '../linear.js'
import { dense, layerNorm } from '../transformer.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import {
  convolution,
  fromTokens,
  groupNorm,
  normedConvolution,
  type PictureContext,
  residualBlock,
  SAME_3X3,
  silu,
  sizeOf,
  toTokens,
  upsample,
} from './layers.js'
import { sinusoids } from './sinusoids.js'
import { layoutOf, namesIn, shapesOf } from './tensors.js'
import { UNET_TELLTALES, type UnetConfig } from './unet-config.js'
import { type UnetBlock, unetPlan, unetTensors } from './unet-tensors.js'

/** Steps that the noise was trained over: one row of the time table each. */
export const TRAIN_STEPS = 1000
/** Of the transformers' norms, whatever the blocks use. */
const ATTENTION_NORM_EPSILON = 1e-6
const LAYER_NORM_EPSILON = 1e-5

export const unetShapes = (config: UnetConfig): Record<string, readonly number[]> => shapesOf(unetTensors(config))

export function unetWeights(config: UnetConfig, weights: Weights): Map<string, WeightTensor> {
  const rows = unetTensors(config)
  return resolveWeights(weights, namesIn(rows, layoutOf('U-Net', weights, UNET_TELLTALES)), 1, shapesOf(rows))
}

/**
 *   inputs   latents float32 [B, Z, Y, X] · step int64 [B], 0 to 999 · text float32 [B, T, C] · class float32 [B, W] (unCLIP)
 *   output   prediction float32 [B, Z, Y, X]: the noise, or the velocity, as the model was trained
 */
export function unetGraph(
  config: UnetConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('picture.unet')
  const { groups, normEpsilon } = config
  const ctx: PictureContext = { weights, plan, normEpsilon: LAYER_NORM_EPSILON, groups }
  const latents = g.input('latents', 'float32', ['B', config.inChannels, 'Y', 'X'])
  const step = g.input('step', 'int64', ['B'])
  const text = g.input('text', 'float32', ['B', 'T', config.contextWidth])
  const unet = g.scope('unet')
  const time = timeEmbedding(ctx, config, g, step)
  const { down, middle, up } = unetPlan(config)

  const run = (x: Value, block: UnetBlock): Value => {
    const scope = g.scope(block.path)
    const embed = (inner: Scope, h: Value) => {
      const shift = dense(ctx, inner, time, `${block.path}/time`, 'time')
      return inner.op('Add', [h, inner.op('Unsqueeze', [shift, g.int64([2, 3])], {}, 'shift')], {}, 'timed')
    }
    const y = residualBlock(ctx, scope, x, block.path, normEpsilon, embed)
    return block.depth ? transformer(ctx, scope.scope('attn'), y, text, block) : y
  }

  let x = convolution(ctx, unet, latents, 'unet/in', 'in', SAME_3X3)
  const left = [x]
  for (const stage of down) {
    for (const block of stage.blocks) {
      x = run(x, block)
      left.push(x)
    }
    if (!stage.resized) continue
    x = convolution(ctx, g.scope(stage.path), x, `${stage.path}/resize`, 'resize', { ...SAME_3X3, strides: [2, 2] })
    left.push(x)
  }
  for (const block of middle.blocks) x = run(x, block)
  for (const stage of up) {
    const scope = g.scope(stage.path)
    for (const [j, block] of stage.blocks.entries())
      x = run(scope.op('Concat', [x, left.pop()!], { axis: 1 }, `joined.${j}`), block)
    if (!stage.resized) continue
    // To the size of what waits there: half of an odd size was rounded up.
    const goal = left.at(-1)!
    const large = upsample(scope, x, sizeOf(scope, goal, 2, 'height'), sizeOf(scope, goal, 3, 'width'))
    x = convolution(ctx, scope, large, `${stage.path}/resize`, 'resize', SAME_3X3)
  }
  g.output('prediction', normedConvolution(ctx, unet, x, 'unet/out', 'out', normEpsilon))
  return g.build()
}

/** Sinusoids of the step (and the class vector) through two-layer perceptrons, and the SiLU that every block begins with. */
function timeEmbedding(ctx: PictureContext, config: UnetConfig, g: GraphBuilder, step: Value): Value {
  const perceptron = (name: string, x: Value) => {
    const scope = g.scope(`unet/${name}`)
    const wide = silu(scope, dense(ctx, scope, x, `unet/${name}/fc1`, 'fc1'), 'silu')
    return dense(ctx, scope, wide, `unet/${name}/fc2`, 'fc2')
  }
  const width = config.levels[0]!.channels
  const table = lazyTensor('float32', [TRAIN_STEPS, width], () => bytesOf(sinusoids(TRAIN_STEPS, width)))
  const waves = g.op('Gather', [g.initializer('unet/time/table', table), step], { axis: 0 }, 'unet/time/waves')
  let time = perceptron('time', waves) // [B, timeWidth]
  if (config.classWidth) {
    const given = g.input('class', 'float32', ['B', config.classWidth])
    time = g.op('Add', [time, perceptron('class', given)], {}, 'unet/timeAndClass')
  }
  return silu(g, time, 'unet/timeActive')
}

/** Norm, projection in, blocks of self-attention, attention to the text and a gated perceptron, projection out, residual. */
function transformer(ctx: PictureContext, scope: Scope, x: Value, text: Value, block: UnetBlock): Value {
  const path = `${block.path}/attn`
  const picture = groupNorm(ctx, scope, x, `${path}/norm`, ATTENTION_NORM_EPSILON)
  let h = dense(ctx, scope, toTokens(scope, picture), `${path}/in`, 'in') // [B, Y·X, C]
  for (let l = 0; l < block.depth; l++) {
    const layer = scope.scope(`${l}`)
    h = attend(ctx, layer.scope('self'), h, undefined, `${path}/${l}/self`, block.heads)
    h = attend(ctx, layer.scope('cross'), h, text, `${path}/${l}/cross`, block.heads)
    h = gatedPerceptron(ctx, layer.scope('mlp'), h, `${path}/${l}/mlp`)
  }
  const y = fromTokens(scope, dense(ctx, scope, h, `${path}/out`, 'out'), x)
  return scope.op('Add', [x, y], {}, 'sum')
}

function attend(
  ctx: PictureContext,
  scope: Scope,
  x: Value,
  others: Value | undefined,
  path: string,
  heads: number,
): Value {
  const own = layerNorm(ctx, scope, x, `${path}/norm`, 'norm')
  const q = dense(ctx, scope, own, `${path}/q`, 'q')
  const [k, v] = ['k', 'v'].map((part) => dense(ctx, scope, others ?? own, `${path}/${part}`, part))
  const mixed = scope.op('MultiHeadAttention', [q, k, v], { num_heads: heads }, 'mixed')
  return scope.op('Add', [x, dense(ctx, scope, mixed, `${path}/o`, 'o')], {}, 'sum')
}

/** GEGLU (arXiv:2002.05202): value · gelu(gate). */
function gatedPerceptron(ctx: PictureContext, scope: Scope, x: Value, path: string): Value {
  const wide = dense(ctx, scope, layerNorm(ctx, scope, x, `${path}/norm`, 'norm'), `${path}/fc1`, 'fc1')
  const [value, gate] = scope.ops('Split', [wide], { axis: -1, num_outputs: 2 }, ['value', 'gate'])
  const gated = scope.op('Mul', [value!, scope.op('Gelu', [gate!], {}, 'gelu')], {}, 'gated')
  return scope.op('Add', [x, dense(ctx, scope, gated, `${path}/fc2`, 'fc2')], {}, 'sum')
}

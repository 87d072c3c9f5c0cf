/**
 * The text encoder: post-norm layers whose attention knows how far apart two symbols are, up to a window to either side.
 *
 * @paper arXiv:2106.06103 §2.1; relative positions arXiv:1803.02155
 * @reference jaywalnut310/vits@2e561ba:attentions.py
 */

import type { GraphBuilder, Scope, Value } from '../../graph/index.js'
import { vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need } from '../transformer.js'
import type { VitsConfig } from './config.js'
import { convolve, positive, swapped } from './layers.js'
import { gathered, type Reach, spread } from './relative-positions.js'

/** ids int64 [1, T] → hidden [1, T, C] */
export function textEncoder(ctx: EmitContext, g: GraphBuilder, config: VitsConfig, ids: Value): Value {
  const text = g.scope('text')
  const embed = vector(text, need(ctx.weights, 'text/embed'), 'embed/weight')
  const tokens = text.op('Gather', [embed, ids], { axis: 0 }, 'tokens')
  let x = text.op('Mul', [tokens, g.float32(Math.sqrt(config.width))], {}, 'in')
  const { heads, window } = config
  const length = window > 0 ? text.op('Shape', [ids], { start: 1, end: 2 }, 'length') : undefined
  const reach = length && { g, length, heads, window }
  for (let l = 0; l < config.layers; l++) {
    const layer = text.scope(`layers.${l}`)
    const path = `text/layers.${l}`
    const mixed = attention(ctx, layer.scope('attn'), config, x, reach, `${path}/attn`)
    const sum = layer.op('Add', [x, mixed], {}, 'afterAttn')
    x = layerNorm(ctx, layer, sum, `${path}/attn/norm`, 'attnNorm')
    const wide = convolve(ctx, layer, swapped(layer, x, 'channelsFirst'), `${path}/mlp/conv1`, 'conv1')
    const active = positive(layer, wide, 'relu')
    const y = swapped(layer, convolve(ctx, layer, active, `${path}/mlp/conv2`, 'conv2'), 'channelsLast')
    x = layerNorm(ctx, layer, layer.op('Add', [x, y], {}, 'afterMlp'), `${path}/mlp/norm`, 'mlpNorm')
  }
  return x
}

/** x [1, T, C] → [1, T, C]. Without a reach, only what stands there counts, not where. */
function attention(
  ctx: EmitContext,
  attn: Scope,
  { heads, width }: VitsConfig,
  x: Value,
  reach: Reach | undefined,
  path: string,
): Value {
  const headWidth = width / heads
  const [q, k, v] = ['q', 'k', 'v'].map((part) => {
    const y = dense(ctx, attn, x, `${path}/${part}`, part)
    const split = attn.op('Reshape', [y, attn.int64([0, 0, heads, headWidth])], {}, `${part}Heads`)
    // Keys stand upright: [1, H, D, T]; queries and values [1, H, T, D].
    return attn.op('Transpose', [split], { perm: part === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3] }, `${part}ByHead`)
  }) as [Value, Value, Value]
  const scaled = attn.op('Mul', [q, attn.float32(1 / Math.sqrt(headWidth))], {}, 'qScaled')
  let scores = attn.op('MatMul', [scaled, k], {}, 'scores') // [1, H, T, T]
  if (reach) {
    const table = attn.op(
      'Transpose',
      [vector(attn, need(ctx.weights, `${path}/positions/k`), 'positions/k')],
      { perm: [0, 2, 1] },
      'positionKeys',
    ) // [1 or H, D, W]
    const near = attn.op('MatMul', [scaled, table], {}, 'near') // [1, H, T, W]
    scores = attn.op('Add', [scores, spread(reach, attn, near)], {}, 'scoresWithPositions')
  }
  const shares = attn.op('Softmax', [scores], {}, 'shares')
  let mixed = attn.op('MatMul', [shares, v], {}, 'mixed') // [1, H, T, D]
  if (reach) {
    const near = gathered(reach, attn, shares) // [1, H, T, W]
    const values = vector(attn, need(ctx.weights, `${path}/positions/v`), 'positions/v')
    mixed = attn.op('Add', [mixed, attn.op('MatMul', [near, values], {}, 'positionValues')], {}, 'mixedWithPositions')
  }
  const joined = attn.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }, 'byToken')
  const flat = attn.op('Reshape', [joined, attn.int64([0, 0, width])], {}, 'joined')
  return dense(ctx, attn, flat, `${path}/o`, 'o')
}

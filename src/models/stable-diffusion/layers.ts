/**
 * Layers that the U-Net and the autoencoder of Stable Diffusion share. Pictures are [B, C, Y, X], tokens [B, Y·X, C].
 *
 * @paper arXiv:2112.10752 · @reference CompVis/stable-diffusion@21f890f:ldm/modules/diffusionmodules/model.py
 */

import { DTYPES } from '../../core/dtypes.js'
import type { Scope, Value } from '../../graph/index.js'
import { linearKindOf, table, vector } from '../linear.js'
import { type EmitContext, need } from '../transformer.js'

export interface PictureContext extends EmitContext {
  /** Groups of every group norm. */
  readonly groups: number
}

/**
 * GroupNorm (arXiv:1803.08494) as one LayerNormalization over [B, G, C/G, Y·X]: faster on the CPU than reductions, and exact
 * to 1e-6 where the mean of a million elements in float32 loses four digits.
 */
export function groupNorm(ctx: PictureContext, scope: Scope, x: Value, path: string, epsilon: number): Value {
  const weight = need(ctx.weights, path)
  const channels = weight.dims[0]!
  const dims = [ctx.groups, channels / ctx.groups, 1]
  const scale = vector(scope, { ...weight, dims }, 'norm/scale')
  const bias = vector(scope, { ...need(ctx.weights, `${path}/bias`), dims }, 'norm/bias')
  const grouped = scope.op('Reshape', [x, scope.int64([0, ctx.groups, channels / ctx.groups, -1])], {}, 'norm/groups')
  const normed = scope.op('LayerNormalization', [grouped, scale, bias], { axis: 2, epsilon }, 'norm/normed')
  return scope.op('Reshape', [normed, scope.op('Shape', [x], {}, 'norm/shape')], {}, 'norm')
}

/** x · σ(x) */
export const silu = (scope: Scope, x: Value, name: string): Value => scope.op('QuickGelu', [x], { alpha: 1 }, name)

/** Filters stay float32, or are stored as float16 where the plan asks for anything smaller, and widened once at load. */
export function convolution(
  ctx: EmitContext,
  scope: Scope,
  x: Value,
  path: string,
  name: string,
  attributes: { readonly strides?: readonly number[]; readonly pads?: readonly number[] },
): Value {
  const filters = need(ctx.weights, path)
  const half = linearKindOf(ctx.plan, path) !== 'fp32'
  const stored = table(scope, filters, half ? 'float16' : 'float32', `${name}/weight`)
  const weight = half ? scope.op('Cast', [stored], { to: DTYPES.float32.onnx }, `${name}/widened`) : stored
  const bias = vector(scope, need(ctx.weights, `${path}/bias`), `${name}/bias`)
  return scope.op('Conv', [x, weight, bias], attributes, name)
}

export const SAME_3X3 = { pads: [1, 1, 1, 1] } as const

/** Group norm, SiLU, 3×3 convolution. */
export function normedConvolution(
  ctx: PictureContext,
  scope: Scope,
  x: Value,
  path: string,
  name: string,
  epsilon: number,
): Value {
  const inner = scope.scope(name)
  const active = silu(inner, groupNorm(ctx, inner, x, `${path}/norm`, epsilon), 'silu')
  return convolution(ctx, inner, active, `${path}/conv`, 'conv', SAME_3X3)
}

/**
 * x + conv(silu(norm(conv(silu(norm x)) + t))), x through a 1×1 convolution where the channels change.
 * @param embed adds the time embedding between the convolutions; the autoencoder has none
 */
export function residualBlock(
  ctx: PictureContext,
  scope: Scope,
  x: Value,
  path: string,
  epsilon: number,
  embed?: (scope: Scope, h: Value) => Value,
): Value {
  const first = normedConvolution(ctx, scope, x, `${path}/in`, 'in', epsilon)
  const h = normedConvolution(ctx, scope, embed ? embed(scope, first) : first, `${path}/out`, 'out', epsilon)
  const skip = ctx.weights.has(`${path}/skip`) ? convolution(ctx, scope, x, `${path}/skip`, 'skip', {}) : x
  return scope.op('Add', [skip, h], {}, 'sum')
}

/** [B, C, Y, X] → [B, Y·X, C] */
export function toTokens(scope: Scope, x: Value): Value {
  const flat = scope.op('Reshape', [x, scope.int64([0, 0, -1])], {}, 'flat')
  return scope.op('Transpose', [flat], { perm: [0, 2, 1] }, 'tokens')
}

/** [B, Y·X, C] → the picture that it was made from, with C channels as `like` has. */
export function fromTokens(scope: Scope, tokens: Value, like: Value): Value {
  const flat = scope.op('Transpose', [tokens], { perm: [0, 2, 1] }, 'channels')
  return scope.op('Reshape', [flat, scope.op('Shape', [like], {}, 'pictureShape')], {}, 'picture')
}

/** Height or width of a picture as an int64 scalar. */
export function sizeOf(scope: Scope, x: Value, axis: 2 | 3, name: string): Value {
  const list = scope.op('Shape', [x], { start: axis, end: axis + 1 }, `${name}/list`)
  return scope.op('Gather', [list, scope.int64(0)], {}, name)
}

/**
 * Every pixel twice in both directions, cut to `height` and `width`: an odd size was rounded up on the way down.
 * The same as torch's nearest interpolation to that size.
 */
export function upsample(scope: Scope, x: Value, height: Value, width: Value): Value {
  const half = (size: Value, name: string) => {
    const places = scope.op('Range', [scope.int64(0), size, scope.int64(1)], {}, `${name}/places`)
    return scope.op('Div', [places, scope.int64(2)], {}, name)
  }
  const wide = scope.op('Gather', [x, half(width, 'columns')], { axis: 3 }, 'wide')
  return scope.op('Gather', [wide, half(height, 'rows')], { axis: 2 }, 'upsampled')
}

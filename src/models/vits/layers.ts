/** Pieces of VITS: convolutions over time, 1×1 convolutions as products, depthwise separable stacks. */

import { DTYPES } from '../../core/dtypes.js'
import type { Scope, Value } from '../../graph/index.js'
import { clamp } from '../clamp.js'
import { linearKindOf, table, vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'

/** A filter in float32, or — under any plan but fp32 — stored as float16 and widened once, at load. */
export function filter(ctx: EmitContext, scope: Scope, tensor: WeightTensor, path: string, name: string): Value {
  if (linearKindOf(ctx.plan, path) === 'fp32') return vector(scope, tensor, `${name}/weight`)
  const half = table(scope, tensor, 'float16', `${name}/weight`)
  return scope.op('Cast', [half], { to: DTYPES.float32.onnx }, `${name}/widened`)
}

export interface ConvOptions {
  readonly dilation?: number
  readonly group?: number
}

/** A convolution that keeps the length; an even filter pads one more behind. x [1, C, T] → [1, C', T] */
export function convolve(
  ctx: EmitContext,
  scope: Scope,
  x: Value,
  path: string,
  name: string,
  { dilation = 1, group = 1 }: ConvOptions = {},
  weight: WeightTensor = need(ctx.weights, path),
  bias: WeightTensor | undefined = ctx.weights.get(`${path}/bias`),
): Value {
  const reach = (weight.dims[2]! - 1) * dilation
  const before = Math.floor(reach / 2)
  const inputs = [x, filter(ctx, scope, weight, path, name), bias && vector(scope, bias, `${name}/bias`)]
  return scope.op('Conv', inputs, { pads: [before, reach - before], dilations: [dilation], group }, name)
}

/** Channels last for norms and products, channels first for convolutions. */
export const swapped = (scope: Scope, x: Value, name: string): Value =>
  scope.op('Transpose', [x], { perm: [0, 2, 1] }, name)

/** max(x, slope·x) */
export function leaky(scope: Scope, x: Value, slope: number, name: string): Value {
  return scope.op('Max', [x, scope.op('Mul', [x, scope.float32(slope)], {}, `${name}/low`)], {}, name)
}

/** max(x, 0) */
export const positive = (scope: Scope, x: Value, name: string): Value =>
  scope.op('Max', [x, scope.float32(0)], {}, name)

/** tanh x = 2·σ(2x) - 1: one operator less for an accelerator to know, at the same absolute error. */
export function hyperbolicTangent(scope: Scope, x: Value, name: string): Value {
  const two = scope.float32(2)
  const sigmoid = scope.op('Sigmoid', [scope.op('Mul', [x, two], {}, `${name}/twice`)], {}, `${name}/sigmoid`)
  return scope.op('Sub', [scope.op('Mul', [sigmoid, two], {}, `${name}/wide`), scope.float32(1)], {}, name)
}

/** Any difference of two floats that are not both next to nothing, times this, is 1 or more. */
const STEEP = 1e30

/** 1 where a > b, else 0, as float32: a comparison without booleans. */
export function isAbove(scope: Scope, a: Value, b: Value, name: string): Value {
  const steep = scope.op(
    'Mul',
    [scope.op('Sub', [a, b], {}, `${name}/difference`), scope.float32(STEEP)],
    {},
    `${name}/steep`,
  )
  return clamp(scope, steep, 0, 1, name)
}

/**
 * x + gelu(norm(1×1(gelu(norm(depthwise x))))), the dilation growing as kernel^i. x [1, T, C] → [1, T, C]
 * @reference jaywalnut310/vits@2e561ba:modules.py DDSConv
 */
export function separable(
  ctx: EmitContext,
  scope: Scope,
  input: Value,
  path: string,
  { layers, kernel, width }: { layers: number; kernel: number; width: number },
): Value {
  let x = input
  for (let i = 0; i < layers; i++) {
    const layer = scope.scope(`layers.${i}`)
    const at = `${path}/layers.${i}`
    const first = swapped(layer, x, 'channelsFirst')
    const options = { dilation: kernel ** i, group: width }
    const deep = swapped(layer, convolve(ctx, layer, first, `${at}/depthwise`, 'depthwise', options), 'channelsLast')
    const h = layer.op('Gelu', [layerNorm(ctx, layer, deep, `${at}/depthwise/norm`, 'norm1')], {}, 'gelu1')
    const mixed = dense(ctx, layer, h, `${at}/pointwise`, 'pointwise')
    const y = layer.op('Gelu', [layerNorm(ctx, layer, mixed, `${at}/pointwise/norm`, 'norm2')], {}, 'gelu2')
    x = layer.op('Add', [x, y], {}, 'out')
  }
  return x
}

/** A product of the speaker's embedding: [1, G] → [1, 1, C], or [1, C, 1] where channels come first. */
export function speakerTerm(
  ctx: EmitContext,
  scope: Scope,
  speaker: Value,
  path: string,
  place: 'last' | 'first',
): Value {
  const term = dense(ctx, scope, speaker, path, 'speaker')
  return scope.op('Unsqueeze', [term, scope.int64([place === 'last' ? 1 : 2])], {}, 'speakerTerm')
}

/**
 * HiFi-GAN: latent frames → samples. Each stage makes the signal longer, then averages residual blocks of several widths.
 *
 * @paper arXiv:2010.05646 §2.2 · @reference jaywalnut310/vits@2e561ba:models.py Generator, modules.py ResBlock1
 */

import type { GraphBuilder, Scope, Value } from '../../graph/index.js'
import { vector } from '../linear.js'
import { type EmitContext, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import type { HifiGanConfig, VitsConfig } from './config.js'
import { convolve, filter, hyperbolicTangent, leaky, speakerTerm } from './layers.js'

/** The slope before the last convolution is PyTorch's default, not the model's: the reference leaves it out. */
const LAST_SLOPE = 0.01

/** latents [1, C, P] → waveform [1, N] in (-1, 1) */
export function hifiGan(
  ctx: EmitContext,
  g: GraphBuilder,
  { decoder: config }: VitsConfig,
  latents: Value,
  speaker: Value | undefined,
): Value {
  const scope = g.scope('decoder')
  let x = convolve(ctx, scope, latents, 'decoder/in', 'in')
  if (speaker) x = scope.op('Add', [x, speakerTerm(ctx, scope, speaker, 'decoder/speaker', 'first')], {}, 'spoken')
  for (let i = 0; i < config.rates.length; i++) x = stage(ctx, scope.scope(`stages.${i}`), config, x, i)
  const y = convolve(ctx, scope, leaky(scope, x, LAST_SLOPE, 'leaky'), 'decoder/out', 'out') // [1, 1, N]
  return scope.op('Reshape', [hyperbolicTangent(scope, y, 'tanh'), g.int64([1, -1])], {}, 'samples')
}

function stage(ctx: EmitContext, scope: Scope, config: HifiGanConfig, input: Value, i: number): Value {
  const { rates, blockKernels, dilations, slope } = config
  const x = lengthen(ctx, scope, leaky(scope, input, slope, 'leaky'), `decoder/stages.${i}/up`, rates[i]!)
  let sum: Value | undefined
  for (let j = 0; j < blockKernels.length; j++) {
    const block = scope.scope(`blocks.${j}`)
    const y = residualBlock(ctx, block, x, `decoder/stages.${i}/blocks.${j}`, dilations[j]!, slope)
    sum = sum ? block.op('Add', [sum, y], {}, 'sum') : y
  }
  return scope.op('Mul', [sum!, scope.float32(1 / blockKernels.length)], {}, 'mean')
}

function residualBlock(
  ctx: EmitContext,
  block: Scope,
  input: Value,
  path: string,
  dilations: readonly number[],
  slope: number,
): Value {
  let x = input
  for (const [d, dilation] of dilations.entries()) {
    const first = leaky(block, x, slope, `leaky1.${d}`)
    const wide = convolve(ctx, block, first, `${path}/conv1.${d}`, `conv1.${d}`, { dilation })
    const second = leaky(block, wide, slope, `leaky2.${d}`)
    x = block.op('Add', [x, convolve(ctx, block, second, `${path}/conv2.${d}`, `conv2.${d}`)], {}, `out.${d}`)
  }
  return x
}

/**
 * A transposed convolution of stride s with padding (k - s) / 2, as a plain one that gives the s samples between two inputs as
 * channels, which are then laid side by side: the same products, and no operator of its own. x [1, C, P] → [1, C', N]
 */
function lengthen(ctx: EmitContext, scope: Scope, x: Value, path: string, stride: number): Value {
  const weight = need(ctx.weights, path) // [C, C', k]
  const [, channels, kernel] = weight.dims as [number, number, number]
  const taps = Math.ceil(kernel / stride)
  const filters = filter(ctx, scope, phases(weight, stride, taps), path, 'up')
  const y = scope.op('Conv', [x, filters], { pads: [taps - 1, taps - 1] }, 'up') // [1, C'·s, P + taps - 1]
  const split = scope.op('Reshape', [y, scope.int64([0, channels, stride, -1])], {}, 'phases')
  const turned = scope.op('Transpose', [split], { perm: [0, 1, 3, 2] }, 'between')
  const long = scope.op('Reshape', [turned, scope.int64([0, channels, -1])], {}, 'long')
  // Never less behind than in front: where nothing is cut there, there is nothing to cut.
  const padding = Math.floor((kernel - stride) / 2)
  // s·(P + taps - 1) samples were made, s·(P - 1) + k - 2·padding are wanted.
  const behind = stride * taps - kernel + padding
  const cut = behind
    ? scope.op('Slice', [long, scope.int64([padding]), scope.int64([-behind]), scope.int64([2])], {}, 'cut')
    : long
  const bias = vector(scope, need(ctx.weights, `${path}/bias`), 'up/bias')
  const column = scope.op('Unsqueeze', [bias, scope.int64([1])], {}, 'up/biasColumn')
  return scope.op('Add', [cut, column], {}, 'lengthened')
}

/** Filters [C, C', k] of a transposed convolution → [C'·s, C, taps]: sample r behind an input reads taps r, r + s, … backwards. */
function phases(weight: WeightTensor, stride: number, taps: number): WeightTensor {
  const [inputs, channels, kernel] = weight.dims as [number, number, number]
  return {
    name: weight.name,
    dims: [channels * stride, inputs, taps],
    float32: () => {
      const data = weight.float32()
      const out = new Float32Array(channels * stride * inputs * taps)
      for (let c = 0; c < inputs; c++)
        for (let o = 0; o < channels; o++)
          for (let k = 0; k < kernel; k++) {
            const row = o * stride + (k % stride)
            const tap = taps - 1 - Math.floor(k / stride)
            out[(row * inputs + c) * taps + tap] = data[(c * channels + o) * kernel + k]!
          }
      return out
    },
  }
}

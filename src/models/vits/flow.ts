/**
 * The prior's flow, run backwards: coupling layers, each a WaveNet over half of the channels that moves the other half. The flips
 * between them are folded into the weights: where the reference has the channels in reverse, the layer's filters are reversed.
 *
 * @paper arXiv:2106.06103 §2.1.3 · @reference jaywalnut310/vits@2e561ba:modules.py ResidualCouplingLayer, WN
 */

import type { GraphBuilder, Scope, Value } from '../../graph/index.js'
import { type EmitContext, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import type { VitsConfig, WaveNetConfig } from './config.js'
import { convolve, hyperbolicTangent, speakerTerm } from './layers.js'

/** z [1, C, P] → latents [1, C, P] */
export function reverseFlow(
  ctx: EmitContext,
  g: GraphBuilder,
  { coupling, latentWidth }: VitsConfig,
  prior: Value,
  speaker: Value | undefined,
): Value {
  const flow = g.scope('flow')
  let [low, high] = flow.ops('Split', [prior, g.int64([latentWidth / 2, latentWidth / 2])], { axis: 1 }, [
    'low',
    'high',
  ]) as [Value, Value]
  let reversed = false
  for (let f = coupling.flows - 1; f >= 0; f--) {
    reversed = !reversed
    const scope = flow.scope(`couplings.${f}`)
    const path = `flow/couplings.${f}`
    // Reversed, the first half of the channels is the upper half, each half backwards.
    const kept = reversed ? high : low
    const filters = (name: string, turn: (tensor: WeightTensor) => WeightTensor) => {
      const tensor = need(ctx.weights, `${path}/${name}`)
      return reversed ? turn(tensor) : tensor
    }
    const x = convolve(ctx, scope, kept, `${path}/in`, 'in', {}, filters('in', turnInputs))
    const h = waveNet(ctx, scope, coupling, x, path, speaker)
    const mean = convolve(
      ctx,
      scope,
      h,
      `${path}/out`,
      'out',
      {},
      filters('out', turnRows),
      filters('out/bias', turnRows),
    )
    const moved = scope.op('Sub', [reversed ? low : high, mean], {}, 'moved')
    if (reversed) low = moved
    else high = moved
  }
  const joined = flow.op('Concat', [low, high], { axis: 1 }, 'joined')
  if (!reversed) return joined
  // An odd number of flips is left over.
  const ends = [g.int64([-1]), g.int64([-latentWidth - 1]), g.int64([1]), g.int64([-1])]
  return flow.op('Slice', [joined, ...ends], {}, 'turned')
}

/** Gated, dilated convolutions; the skip connections add up to the result. x [1, C, P] → [1, C, P] */
function waveNet(
  ctx: EmitContext,
  scope: Scope,
  { width, layers, dilationRate }: WaveNetConfig,
  input: Value,
  path: string,
  speaker: Value | undefined,
): Value {
  const halves = scope.int64([width, width])
  const terms = speaker && speakerTerms(ctx, scope, path, speaker, layers)
  let x = input
  let sum: Value | undefined
  for (let l = 0; l < layers; l++) {
    const layer = scope.scope(`layers.${l}`)
    const dilation = dilationRate ** l
    let wide = convolve(ctx, layer, x, `${path}/layers.${l}/in`, 'in', { dilation }) // [1, 2C, P]
    if (terms) wide = layer.op('Add', [wide, terms[l]!], {}, 'spoken')
    const [shape, gate] = layer.ops('Split', [wide, halves], { axis: 1 }, ['shape', 'gate'])
    const active = layer.op(
      'Mul',
      [hyperbolicTangent(layer, shape!, 'tanh'), layer.op('Sigmoid', [gate!], {}, 'sigmoid')],
      {},
      'gated',
    )
    let skip = convolve(ctx, layer, active, `${path}/layers.${l}/out`, 'out')
    if (l < layers - 1) {
      const [residual, rest] = layer.ops('Split', [skip, halves], { axis: 1 }, ['residual', 'skip'])
      x = layer.op('Add', [x, residual!], {}, 'next')
      skip = rest!
    }
    sum = sum ? layer.op('Add', [sum, skip], {}, 'sum') : skip
  }
  return sum!
}

/** One term [1, 2C, 1] a layer. */
function speakerTerms(ctx: EmitContext, scope: Scope, path: string, speaker: Value, layers: number): Value[] {
  const all = speakerTerm(ctx, scope, speaker, `${path}/speaker`, 'first')
  const names = Array.from({ length: layers }, (_, l) => `speaker.${l}`)
  return scope.ops('Split', [all], { axis: 1, num_outputs: layers }, names) as Value[]
}

/** Channels in reverse order: of the results. */
function turnRows(tensor: WeightTensor): WeightTensor {
  const [rows] = tensor.dims as [number]
  return {
    name: tensor.name,
    dims: tensor.dims,
    float32: ({ from, to } = { from: 0, to: rows }) => {
      const data = tensor.float32({ from: rows - to, to: rows - from })
      const perRow = data.length / (to - from)
      const out = new Float32Array(data.length)
      for (let row = 0; row < to - from; row++)
        out.set(data.subarray(row * perRow, (row + 1) * perRow), (to - from - 1 - row) * perRow)
      return out
    },
  }
}

/** Of the inputs of a filter [C', C, k]. */
function turnInputs(tensor: WeightTensor): WeightTensor {
  const [, inputs, kernel] = tensor.dims as [number, number, number]
  return {
    name: tensor.name,
    dims: tensor.dims,
    float32: (rows) => {
      const data = tensor.float32(rows)
      const out = new Float32Array(data.length)
      for (let at = 0; at < data.length; at += inputs * kernel)
        for (let c = 0; c < inputs; c++)
          out.set(data.subarray(at + c * kernel, at + (c + 1) * kernel), at + (inputs - 1 - c) * kernel)
      return out
    },
  }
}

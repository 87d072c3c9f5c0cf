/**
 * VITS as two graphs. What comes between them is the caller's: it reads how long the sentence became, refuses one that never ends,
 * and draws the prior's noise, whose size no graph input could have before. Symbols become frames inside the second graph.
 *
 *   ids ─► encode ─► durations, prior ─► (noise for their sum of frames) ─► synthesise ─► waveform
 *
 * One sentence a run: without padding there is no mask, and sentences are spoken one by one anyway.
 *
 * @paper arXiv:2106.06103 · @reference jaywalnut310/vits@2e561ba:models.py SynthesizerTrn.infer
 */

import { DTYPES } from '../../core/dtypes.js'
import { type Graph, GraphBuilder, type Value } from '../../graph/index.js'
import { clamp } from '../clamp.js'
import { type QuantisationPlan, vector } from '../linear.js'
import { dense, type EmitContext, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import type { VitsConfig } from './config.js'
import { logDurations } from './durations.js'
import { reverseFlow } from './flow.js'
import { hifiGan } from './hifi-gan.js'
import { isAbove, swapped } from './layers.js'
import { textEncoder } from './text-encoder.js'

type Given = ReadonlyMap<string, WeightTensor>

const FLOAT = { to: DTYPES.float32.onnx }

const contextOf = (config: VitsConfig, weights: Given, plan: QuantisationPlan): EmitContext => ({
  weights,
  plan,
  normEpsilon: config.normEpsilon,
})

/** Input `speaker` int64 [1] → its embedding [1, G]; nothing where the model has one voice. */
function speakerOf(ctx: EmitContext, g: GraphBuilder, { speakerWidth }: VitsConfig): Value | undefined {
  if (speakerWidth === 0) return undefined
  const table = vector(g, need(ctx.weights, 'speakers'), 'speakers')
  return g.op('Gather', [table, g.input('speaker', 'int64', [1])], { axis: 0 }, 'speakerEmbedding')
}

/**
 *   inputs   ids int64 [1, T] · length_scale float32 [] (1 / speaking rate)
 *            noise float32 [1, 2, T], its deviation in it (stochastic durations only) · speaker int64 [1] (several voices only)
 *   outputs  prior_mean, prior_log_scale float32 [1, T, C] · log_durations float32 [1, T] · durations int64 [1, T], in frames
 */
export function vitsEncodeGraph(config: VitsConfig, weights: Given, plan: QuantisationPlan): Graph {
  const g = new GraphBuilder('voice.encode')
  const ctx = contextOf(config, weights, plan)
  const hidden = textEncoder(ctx, g, config, g.input('ids', 'int64', [1, 'T']))
  const speaker = speakerOf(ctx, g, config)
  const stats = dense(ctx, g, hidden, 'text/project', 'stats')
  const sizes = g.int64([config.latentWidth, config.latentWidth])
  const [mean, logScale] = g.ops('Split', [stats, sizes], { axis: 2 }, ['prior_mean', 'prior_log_scale'])
  const log = logDurations(ctx, g, config, hidden, speaker)
  const lengthScale = g.input('length_scale', 'float32', [])
  const frames = g.op('Mul', [g.op('Exp', [log], {}, 'frames/exp'), lengthScale], {}, 'frames')
  // Rounded up: the whole part, and one more where there is a rest.
  const whole = g.op('Cast', [g.op('Cast', [frames], { to: DTYPES.int64.onnx }, 'frames/int64')], FLOAT, 'frames/whole')
  const up = g.op('Add', [whole, isAbove(g, frames, whole, 'frames/rest')], {}, 'frames/up')
  g.output('prior_mean', mean!)
  g.output('prior_log_scale', logScale!)
  g.output('log_durations', log)
  g.output('durations', g.op('Cast', [up], { to: DTYPES.int64.onnx }, 'durations/int64'))
  return g.build()
}

/**
 *   inputs   prior_mean, prior_log_scale [1, T, C] · durations int64 [1, T] · speaker int64 [1] (several voices only)
 *            noise float32 [1, C, P], its deviation in it: P is the sum of the durations
 *   outputs  latents float32 [1, C, P] · waveform float32 [1, N]
 */
export function vitsSynthesiseGraph(config: VitsConfig, weights: Given, plan: QuantisationPlan): Graph {
  const g = new GraphBuilder('voice.synthesise')
  const ctx = contextOf(config, weights, plan)
  const width = config.latentWidth
  const mean = g.input('prior_mean', 'float32', [1, 'T', width])
  const logScale = g.input('prior_log_scale', 'float32', [1, 'T', width])
  const durations = g.input('durations', 'int64', [1, 'T'])
  const noise = g.input('noise', 'float32', [1, width, 'P'])
  const speaker = speakerOf(ctx, g, config)

  const shown = alignment(g, durations, noise)
  const byFrame = (value: Value, name: string) =>
    swapped(g, g.op('MatMul', [shown, value], {}, `align/${name}`), `align/${name}/channelsFirst`)
  const spreadMean = byFrame(mean, 'mean')
  const scale = g.op('Exp', [byFrame(logScale, 'logScale')], {}, 'align/scale')
  const prior = g.op('Add', [spreadMean, g.op('Mul', [noise, scale], {}, 'align/noise')], {}, 'prior')
  const latents = reverseFlow(ctx, g, config, prior, speaker)
  g.output('latents', latents)
  g.output('waveform', hifiGan(ctx, g, config, latents, speaker))
  return g.build()
}

/**
 * Which symbol each frame belongs to, as 0s and 1s: from its start on and before its end. [1, P, T]
 * All times are whole, so that a difference cut to [0, 1] is a comparison.
 */
function alignment(g: GraphBuilder, durations: Value, noise: Value): Value {
  const align = g.scope('align')
  const count = (of: Value, axis: number, name: string) => {
    const shape = align.op('Shape', [of], {}, `${name}/shape`)
    const length = align.op('Gather', [shape, g.int64(axis)], { axis: 0 }, `${name}/length`)
    return align.op('Cast', [align.op('Range', [g.int64(0), length, g.int64(1)], {}, `${name}/range`)], FLOAT, name)
  }
  const column = (value: Value, name: string) => align.op('Unsqueeze', [value, g.int64([1])], {}, name)
  const isBefore = (a: Value, b: Value, name: string) => {
    const difference = align.op('Sub', [b, a], {}, `${name}/difference`)
    return clamp(align, difference, 0, 1, name)
  }
  const symbols = count(durations, 1, 'symbols') // [T]
  const earlier = isBefore(column(symbols, 'symbolColumn'), symbols, 'earlier') // row before column: [T, T]
  const lengths = align.op('Cast', [durations], FLOAT, 'lengths')
  const starts = align.op('MatMul', [lengths, earlier], {}, 'starts') // [1, T]
  const ends = align.op('Add', [starts, lengths], {}, 'ends')
  const times = column(count(noise, 2, 'times'), 'timeColumn') // [P, 1]
  const waiting = isBefore(times, starts, 'beforeStart')
  const shown = align.op('Sub', [isBefore(times, ends, 'beforeEnd'), waiting], {}, 'shown') // [P, T]
  return align.op('Unsqueeze', [shown, g.int64([0])], {}, 'path')
}

/**
 * The middle of Whisper's encoder as an encoder of sounds: one set of weights with the module that writes down speech, another view
 * of it. The last layers forget all but the words (feelings: 91 % from layer 3, 77 % from the last); the middle ones keep it.
 *
 * Two graphs: log-mel (log-mel.ts), encode. A clip is as long as it is: no silence is added, the table of places is cut instead.
 *
 * @paper arXiv:2212.04356 · arXiv:2307.03183 (Whisper-AT: sounds from the middle layers of Whisper)
 */

import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import type { QuantisationPlan } from './linear.js'
import type { WeightTensor } from './weights.js'
import { type WhisperConfig, whisperContext, whisperEncoderLayer, whisperStem } from './whisper.js'

/** The layers whose output is pooled, counted from 1: 3 and 4 of 6. */
export const pooledLayers = ({ encoderLayers }: Pick<WhisperConfig, 'encoderLayers'>): readonly [number, number] => [
  Math.ceil(encoderLayers / 2),
  Math.ceil((2 * encoderLayers) / 3),
]

/** What the view reads of the whole model's weights. */
export function whisperFeatureWeights(
  config: WhisperConfig,
  weights: ReadonlyMap<string, WeightTensor>,
): Map<string, WeightTensor> {
  const [, last] = pooledLayers(config)
  const isRead = (name: string) => {
    const layer = /^enc\/layers\.(\d+)\//.exec(name)
    return layer ? Number(layer[1]) < last : /^enc\/(conv|positions)/.test(name)
  }
  return new Map([...weights].filter(([name]) => isRead(name)))
}

/**
 * `mel` float32 [1, M, 2P] → `pooled/l<n>` and `pooled/l<n>.sd` float32 [1, C] of two layers: mean and standard deviation over time.
 * P up to the audio context.
 */
export function whisperFeaturesGraph(
  config: WhisperConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('sounds.encode')
  const ctx = whisperContext(weights, plan)
  const enc = g.scope('enc')
  const pooled = pooledLayers(config)
  let x = whisperStem(ctx, enc, g.input('mel', 'float32', [1, config.melBands, '2*P']))
  for (let l = 0; l < pooled[1]; l++) {
    x = whisperEncoderLayer(config, ctx, enc, x, l) // [1, P, C]
    if (pooled.includes(l + 1)) poolOverTime(g, x, `l${l + 1}`)
  }
  return g.build()
}

/** x [1, P, C] → mean and deviation, [1, C] each */
function poolOverTime(g: GraphBuilder, x: Value, name: string): void {
  const scope: Scope = g.scope('pooled')
  const over = scope.int64([1])
  const mean = scope.op('ReduceMean', [x, over], { keepdims: 1 }, `${name}.mean`) // [1, 1, C]
  const apart = scope.op('Sub', [x, mean], {}, `${name}.apart`)
  const squares = scope.op('Mul', [apart, apart], {}, `${name}.squares`)
  const variance = scope.op('ReduceMean', [squares, over], { keepdims: 0 }, `${name}.variance`)
  g.output(`pooled/${name}`, scope.op('Squeeze', [mean, over], {}, name))
  g.output(`pooled/${name}.sd`, scope.op('Sqrt', [variance], {}, `${name}.sd`))
}

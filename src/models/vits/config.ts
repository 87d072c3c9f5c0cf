/** Hyper-parameters of VITS: sizes from the tensors, what no tensor tells from config.json (either layout's) or the paper's code. */

import { M4Error } from '../../core/errors.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, numberFact } from '../facts.js'
import type { Weights } from '../weights.js'
import { type VitsLayout, vitsLayout } from './layout.js'

export interface VitsConfig {
  readonly vocabulary: number
  readonly width: number
  readonly layers: number
  readonly heads: number
  /** Relative positions reach this far to either side; 0: none are learnt. */
  readonly window: number
  /** Whether all heads share one table of relative positions, as every published checkpoint does. */
  readonly sharedPositions: boolean
  readonly feedForward: number
  readonly feedForwardKernel: number
  /** Channels of the latents that the decoder reads. */
  readonly latentWidth: number
  readonly durations: StochasticDurations | PlainDurations
  readonly coupling: WaveNetConfig
  readonly decoder: HifiGanConfig
  /** 1: no speaker is asked for. */
  readonly speakers: number
  readonly speakerWidth: number
  readonly normEpsilon: number
  readonly sampleRateHz: number
  /** Defaults of the request, as the checkpoint's publisher set them. */
  readonly noiseScale: number
  readonly durationNoiseScale: number
  readonly speakingRate: number
}

export interface StochasticDurations {
  readonly kind: 'stochastic'
  readonly width: number
  readonly kernel: number
  readonly separableLayers: number
  /** Splines of the checkpoint; the first is not used to speak. */
  readonly flows: number
  readonly bins: number
  readonly tailBound: number
}

export interface PlainDurations {
  readonly kind: 'plain'
  readonly width: number
  readonly kernel: number
}

/** Coupling layers of the prior flow, each a WaveNet. */
export interface WaveNetConfig {
  readonly flows: number
  readonly width: number
  readonly layers: number
  readonly kernel: number
  readonly dilationRate: number
}

export interface HifiGanConfig {
  readonly width: number
  readonly rates: readonly number[]
  readonly kernels: readonly number[]
  readonly blockKernels: readonly number[]
  /** Per block kernel. */
  readonly dilations: readonly (readonly number[])[]
  readonly edgeKernels: readonly [pre: number, post: number]
  readonly slope: number
  readonly outputBias: boolean
}

/** Samples of one frame. */
export const hopSamples = ({ decoder }: Pick<VitsConfig, 'decoder'>): number => decoder.rates.reduce((a, b) => a * b, 1)

/** @throws M4Error `FORMAT_INVALID` when config.json lacks what no tensor tells, `TENSOR_MISSING`, `FORMAT_UNSUPPORTED` */
export function vitsConfig({ metadata, weights: stored }: CheckpointFacts): VitsConfig {
  const { layout, weights } = vitsLayout(stored)
  const dims = (name: string) => dimsOf(weights, [name])
  const [vocabulary, width] = dims(layout.embed) as [number, number]
  const positions = weights.get(layout.positions)?.dims
  const headWidth = positions?.at(-1)
  const [feedForward, , feedForwardKernel] = dims(layout.feedForward) as [number, number, number]
  const speakers = weights.get(layout.speakers)?.dims ?? [1, 0]
  // Hugging Face's own, VITS' own below `model`, `train` and `data`, and the short names of the reference's constructors.
  const fact = (names: readonly string[], fallback?: number) =>
    numberFact(
      metadata,
      names.flatMap((name) => [`config/${name}`, `config/model/${name}`]),
      fallback,
    )
  const heads = headWidth ? width / headWidth : fact(['num_attention_heads', 'n_heads', 'heads'])
  const activation = (metadata.config as Record<string, unknown> | undefined)?.hidden_act ?? 'relu'
  if (!Number.isInteger(heads) || activation !== 'relu')
    throw new M4Error('FORMAT_UNSUPPORTED', `A text encoder with ${heads} heads and ${activation} is not known.`, {
      hint: 'Published VITS checkpoints have whole heads and relu.',
    })
  return {
    vocabulary,
    width,
    layers: countLayers(weights, [layout.layer]),
    heads,
    window: positions ? (positions.at(-2)! - 1) / 2 : 0,
    sharedPositions: positions?.[0] === 1,
    feedForward,
    feedForwardKernel,
    latentWidth: dims(layout.project)[0]! / 2,
    durations: durationsOf(weights, layout, fact(['duration_predictor_tail_bound', 'tail_bound'], 5)),
    coupling: couplingOf(weights, layout, fact(['wavenet_dilation_rate'], 1)),
    decoder: decoderOf(weights, layout, metadata, fact(['leaky_relu_slope'], 0.1)),
    speakers: speakers[0]!,
    speakerWidth: speakers[1]!,
    normEpsilon: fact(['layer_norm_eps'], 1e-5),
    sampleRateHz: numberFact(metadata, ['config/sampling_rate', 'config/data/sampling_rate'], 16_000),
    noiseScale: fact(['noise_scale'], 0.667),
    durationNoiseScale: fact(['noise_scale_duration', 'noise_scale_w'], 0.8),
    speakingRate: numberFact(metadata, ['config/speaking_rate'], 1 / fact(['length_scale'], 1)),
  }
}

function durationsOf(weights: Weights, layout: VitsLayout, tailBound: number): VitsConfig['durations'] {
  const plain = weights.get(layout.plainDurations)
  if (plain) return { kind: 'plain', width: plain.dims[0]!, kernel: plain.dims.at(-1)! }
  const [width, , kernel] = dimsOf(weights, [layout.separable.replace('{}', '0')]) as [number, number, number]
  const flows = layout.splineCount(countLayers(weights, [layout.spline]))
  const parameters = dimsOf(weights, [layout.splineParameters])[0]!
  if ((parameters + 1) % 3 !== 0)
    throw new M4Error('FORMAT_UNSUPPORTED', `Splines of ${parameters} parameters are not known.`, {
      hint: 'Expected 3·bins - 1 for one of two channels (depth_separable_channels 2).',
    })
  return {
    kind: 'stochastic',
    width,
    kernel,
    separableLayers: countLayers(weights, [layout.separable]),
    flows,
    // Widths, heights, and the derivatives between.
    bins: (parameters + 1) / 3,
    tailBound,
  }
}

function couplingOf(weights: Weights, layout: VitsLayout, dilationRate: number): WaveNetConfig {
  const [, width, kernel] = dimsOf(weights, [layout.wave.replace('{}', '0')]) as [number, number, number]
  return {
    flows: layout.couplingCount(countLayers(weights, [layout.coupling])),
    width,
    layers: countLayers(weights, [layout.wave]),
    kernel,
    dilationRate,
  }
}

function decoderOf(
  weights: Weights,
  layout: VitsLayout,
  metadata: Readonly<Record<string, unknown>>,
  slope: number,
): HifiGanConfig {
  const [width, , preKernel] = dimsOf(weights, [layout.decoderIn]) as [number, number, number]
  const stages = countLayers(weights, [layout.upsample])
  const blocks = countLayers(weights, [layout.block])
  if (stages === 0 || blocks === 0 || blocks % stages !== 0)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `A decoder of ${stages} stages and ${blocks} residual blocks is not known.`,
      {
        hint: 'Only HiFi-GAN with blocks of type 1 (two convolutions a dilation) is read.',
      },
    )
  const kernelOf = (pattern: string, i: number) => dimsOf(weights, [pattern.replace('{}', String(i))]).at(-1)!
  const perStage = blocks / stages
  const rates = listFact(metadata, ['upsample_rates', 'rates'], stages)
  const dilations = listFact(metadata, ['resblock_dilation_sizes'], perStage)
  return {
    width,
    rates: rates.map((rate) => wantInteger(rate, 'upsample_rates')),
    kernels: Array.from({ length: stages }, (_, i) => kernelOf(layout.upsample, i)),
    blockKernels: Array.from({ length: perStage }, (_, i) => kernelOf(layout.block, i)),
    dilations: dilations.map((list) => {
      if (!Array.isArray(list)) throw badList('resblock_dilation_sizes', list)
      return list.map((dilation) => wantInteger(dilation, 'resblock_dilation_sizes'))
    }),
    edgeKernels: [preKernel, dimsOf(weights, [layout.decoderOut]).at(-1)!],
    slope,
    outputBias: weights.has(layout.decoderOutBias),
  }
}

/** A list of config.json, Hugging Face's or (below `model`) VITS' own. @throws M4Error `FORMAT_INVALID` */
function listFact(metadata: Readonly<Record<string, unknown>>, names: readonly string[], length: number): unknown[] {
  const config = metadata.config as Record<string, unknown> | undefined
  const places = [config, config?.model as Record<string, unknown> | undefined]
  for (const place of places)
    for (const name of names) {
      const value = place?.[name]
      if (value === undefined) continue
      if (Array.isArray(value) && value.length === length) return value
      throw badList(name, value, length)
    }
  throw new M4Error('FORMAT_INVALID', `The checkpoint does not say ${names[0]}.`, {
    hint: 'Keep config.json beside the weights.',
    details: { keys: names },
  })
}

function wantInteger(value: unknown, name: string): number {
  if (Number.isInteger(value) && (value as number) > 0) return value as number
  throw badList(name, value)
}

const badList = (name: string, got: unknown, length?: number) =>
  new M4Error(
    'FORMAT_INVALID',
    `config.json: ${name}: expected ${length ?? 'positive'} ${length === undefined ? 'whole numbers' : 'entries'}, got ${JSON.stringify(got)}.`,
    { hint: 'Does the configuration belong to this checkpoint?' },
  )

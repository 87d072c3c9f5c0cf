/**
 * HiFi-GAN with a checkpoint of its own: log-mel frames → samples. The generator is the one inside VITS, its input mel bands in
 * place of latents. Reads the original layout (`generator_v*`, fairseq's `hifigan.bin`), weight normalisation folded.
 *
 * @paper arXiv:2010.05646 · @reference facebookresearch/fairseq@0dfd6b6:fairseq/models/text_to_speech/hifigan.py
 */

import { M4Error } from '../../core/errors.js'
import { type Graph, GraphBuilder } from '../../graph/index.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, factAt, numberFact } from '../facts.js'
import type { QuantisationPlan } from '../linear.js'
import { randomWeights } from '../random-weights.js'
import type { HifiGanConfig, VitsConfig } from '../vits/config.js'
import { hifiGan } from '../vits/hifi-gan.js'
import { foldWeightNorm } from '../weight-norm.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'

export interface VocoderConfig extends HifiGanConfig {
  readonly melBands: number
}

/** Folder of the tensors in `{generator: …}`. */
const FOLDER = 'generator/'

const tensorsOf = (stored: Weights): Weights =>
  foldWeightNorm(
    new Map([...stored].map(([name, tensor]) => [name.startsWith(FOLDER) ? name.slice(FOLDER.length) : name, tensor])),
  )

/**
 * Sizes from the tensors; rates and dilations from HiFi-GAN's own JSON (`hifigan.json`, as config.json beside the weights).
 * @throws M4Error `FORMAT_INVALID` when the JSON is not there, `FORMAT_UNSUPPORTED`, `TENSOR_MISSING`
 */
export function vocoderConfig({ metadata, weights: stored }: CheckpointFacts): VocoderConfig {
  const weights = tensorsOf(stored)
  const dims = (name: string) => dimsOf(weights, [name])
  const stages = countLayers(weights, ['ups.{}.weight'])
  const blocks = countLayers(weights, ['resblocks.{}.convs1.0.weight'])
  if (stages === 0 || blocks === 0 || blocks % stages !== 0)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `A vocoder of ${stages} stages and ${blocks} residual blocks is not known.`,
      {
        hint: 'Only HiFi-GAN with blocks of type 1 (two convolutions a dilation) is read.',
      },
    )
  const [width, melBands, preKernel] = dims('conv_pre.weight') as [number, number, number]
  const perStage = blocks / stages
  const dilations = listOf(metadata, 'resblock_dilation_sizes', perStage)
  return {
    melBands,
    width,
    rates: integers('upsample_rates', listOf(metadata, 'upsample_rates', stages)),
    kernels: Array.from({ length: stages }, (_, i) => dims(`ups.${i}.weight`)[2]!),
    blockKernels: Array.from({ length: perStage }, (_, i) => dims(`resblocks.${i}.convs1.0.weight`)[2]!),
    dilations: dilations.map((list) => integers('resblock_dilation_sizes', list)),
    edgeKernels: [preKernel, dims('conv_post.weight')[2]!],
    slope: numberFact(metadata, ['config/leaky_relu_slope'], 0.1),
    outputBias: weights.has('conv_post.bias'),
  }
}

function listOf(metadata: CheckpointFacts['metadata'], name: string, length: number): unknown[] {
  const value = factAt(metadata, `config/${name}`)
  if (Array.isArray(value) && value.length === length) return value
  throw badList(name, `${length} entries`, value)
}

function integers(name: string, value: unknown): number[] {
  if (Array.isArray(value) && value.every((item) => Number.isInteger(item) && item > 0)) return value
  throw badList(name, 'positive whole numbers', value)
}

const badList = (name: string, expected: string, got: unknown) =>
  new M4Error('FORMAT_INVALID', `${name}: expected ${expected}, got ${JSON.stringify(got) ?? 'nothing'}.`, {
    hint: 'Keep HiFi-GAN’s own JSON beside the weights, as config.json.',
    details: { got },
  })

interface Row {
  readonly ours: string
  readonly dims: readonly number[]
  readonly theirs: string
}

/** Our names are those of VITS' decoder, whose graph function reads them. */
function rowsOf({ melBands, width, kernels, blockKernels, dilations, edgeKernels, outputBias }: VocoderConfig): Row[] {
  const widthAfter = (stage: number) => Math.floor(width / 2 ** (stage + 1))
  const pair = (ours: string, dims: readonly number[], theirs: string, outputs = dims[0]!): Row[] => [
    { ours, dims, theirs: `${theirs}.weight` },
    { ours: `${ours}/bias`, dims: [outputs], theirs: `${theirs}.bias` },
  ]
  const output = pair('decoder/out', [1, widthAfter(kernels.length - 1), edgeKernels[1]], 'conv_post')
  return [
    ...pair('decoder/in', [width, melBands, edgeKernels[0]], 'conv_pre'),
    ...kernels.flatMap((kernel, i) => [
      ...pair(`decoder/stages.${i}/up`, [widthAfter(i - 1), widthAfter(i), kernel], `ups.${i}`, widthAfter(i)),
      ...blockKernels.flatMap((blockKernel, j) =>
        dilations[j]!.flatMap((_, d) =>
          [1, 2].flatMap((n) =>
            pair(
              `decoder/stages.${i}/blocks.${j}/conv${n}.${d}`,
              [widthAfter(i), widthAfter(i), blockKernel],
              `resblocks.${i * blockKernels.length + j}.convs${n}.${d}`,
            ),
          ),
        ),
      ),
    ]),
    ...(outputBias ? output : output.slice(0, 1)),
  ]
}

const shapesOf = (config: VocoderConfig) => Object.fromEntries(rowsOf(config).map(({ ours, dims }) => [ours, dims]))

/** @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH` */
export function vocoderWeights(config: VocoderConfig, stored: Weights): Map<string, WeightTensor> {
  const names = Object.fromEntries(rowsOf(config).map(({ ours, theirs }) => [ours, theirs]))
  return resolveWeights(tensorsOf(stored), { names }, 1, shapesOf(config))
}

export const vocoderRandom = (config: VocoderConfig, seed: number): Map<string, WeightTensor> =>
  randomWeights(shapesOf(config), () => 1, seed)

/** mel float32 [1, M, P] → waveform float32 [1, N] in (-1, 1) */
export function vocoderGraph(
  config: VocoderConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('voice.vocode')
  const mel = g.input('mel', 'float32', [1, config.melBands, 'P'])
  // The generator reads nothing of a VITS configuration but its decoder.
  const vits: Pick<VitsConfig, 'decoder'> = { decoder: config }
  g.output('waveform', hifiGan({ weights, plan, normEpsilon: 0 }, g, vits as VitsConfig, mel, undefined))
  return g.build()
}

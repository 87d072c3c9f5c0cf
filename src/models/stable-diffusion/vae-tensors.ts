/** Every tensor of the autoencoder in its three layouts: diffusers, diffusers before 0.18 (other names of attention), LDM. */

import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, numberFact } from '../facts.js'
import type { Weights } from '../weights.js'
import { at, biased, layoutOf, type TensorRow, within } from './tensors.js'

export interface VaeConfig {
  /** Of the picture: 3. */
  readonly channels: number
  readonly latentChannels: number
  /** Of the encoder's output before `quant_conv`, half of it. */
  readonly innerChannels: number
  /** By level, from the finest. */
  readonly levels: readonly number[]
  /** Residual blocks of a level of the encoder; the decoder has one more. */
  readonly blocks: number
  readonly groups: number
  /** Latents of the U-Net are this times latents of the autoencoder. */
  readonly scale: number
}

export const VAE_TELLTALES = {
  diffusers: 'encoder.mid_block.attentions.0.to_q.weight',
  diffusersOld: 'encoder.mid_block.attentions.0.query.weight',
  ldm: 'encoder.mid.attn_1.q.weight',
} as const
export type VaeLayout = keyof typeof VAE_TELLTALES

/** What training left in a file. */
export const VAE_IGNORED = [/^loss\./, /^model_ema\./]

type Place = Readonly<Record<VaeLayout, string>>
type Row = TensorRow<VaeLayout>

const LDM_CONFIG = 'config/model/params'

/** Sizes from the tensors; the scale from `scaling_factor`, LDM's `scale_factor`, or that of Stable Diffusion. */
export function vaeConfig({ metadata, weights }: CheckpointFacts): VaeConfig {
  const isLdm = layoutOf('autoencoder', weights, VAE_TELLTALES) === 'ldm'
  const filters = isLdm ? 'encoder.down.{}.block.0.conv1.weight' : 'encoder.down_blocks.{}.resnets.0.conv1.weight'
  const blocks = isLdm ? 'encoder.down.0.block.{}.conv1.weight' : 'encoder.down_blocks.0.resnets.{}.conv1.weight'
  const levels = Array.from(
    { length: countLayers(weights, [filters]) },
    (_, i) => dimsOf(weights, [filters.replace('{}', String(i))])[0]!,
  )
  return {
    channels: dimsOf(weights, ['encoder.conv_in.weight'])[1]!,
    latentChannels: dimsOf(weights, ['post_quant_conv.weight'])[1]!,
    innerChannels: dimsOf(weights, ['post_quant_conv.weight'])[0]!,
    levels,
    blocks: countLayers(weights, [blocks]),
    groups: numberFact(metadata, ['config/norm_num_groups'], 32),
    scale: numberFact(
      metadata,
      ['config/scaling_factor', 'config/scale_factor', `${LDM_CONFIG}/scale_factor`],
      0.18215,
    ),
  }
}

export const vaeLayout = (weights: Weights): VaeLayout => layoutOf('autoencoder', weights, VAE_TELLTALES)

/** The same name in every layout. */
const everywhere = (name: string): Place => ({ diffusers: name, diffusersOld: name, ldm: name })
const both = (diffusers: string, ldm: string): Place => ({ diffusers, diffusersOld: diffusers, ldm })

export function vaeTensors(config: VaeConfig): Row[] {
  const { channels, latentChannels, innerChannels, levels, blocks } = config
  const [first, last] = [levels[0]!, levels.at(-1)!]
  const rows: Row[] = [
    ...biased('vae/enc/in', [first, channels, 3, 3], everywhere('encoder.conv_in')),
    ...middleTensors('enc', 'encoder', last),
    ...biased('vae/enc/out/norm', [last], both('encoder.conv_norm_out', 'encoder.norm_out')),
    ...biased('vae/enc/out/conv', [2 * innerChannels, last, 3, 3], everywhere('encoder.conv_out')),
    ...biased('vae/enc/quant', [2 * latentChannels, 2 * innerChannels, 1, 1], everywhere('quant_conv')),
    ...biased('vae/dec/quant', [innerChannels, latentChannels, 1, 1], everywhere('post_quant_conv')),
    ...biased('vae/dec/in', [last, innerChannels, 3, 3], everywhere('decoder.conv_in')),
    ...middleTensors('dec', 'decoder', last),
    ...biased('vae/dec/out/norm', [first], both('decoder.conv_norm_out', 'decoder.norm_out')),
    ...biased('vae/dec/out/conv', [channels, first, 3, 3], everywhere('decoder.conv_out')),
  ]
  let width = first
  for (const [i, out] of levels.entries()) {
    for (let j = 0; j < blocks; j++) {
      const place = both(`encoder.down_blocks.${i}.resnets.${j}`, `encoder.down.${i}.block.${j}`)
      rows.push(...residualTensors(`vae/enc/down.${i}/${j}`, width, out, place))
      width = out
    }
    const place = both(`encoder.down_blocks.${i}.downsamplers.0.conv`, `encoder.down.${i}.downsample.conv`)
    if (i + 1 < levels.length) rows.push(...biased(`vae/enc/down.${i}/resize`, [out, out, 3, 3], place))
  }
  // LDM numbers the levels of the decoder as the encoder does, from the finest; diffusers in the order of use.
  for (const [i, out] of levels.toReversed().entries()) {
    const theirs = levels.length - 1 - i
    for (let j = 0; j <= blocks; j++) {
      const place = both(`decoder.up_blocks.${i}.resnets.${j}`, `decoder.up.${theirs}.block.${j}`)
      rows.push(...residualTensors(`vae/dec/up.${i}/${j}`, width, out, place))
      width = out
    }
    const place = both(`decoder.up_blocks.${i}.upsamplers.0.conv`, `decoder.up.${theirs}.upsample.conv`)
    if (theirs > 0) rows.push(...biased(`vae/dec/up.${i}/resize`, [out, out, 3, 3], place))
  }
  return rows
}

function middleTensors(ours: string, theirs: string, C: number): Row[] {
  const attention = both(`${theirs}.mid_block.attentions.0`, `${theirs}.mid.attn_1`)
  const product = (name: string, diffusers: string, diffusersOld: string, ldm: string) =>
    // Matrices, or convolutions of one pixel in LDM: the same product.
    biased(`vae/${ours}/mid/attn/${name}`, [C, C], at(attention, { diffusers, diffusersOld, ldm }))
  return [
    ...residualTensors(`vae/${ours}/mid/0`, C, C, both(`${theirs}.mid_block.resnets.0`, `${theirs}.mid.block_1`)),
    ...biased(
      `vae/${ours}/mid/attn/norm`,
      [C],
      at(attention, { diffusers: 'group_norm', diffusersOld: 'group_norm', ldm: 'norm' }),
    ),
    ...product('q', 'to_q', 'query', 'q'),
    ...product('k', 'to_k', 'key', 'k'),
    ...product('v', 'to_v', 'value', 'v'),
    ...product('o', 'to_out.0', 'proj_attn', 'proj_out'),
    ...residualTensors(`vae/${ours}/mid/1`, C, C, both(`${theirs}.mid_block.resnets.1`, `${theirs}.mid.block_2`)),
  ]
}

function residualTensors(path: string, width: number, out: number, place: Place): Row[] {
  return [
    ...biased(`${path}/in/norm`, [width], within(place, 'norm1')),
    ...biased(`${path}/in/conv`, [out, width, 3, 3], within(place, 'conv1')),
    ...biased(`${path}/out/norm`, [out], within(place, 'norm2')),
    ...biased(`${path}/out/conv`, [out, out, 3, 3], within(place, 'conv2')),
    ...(width === out
      ? []
      : biased(
          `${path}/skip`,
          [out, width, 1, 1],
          at(place, { diffusers: 'conv_shortcut', diffusersOld: 'conv_shortcut', ldm: 'nin_shortcut' }),
        )),
  ]
}

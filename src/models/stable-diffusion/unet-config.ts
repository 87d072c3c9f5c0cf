/** What a U-Net's tensors and configuration say of its structure. */

import { M4Error } from '../../core/errors.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, factAt, numberFact } from '../facts.js'
import type { Weights } from '../weights.js'
import { layoutOf } from './tensors.js'

export interface UnetConfig {
  /** Channels of the latents that go in and come out. */
  readonly inChannels: number
  readonly outChannels: number
  /** By level, from the finest: */
  readonly levels: readonly UnetLevel[]
  readonly middle: Omit<UnetLevel, 'channels'>
  /** Residual blocks of a level on the way down; one more on the way up. */
  readonly blocks: number
  /** Width of the text that is attended to. */
  readonly contextWidth: number
  readonly timeWidth: number
  /** Width of the class vector of unCLIP; 0 where there is none. */
  readonly classWidth: number
  readonly groups: number
  readonly normEpsilon: number
}

export interface UnetLevel {
  readonly channels: number
  /** Transformer blocks behind each residual block; 0: no attention. */
  readonly depth: number
  readonly heads: number
}

export const UNET_TELLTALES = { diffusers: 'conv_in.weight', ldm: 'input_blocks.0.0.weight' } as const
export type UnetLayout = keyof typeof UNET_TELLTALES

interface Shape {
  readonly levels: readonly { readonly channels: number; readonly depth: number }[]
  readonly middleDepth: number
  readonly blocks: number
}

const DEPTH = 'transformer_blocks.{}.norm1.weight'

/** diffusers numbers levels and blocks apart. */
function diffusersShape(weights: Weights): Shape {
  const levels = Array.from({ length: countLayers(weights, ['down_blocks.{}.resnets.0.conv1.weight']) }, (_, i) => ({
    channels: dimsOf(weights, [`down_blocks.${i}.resnets.0.conv1.weight`])[0]!,
    depth: countLayers(weights, [`down_blocks.${i}.attentions.0.${DEPTH}`]),
  }))
  return {
    levels,
    blocks: countLayers(weights, ['down_blocks.0.resnets.{}.conv1.weight']),
    middleDepth: countLayers(weights, [`mid_block.attentions.0.${DEPTH}`]),
  }
}

/** LDM numbers everything in one row: a block with `op` ends a level. */
function ldmShape(weights: Weights): Shape {
  const levels: { channels: number; depth: number }[] = []
  let blocks = 0
  let begins = true
  for (let n = 1; ; n++) {
    if (weights.has(`input_blocks.${n}.0.op.weight`)) {
      begins = true
      continue
    }
    const filters = weights.get(`input_blocks.${n}.0.in_layers.2.weight`)
    if (!filters) break
    if (begins)
      levels.push({ channels: filters.dims[0]!, depth: countLayers(weights, [`input_blocks.${n}.1.${DEPTH}`]) })
    begins = false
    if (levels.length === 1) blocks++
  }
  return { levels, blocks, middleDepth: countLayers(weights, [`middle_block.1.${DEPTH}`]) }
}

const NAMES = {
  diffusers: {
    shape: diffusersShape,
    out: 'conv_out.weight',
    time: 'time_embedding.linear_1.weight',
    class: 'class_embedding.linear_1.weight',
  },
  ldm: { shape: ldmShape, out: 'out.2.weight', time: 'time_embed.0.weight', class: 'label_emb.0.0.weight' },
} as const

/**
 * Sizes from the tensors; the number of heads from config.json (diffusers), the LDM configuration, or, without both, what
 * Stable Diffusion has: 8 heads where the projections are convolutions (1.x), heads of 64 where they are linear (2.x).
 * @throws M4Error `FORMAT_UNSUPPORTED` for a kind of U-Net that Stable Diffusion does not use
 */
export function unetConfig({ metadata, weights }: CheckpointFacts): UnetConfig {
  const layout = layoutOf('U-Net', weights, UNET_TELLTALES)
  const names = NAMES[layout]
  const { levels, middleDepth, blocks } = names.shape(weights)
  const filters = dimsOf(weights, [UNET_TELLTALES[layout]])
  refuseUnknown(metadata)
  const heads = headsOf(metadata, weights, levels)
  const attended = [...weights.keys()].find((name) => name.endsWith('.attn2.to_k.weight'))
  return {
    inChannels: filters[1]!,
    outChannels: dimsOf(weights, [names.out])[0]!,
    levels: levels.map((level, i) => ({ ...level, heads: heads[i]! })),
    middle: { depth: middleDepth, heads: heads.at(-1)! },
    blocks,
    contextWidth: attended === undefined ? 0 : weights.get(attended)!.dims[1]!,
    timeWidth: dimsOf(weights, [names.time])[0]!,
    classWidth: weights.get(names.class)?.dims[1] ?? 0,
    groups: numberFact(metadata, ['config/norm_num_groups'], 32),
    normEpsilon: numberFact(metadata, ['config/norm_eps'], 1e-5),
  }
}

/** `attention_head_dim` of diffusers is the number of heads: a name that could not be changed any more. */
const HEAD_COUNTS = ['config/num_attention_heads', 'config/attention_head_dim', 'config/num_heads'] as const
const LDM_PARAMS = 'config/model/params/unet_config/params'

function headsOf(
  metadata: CheckpointFacts['metadata'],
  weights: Weights,
  levels: readonly { readonly channels: number }[],
): number[] {
  const counts = [...HEAD_COUNTS, `${LDM_PARAMS}/num_heads`].map((key) => factAt(metadata, key))
  for (const count of counts) {
    if (typeof count === 'number' && count > 0) return levels.map(() => count)
    if (Array.isArray(count) && count.length === levels.length && count.every(Number.isInteger)) return count
  }
  const isLinear = [...weights].some(([name, { dims }]) => name.endsWith('.proj_in.weight') && dims.length === 2)
  const width = numberFact(metadata, ['config/num_head_channels', `${LDM_PARAMS}/num_head_channels`], isLinear ? 64 : 0)
  return levels.map(({ channels }) => (width > 0 ? channels / width : 8))
}

/** What other U-Nets of diffusers do otherwise, and no tensor tells. */
const FIXED: Readonly<Record<string, unknown>> = {
  act_fn: 'silu',
  flip_sin_to_cos: true,
  freq_shift: 0,
  center_input_sample: false,
  resnet_time_scale_shift: 'default',
  only_cross_attention: false,
  dual_cross_attention: false,
}

function refuseUnknown(metadata: CheckpointFacts['metadata']): void {
  for (const [key, expected] of Object.entries(FIXED)) {
    const got = factAt(metadata, `config/${key}`)
    if (got === undefined || got === null || got === expected) continue
    throw new M4Error('FORMAT_UNSUPPORTED', `The U-Net's ${key} is ${JSON.stringify(got)}, expected ${expected}.`, {
      hint: 'Only the U-Nets of Stable Diffusion 1.x and 2.x are supported.',
    })
  }
}

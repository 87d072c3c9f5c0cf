/**
 * Every tensor of a U-Net: where the blocks stand, and what they are called in diffusers folders and in LDM's .ckpt.
 * diffusers counts levels and blocks apart; LDM counts all blocks of one way in one row.
 */

import { at, biased, plain, type TensorRow, within } from './tensors.js'
import type { UnetConfig, UnetLayout } from './unet-config.js'

type Place = Readonly<Record<UnetLayout, string>>
type Row = TensorRow<UnetLayout>

/** One residual block and the attention behind it. */
export interface UnetBlock {
  /** Our path, e.g. `unet/down.1/0`. */
  readonly path: string
  readonly inChannels: number
  readonly outChannels: number
  readonly depth: number
  readonly heads: number
}

export interface UnetStage {
  readonly path: string
  readonly blocks: readonly UnetBlock[]
  /** Whether the level ends with a change of size. */
  readonly resized: boolean
}

export interface UnetPlan {
  readonly down: readonly UnetStage[]
  readonly middle: UnetStage
  readonly up: readonly UnetStage[]
}

/** The blocks in order. Those on the way up also take what those on the way down left. */
export function unetPlan({ levels, middle, blocks }: UnetConfig): UnetPlan {
  let channels = levels[0]!.channels
  const left = [channels]
  const down = levels.map((level, i): UnetStage => {
    const path = `unet/down.${i}`
    const made = Array.from({ length: blocks }, (_, j): UnetBlock => {
      const block = block_(`${path}/${j}`, channels, level.channels, level)
      channels = level.channels
      left.push(channels)
      return block
    })
    const resized = i + 1 < levels.length
    if (resized) left.push(channels)
    return { path, blocks: made, resized }
  })
  const inner = [0, 1].map((j) => block_(`unet/mid/${j}`, channels, channels, j ? { ...middle, depth: 0 } : middle))
  const up = levels.toReversed().map((level, i): UnetStage => {
    const path = `unet/up.${i}`
    const made = Array.from({ length: blocks + 1 }, (_, j): UnetBlock => {
      const block = block_(`${path}/${j}`, channels + left.pop()!, level.channels, level)
      channels = level.channels
      return block
    })
    return { path, blocks: made, resized: i + 1 < levels.length }
  })
  return { down, middle: { path: 'unet/mid', blocks: inner, resized: false }, up }
}

const block_ = (path: string, inChannels: number, outChannels: number, level: { depth: number; heads: number }) => ({
  path,
  inChannels,
  outChannels,
  depth: level.depth,
  heads: level.heads,
})

export function unetTensors(config: UnetConfig): Row[] {
  const { levels, timeWidth, classWidth, inChannels, outChannels, blocks } = config
  const first = levels[0]!.channels
  const plan = unetPlan(config)
  const perceptron = (ours: string, width: number, diffusers: string, ldm: string) => [
    ...biased(`${ours}/fc1`, [timeWidth, width], { diffusers: `${diffusers}.linear_1`, ldm: `${ldm}.0` }),
    ...biased(`${ours}/fc2`, [timeWidth, timeWidth], { diffusers: `${diffusers}.linear_2`, ldm: `${ldm}.2` }),
  ]
  const rows: Row[] = [
    ...biased('unet/in', [first, inChannels, 3, 3], { diffusers: 'conv_in', ldm: 'input_blocks.0.0' }),
    ...perceptron('unet/time', first, 'time_embedding', 'time_embed'),
    ...(classWidth ? perceptron('unet/class', classWidth, 'class_embedding', 'label_emb.0') : []),
    ...biased('unet/out/norm', [first], { diffusers: 'conv_norm_out', ldm: 'out.0' }),
    ...biased('unet/out/conv', [outChannels, first, 3, 3], { diffusers: 'conv_out', ldm: 'out.2' }),
  ]
  for (const [i, stage] of plan.down.entries()) {
    const row = 1 + i * (blocks + 1)
    for (const [j, block] of stage.blocks.entries()) {
      const residual = { diffusers: `down_blocks.${i}.resnets.${j}`, ldm: `input_blocks.${row + j}.0` }
      const attention = { diffusers: `down_blocks.${i}.attentions.${j}`, ldm: `input_blocks.${row + j}.1` }
      rows.push(...blockTensors(config, block, residual, attention))
    }
    const place = { diffusers: `down_blocks.${i}.downsamplers.0.conv`, ldm: `input_blocks.${row + blocks}.0.op` }
    if (stage.resized) rows.push(...resizeTensors(stage, place))
  }
  for (const [j, block] of plan.middle.blocks.entries())
    rows.push(
      ...blockTensors(
        config,
        block,
        { diffusers: `mid_block.resnets.${j}`, ldm: `middle_block.${2 * j}` },
        { diffusers: 'mid_block.attentions.0', ldm: 'middle_block.1' },
      ),
    )
  for (const [i, stage] of plan.up.entries()) {
    const row = i * (blocks + 1)
    for (const [j, block] of stage.blocks.entries()) {
      const residual = { diffusers: `up_blocks.${i}.resnets.${j}`, ldm: `output_blocks.${row + j}.0` }
      const attention = { diffusers: `up_blocks.${i}.attentions.${j}`, ldm: `output_blocks.${row + j}.1` }
      rows.push(...blockTensors(config, block, residual, attention))
    }
    // LDM puts the convolution behind the last block and its attention, if it has one.
    const behind = stage.blocks.at(-1)!.depth > 0 ? 2 : 1
    const ldm = `output_blocks.${row + blocks}.${behind}.conv`
    if (stage.resized) rows.push(...resizeTensors(stage, { diffusers: `up_blocks.${i}.upsamplers.0.conv`, ldm }))
  }
  return rows
}

function resizeTensors({ path, blocks }: UnetStage, place: Place): Row[] {
  const channels = blocks.at(-1)!.outChannels
  return biased(`${path}/resize`, [channels, channels, 3, 3], place)
}

function blockTensors(config: UnetConfig, block: UnetBlock, residual: Place, attention: Place): Row[] {
  const { path, inChannels, outChannels, depth } = block
  const rows = [
    ...biased(`${path}/in/norm`, [inChannels], at(residual, { diffusers: 'norm1', ldm: 'in_layers.0' })),
    ...biased(
      `${path}/in/conv`,
      [outChannels, inChannels, 3, 3],
      at(residual, { diffusers: 'conv1', ldm: 'in_layers.2' }),
    ),
    ...biased(
      `${path}/time`,
      [outChannels, config.timeWidth],
      at(residual, { diffusers: 'time_emb_proj', ldm: 'emb_layers.1' }),
    ),
    ...biased(`${path}/out/norm`, [outChannels], at(residual, { diffusers: 'norm2', ldm: 'out_layers.0' })),
    ...biased(
      `${path}/out/conv`,
      [outChannels, outChannels, 3, 3],
      at(residual, { diffusers: 'conv2', ldm: 'out_layers.3' }),
    ),
  ]
  if (inChannels !== outChannels)
    rows.push(
      ...biased(
        `${path}/skip`,
        [outChannels, inChannels, 1, 1],
        at(residual, { diffusers: 'conv_shortcut', ldm: 'skip_connection' }),
      ),
    )
  if (depth === 0) return rows
  const C = outChannels
  rows.push(
    ...biased(`${path}/attn/norm`, [C], within(attention, 'norm')),
    // [C, C, 1, 1] in 1.x and [C, C] in 2.x: the same product.
    ...biased(`${path}/attn/in`, [C, C], within(attention, 'proj_in')),
    ...biased(`${path}/attn/out`, [C, C], within(attention, 'proj_out')),
  )
  for (let l = 0; l < depth; l++)
    rows.push(...transformerTensors(config, `${path}/attn/${l}`, C, within(attention, `transformer_blocks.${l}`)))
  return rows
}

function transformerTensors({ contextWidth }: UnetConfig, path: string, C: number, place: Place): Row[] {
  const attention = (ours: string, theirs: string, norm: string, width: number) => [
    ...biased(`${path}/${ours}/norm`, [C], within(place, norm)),
    plain(`${path}/${ours}/q`, [C, C], within(place, `${theirs}.to_q`)),
    plain(`${path}/${ours}/k`, [C, width], within(place, `${theirs}.to_k`)),
    plain(`${path}/${ours}/v`, [C, width], within(place, `${theirs}.to_v`)),
    ...biased(`${path}/${ours}/o`, [C, C], within(place, `${theirs}.to_out.0`)),
  ]
  return [
    ...attention('self', 'attn1', 'norm1', C),
    ...attention('cross', 'attn2', 'norm2', contextWidth),
    ...biased(`${path}/mlp/norm`, [C], within(place, 'norm3')),
    ...biased(`${path}/mlp/fc1`, [8 * C, C], within(place, 'ff.net.0.proj')),
    ...biased(`${path}/mlp/fc2`, [C, 4 * C], within(place, 'ff.net.2')),
  ]
}

/**
 * The six towers of ImageBind as data: what differs between them, their names in `imagebind_huge.pth`, and the sizes of the
 * published model that its file does not say.
 *
 * @paper arXiv:2305.05665 · @reference facebookresearch/ImageBind@53680b0 imagebind/models/imagebind_model.py
 */

import type { NameTable, SourceName } from '../weights.js'

export const IMAGEBIND_MODALITIES = ['vision', 'text', 'audio', 'imu', 'depth', 'thermal'] as const
export type ImageBindModality = (typeof IMAGEBIND_MODALITIES)[number]

export interface Tower {
  /** Our name of a stem tensor → theirs below `modality_preprocessors.<m>.` */
  readonly stem: Readonly<Record<string, string>>
  /** Places of the head's norm and matrix below `modality_heads.<m>.` */
  readonly head: readonly [norm: string, matrix: string]
  /** A norm in front of the first layer. */
  readonly preNorm?: true
  /** One learned key and value behind those of the tokens, in every layer (`add_bias_kv`). */
  readonly extraKey: boolean
  /** Embeddings are multiplied by a stored scale; those of pictures stay unit vectors. */
  readonly scaled: boolean
  /** Inputs have an axis of clips, whose embeddings are averaged. */
  readonly clips: boolean
  /** Of the published model: the file does not say them. */
  readonly published: { readonly width: number; readonly heads: number }
}

const POSITIONS = 'pos_embedding_helper.pos_embed'
const withBias = (ours: string, theirs: string) => ({ [ours]: `${theirs}.weight`, [`${ours}/bias`]: `${theirs}.bias` })
/** Stem of a single-channel picture: patches, norm, class token, positions. */
const patches = (stem: string) => ({
  cls: 'cls_token',
  stem: `${stem}.proj.weight`,
  ...withBias('stem/norm', `${stem}.norm_layer`),
  positions: POSITIONS,
})

export const TOWERS: Readonly<Record<ImageBindModality, Tower>> = Object.freeze({
  vision: {
    // Index 0 of the stem repeats pictures to two frames; it has no parameters.
    stem: { cls: 'cls_token', stem: 'rgbt_stem.proj.1.weight', positions: POSITIONS },
    head: ['0', '2'],
    preNorm: true,
    extraKey: false,
    scaled: false,
    clips: true,
    published: { width: 1280, heads: 16 },
  },
  text: {
    stem: { embed: 'token_embedding.weight', positions: 'pos_embed' },
    head: ['proj.0', 'proj.1'],
    extraKey: false,
    scaled: true,
    clips: false,
    published: { width: 1024, heads: 16 },
  },
  audio: {
    stem: patches('rgbt_stem'),
    head: ['0', '2'],
    extraKey: true,
    scaled: true,
    clips: true,
    published: { width: 768, heads: 12 },
  },
  imu: {
    stem: {
      cls: 'cls_token',
      stem: 'imu_stem.proj.weight',
      ...withBias('stem/norm', 'imu_stem.norm_layer'),
      positions: 'pos_embed',
    },
    // 1 selects the class token, 2 is dropout.
    head: ['0', '3'],
    extraKey: true,
    scaled: true,
    clips: false,
    published: { width: 512, heads: 8 },
  },
  depth: {
    stem: patches('depth_stem'),
    head: ['0', '2'],
    extraKey: true,
    scaled: true,
    clips: false,
    published: { width: 384, heads: 8 },
  },
  thermal: {
    stem: patches('rgbt_stem'),
    head: ['0', '2'],
    extraKey: true,
    scaled: true,
    clips: false,
    published: { width: 768, heads: 12 },
  },
})

/** Names of one tower in the flat file, which holds all six: the others are no mistake. */
export function imagebindLayout(
  modality: ImageBindModality,
): NameTable & { readonly names: Record<string, SourceName> } {
  const { stem, head, preNorm, extraKey, scaled } = TOWERS[modality]
  const blocks = `modality_trunks.${modality}.blocks.{}`
  const below = (place: string) => `modality_heads.${modality}.${place}`
  const fused = (part: number, kind: 'weight' | 'bias'): SourceName => ({
    name: `${blocks}.attn.in_proj_${kind}`,
    part,
    of: 3,
  })
  const names: Record<string, SourceName> = {
    ...Object.fromEntries(
      Object.entries(stem).map(([ours, theirs]) => [ours, `modality_preprocessors.${modality}.${theirs}`]),
    ),
    ...(preNorm ? withBias('pre/norm', `modality_trunks.${modality}.pre_transformer_layer.0`) : {}),
    ...withBias('layers.{}/attn/norm', `${blocks}.norm_1`),
    ...Object.fromEntries(
      ['q', 'k', 'v'].flatMap((part, i) => [
        [`layers.{}/attn/${part}`, fused(i, 'weight')],
        [`layers.{}/attn/${part}/bias`, fused(i, 'bias')],
      ]),
    ),
    ...withBias('layers.{}/attn/o', `${blocks}.attn.out_proj`),
    ...(extraKey
      ? { 'layers.{}/attn/extraKey': `${blocks}.attn.bias_k`, 'layers.{}/attn/extraValue': `${blocks}.attn.bias_v` }
      : {}),
    ...withBias('layers.{}/mlp/norm', `${blocks}.norm_2`),
    ...withBias('layers.{}/mlp/fc1', `${blocks}.mlp.fc1`),
    ...withBias('layers.{}/mlp/fc2', `${blocks}.mlp.fc2`),
    ...withBias('norm', below(head[0])),
    head: `${below(head[1])}.weight`,
    ...(scaled ? { logScale: `modality_postprocessors.${modality}.1.log_logit_scale` } : {}),
  }
  const others = IMAGEBIND_MODALITIES.filter((name) => name !== modality).join('|')
  return {
    names,
    ignore: [
      new RegExp(`^modality_(preprocessors|trunks|heads|postprocessors)\\.(${others})\\.`),
      // A buffer: 0 on and below the diagonal, -inf above.
      /^modality_preprocessors\.text\.mask$/,
    ],
  }
}

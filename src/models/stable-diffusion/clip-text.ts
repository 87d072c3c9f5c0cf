/**
 * The text encoder of Stable Diffusion: CLIP ViT-L/14 (1.x, Hugging Face names) or OpenCLIP ViT-H without its last layer
 * (2.x, OpenCLIP names in a .ckpt, Hugging Face names in a diffusers folder). Causal, pre-norm.
 *
 * @paper arXiv:2103.00020 · @reference huggingface/transformers:modeling_clip.py, mlfoundations/open_clip:transformer.py
 */

import { M4Error } from '../../core/errors.js'
import { type Graph, GraphBuilder } from '../../graph/index.js'
import type { CheckpointFacts } from '../architecture.js'
import { type EmbeddingKind, embeddingTable } from '../embedding.js'
import { countLayers, dimsOf, factAt, numberFact } from '../facts.js'
import { type QuantisationPlan, vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need, stackShapes } from '../transformer.js'
import {
  findLayout,
  type NameTable,
  resolveWeights,
  type SourceName,
  type Weights,
  type WeightTensor,
} from '../weights.js'

const ACTIVATIONS = ['quick_gelu', 'gelu'] as const

export interface ClipTextConfig {
  readonly vocabulary: number
  readonly width: number
  readonly feedForward: number
  /** Layers that are run. */
  readonly layers: number
  readonly heads: number
  readonly contextLength: number
  readonly activation: (typeof ACTIVATIONS)[number]
  readonly normEpsilon: number
}

const pair = (ours: string, theirs: string) => ({ [ours]: `${theirs}.weight`, [`${ours}/bias`]: `${theirs}.bias` })

const fused = (part: number): Record<string, SourceName> => {
  const ours = `text/layers.{}/attn/${'qkv'[part]}`
  const theirs = 'transformer.resblocks.{}.attn.in_proj_'
  return {
    [ours]: { name: `${theirs}weight`, part, of: 3 },
    [`${ours}/bias`]: { name: `${theirs}bias`, part, of: 3 },
  }
}

export const CLIP_TEXT_LAYOUTS: Readonly<Record<'hf' | 'openclip', NameTable>> = {
  hf: {
    names: {
      'text/embed': 'text_model.embeddings.token_embedding.weight',
      'text/positions': 'text_model.embeddings.position_embedding.weight',
      ...pair('text/norm', 'text_model.final_layer_norm'),
      ...pair('text/layers.{}/attn/norm', 'text_model.encoder.layers.{}.layer_norm1'),
      ...pair('text/layers.{}/attn/q', 'text_model.encoder.layers.{}.self_attn.q_proj'),
      ...pair('text/layers.{}/attn/k', 'text_model.encoder.layers.{}.self_attn.k_proj'),
      ...pair('text/layers.{}/attn/v', 'text_model.encoder.layers.{}.self_attn.v_proj'),
      ...pair('text/layers.{}/attn/o', 'text_model.encoder.layers.{}.self_attn.out_proj'),
      ...pair('text/layers.{}/mlp/norm', 'text_model.encoder.layers.{}.layer_norm2'),
      ...pair('text/layers.{}/mlp/fc1', 'text_model.encoder.layers.{}.mlp.fc1'),
      ...pair('text/layers.{}/mlp/fc2', 'text_model.encoder.layers.{}.mlp.fc2'),
    },
    // The projection into the joint space is not used for conditioning.
    ignore: [/position_ids$/, /^text_projection\.weight$/],
  },
  openclip: {
    names: {
      'text/embed': 'token_embedding.weight',
      'text/positions': 'positional_embedding',
      ...pair('text/norm', 'ln_final'),
      ...pair('text/layers.{}/attn/norm', 'transformer.resblocks.{}.ln_1'),
      ...fused(0),
      ...fused(1),
      ...fused(2),
      ...pair('text/layers.{}/attn/o', 'transformer.resblocks.{}.attn.out_proj'),
      ...pair('text/layers.{}/mlp/norm', 'transformer.resblocks.{}.ln_2'),
      ...pair('text/layers.{}/mlp/fc1', 'transformer.resblocks.{}.mlp.c_fc'),
      ...pair('text/layers.{}/mlp/fc2', 'transformer.resblocks.{}.mlp.c_proj'),
    },
    ignore: [/^attn_mask$/, /^text_projection$/, /^logit_scale$/],
  },
}

/** Layers of 2.x that its .ckpt holds but never runs: the text is read one before the last. */
const UNUSED_LAYERS = { hf: 0, openclip: 1 } as const

/**
 * Sizes from the tensors; heads, activation and norm from config.json where there is one. Without it a head is 64 wide, as in
 * every published text encoder of Stable Diffusion, and the layout tells the activation.
 * @throws M4Error `FORMAT_UNSUPPORTED` for an activation that no CLIP has
 */
export function clipTextConfig({ metadata, weights }: CheckpointFacts): ClipTextConfig {
  const layout = findLayout(weights, CLIP_TEXT_LAYOUTS)
  const theirs = (ours: string) => CLIP_TEXT_LAYOUTS[layout].names[ours] as string
  const wide = theirs('text/layers.{}/mlp/fc1')
  const [vocabulary, width] = dimsOf(weights, [theirs('text/embed')]) as [number, number]
  const inFile = countLayers(weights, [wide])
  const activation = factAt(metadata, 'config/hidden_act') ?? (layout === 'hf' ? 'quick_gelu' : 'gelu')
  if (!ACTIVATIONS.includes(activation as ClipTextConfig['activation']))
    throw new M4Error('FORMAT_UNSUPPORTED', `The text encoder's hidden_act is ${JSON.stringify(activation)}.`, {
      hint: `Expected ${ACTIVATIONS.join(' or ')}.`,
    })
  return {
    vocabulary,
    width,
    feedForward: dimsOf(weights, [wide.replace('{}', '0')])[0]!,
    layers: numberFact(metadata, ['config/layers_used'], inFile - UNUSED_LAYERS[layout]),
    heads: numberFact(metadata, ['config/num_attention_heads', 'config/heads'], width % 64 ? undefined : width / 64),
    contextLength: dimsOf(weights, [theirs('text/positions')])[0]!,
    activation: activation as ClipTextConfig['activation'],
    normEpsilon: numberFact(metadata, ['config/layer_norm_eps'], 1e-5),
  }
}

export function clipTextShapes(config: ClipTextConfig): Record<string, readonly number[]> {
  const { vocabulary, width, contextLength } = config
  return stackShapes(Object.keys(CLIP_TEXT_LAYOUTS.hf.names), config, {
    'text/embed': [vocabulary, width],
    'text/positions': [contextLength, width],
  })
}

export function clipTextWeights(config: ClipTextConfig, weights: Weights): Map<string, WeightTensor> {
  const layout = findLayout(weights, CLIP_TEXT_LAYOUTS)
  const beyond = (name: string) => {
    const layer = /^(?:text_model\.encoder\.layers|transformer\.resblocks)\.(\d+)\./.exec(name)?.[1]
    return layer !== undefined && Number(layer) >= config.layers
  }
  const used = new Map([...weights].filter(([name]) => !beyond(name)))
  return resolveWeights(used, CLIP_TEXT_LAYOUTS[layout], config.layers, clipTextShapes(config))
}

/** `ids` int64 [B, T] → `hidden` float32 [B, T, C], after the final norm. */
export function clipTextGraph(
  config: ClipTextConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  options: { readonly quantisation: QuantisationPlan; readonly embedding: EmbeddingKind },
): Graph {
  const g = new GraphBuilder('picture.text')
  const ctx: EmitContext = { weights, plan: options.quantisation, normEpsilon: config.normEpsilon }
  const ids = g.input('ids', 'int64', ['B', 'T'])
  const tokens = embeddingTable(g, ids, need(weights, 'text/embed'), options.embedding, 'embed')
  const length = g.op('Shape', [ids], { start: 1, end: 2 }, 'length')
  const positions = vector(g, need(weights, 'text/positions'), 'positions')
  const places = g.op('Slice', [positions, g.int64([0]), length, g.int64([0])], {}, 'places')
  let x = g.op('Add', [tokens, places], {}, 'in') // [B, T, C]
  for (let l = 0; l < config.layers; l++) {
    const layer = g.scope(`layers.${l}`)
    const path = `text/layers.${l}`
    const attn = layer.scope('attn')
    const h = layerNorm(ctx, attn, x, `${path}/attn/norm`, 'norm')
    const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
    const mixed = attn.op('MultiHeadAttention', [q, k, v], { num_heads: config.heads, unidirectional: 1 }, 'mixed')
    x = attn.op('Add', [x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o')], {}, 'sum')
    const mlp = layer.scope('mlp')
    const wide = dense(ctx, mlp, layerNorm(ctx, mlp, x, `${path}/mlp/norm`, 'norm'), `${path}/mlp/fc1`, 'fc1')
    const active = mlp.op(config.activation === 'gelu' ? 'Gelu' : 'QuickGelu', [wide], {}, 'active')
    x = mlp.op('Add', [x, dense(ctx, mlp, active, `${path}/mlp/fc2`, 'fc2')], {}, 'sum')
  }
  g.output('hidden', layerNorm(ctx, g, x, 'text/norm', 'norm'))
  return g.build()
}

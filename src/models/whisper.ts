/**
 * Whisper: a convolution stem and a transformer encoder over log-mel frames, and a text decoder that attends to them.
 * Reads the OpenAI `.pt`, the Hugging Face and the ggml layouts. Four graphs: log-mel (log-mel.ts), encode, cross, decode.
 *
 * @paper arXiv:2212.04356 · @reference openai/whisper@ba3f3cd:whisper/model.py
 */

import { DTYPES } from '../core/dtypes.js'
import { paddedHeadWidth, sourceHeadRow } from '../core/heads.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import { linear, linearKindOf, type QuantisationPlan, table, vector } from './linear.js'
import { dense, type EmitContext, layerNorm, need, stackShapes } from './transformer.js'
import {
  findLayout,
  mapColumns,
  mapRows,
  type NameTable,
  resolveWeights,
  type Weights,
  type WeightTensor,
} from './weights.js'

export interface WhisperConfig {
  readonly melBands: number
  /** Encoder positions: half as many as mel frames. */
  readonly audioContext: number
  readonly width: number
  readonly heads: number
  readonly encoderLayers: number
  readonly decoderLayers: number
  readonly vocabulary: number
  readonly textContext: number
}

const NORM_EPSILON = 1e-5

/** Width of a head in the decoder's self-attention, padded to what the attention kernel takes (core/heads). */
export const whisperHeadWidth = ({ width, heads }: WhisperConfig) => paddedHeadWidth(width / heads, 8)

const ATTENTION = { '/q': 'query', '/k': 'key', '/v': 'value', '/o': 'out' }
const HF_ATTENTION = { '/q': 'q_proj', '/k': 'k_proj', '/v': 'v_proj', '/o': 'out_proj' }

/** Our name of a weight and its bias → theirs. Whisper's keys have no bias. */
const withBias = (ours: string, theirs: string) => ({ [ours]: `${theirs}.weight`, [`${ours}/bias`]: `${theirs}.bias` })
const attentionNames = (ours: string, theirs: string, parts: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(parts).flatMap(([part, name]) =>
      part === '/k'
        ? [[`${ours}${part}`, `${theirs}.${name}.weight`]]
        : Object.entries(withBias(ours + part, `${theirs}.${name}`)),
    ),
  )

const openaiNames = (prefix: string) => ({
  ...withBias('enc/conv1', `${prefix}encoder.conv1`),
  ...withBias('enc/conv2', `${prefix}encoder.conv2`),
  'enc/positions': `${prefix}encoder.positional_embedding`,
  ...withBias('enc/norm', `${prefix}encoder.ln_post`),
  ...withBias('enc/layers.{}/attn/norm', `${prefix}encoder.blocks.{}.attn_ln`),
  ...attentionNames('enc/layers.{}/attn', `${prefix}encoder.blocks.{}.attn`, ATTENTION),
  ...withBias('enc/layers.{}/mlp/norm', `${prefix}encoder.blocks.{}.mlp_ln`),
  ...withBias('enc/layers.{}/mlp/fc1', `${prefix}encoder.blocks.{}.mlp.0`),
  ...withBias('enc/layers.{}/mlp/fc2', `${prefix}encoder.blocks.{}.mlp.2`),
  'dec/embed': `${prefix}decoder.token_embedding.weight`,
  'dec/positions': `${prefix}decoder.positional_embedding`,
  ...withBias('dec/norm', `${prefix}decoder.ln`),
  ...withBias('dec/layers.{}/attn/norm', `${prefix}decoder.blocks.{}.attn_ln`),
  ...attentionNames('dec/layers.{}/attn', `${prefix}decoder.blocks.{}.attn`, ATTENTION),
  ...withBias('dec/layers.{}/cross/norm', `${prefix}decoder.blocks.{}.cross_attn_ln`),
  ...attentionNames('dec/layers.{}/cross', `${prefix}decoder.blocks.{}.cross_attn`, ATTENTION),
  ...withBias('dec/layers.{}/mlp/norm', `${prefix}decoder.blocks.{}.mlp_ln`),
  ...withBias('dec/layers.{}/mlp/fc1', `${prefix}decoder.blocks.{}.mlp.0`),
  ...withBias('dec/layers.{}/mlp/fc2', `${prefix}decoder.blocks.{}.mlp.2`),
})

export const WHISPER_LAYOUTS: Readonly<
  Record<'openai' | 'ggml' | 'hf', NameTable & { readonly names: Readonly<Record<string, string>> }>
> = {
  /** OpenAI's `{dims, model_state_dict}` pickle; tensor paths are joined with `/` by the reader. */
  openai: { names: openaiNames('model_state_dict/'), ignore: [/decoder\.mask$/, /alignment_heads$/] },
  /** whisper.cpp keeps OpenAI's names. */
  ggml: { names: openaiNames('') },
  hf: {
    names: {
      ...withBias('enc/conv1', 'model.encoder.conv1'),
      ...withBias('enc/conv2', 'model.encoder.conv2'),
      'enc/positions': 'model.encoder.embed_positions.weight',
      ...withBias('enc/norm', 'model.encoder.layer_norm'),
      ...withBias('enc/layers.{}/attn/norm', 'model.encoder.layers.{}.self_attn_layer_norm'),
      ...attentionNames('enc/layers.{}/attn', 'model.encoder.layers.{}.self_attn', HF_ATTENTION),
      ...withBias('enc/layers.{}/mlp/norm', 'model.encoder.layers.{}.final_layer_norm'),
      ...withBias('enc/layers.{}/mlp/fc1', 'model.encoder.layers.{}.fc1'),
      ...withBias('enc/layers.{}/mlp/fc2', 'model.encoder.layers.{}.fc2'),
      'dec/embed': 'model.decoder.embed_tokens.weight',
      'dec/positions': 'model.decoder.embed_positions.weight',
      ...withBias('dec/norm', 'model.decoder.layer_norm'),
      ...withBias('dec/layers.{}/attn/norm', 'model.decoder.layers.{}.self_attn_layer_norm'),
      ...attentionNames('dec/layers.{}/attn', 'model.decoder.layers.{}.self_attn', HF_ATTENTION),
      ...withBias('dec/layers.{}/cross/norm', 'model.decoder.layers.{}.encoder_attn_layer_norm'),
      ...attentionNames('dec/layers.{}/cross', 'model.decoder.layers.{}.encoder_attn', HF_ATTENTION),
      ...withBias('dec/layers.{}/mlp/norm', 'model.decoder.layers.{}.final_layer_norm'),
      ...withBias('dec/layers.{}/mlp/fc1', 'model.decoder.layers.{}.fc1'),
      ...withBias('dec/layers.{}/mlp/fc2', 'model.decoder.layers.{}.fc2'),
    },
    // The head is tied; some files repeat it.
    ignore: [/^proj_out\.weight$/],
  },
}

/** Sizes from the tensors, the number of heads from OpenAI's `dims`, ggml's header or config.json. */
export function whisperConfig({ metadata, weights }: CheckpointFacts): WhisperConfig {
  const { names } = WHISPER_LAYOUTS[findLayout(weights, WHISPER_LAYOUTS)]
  const [vocabulary, width] = dimsOf(weights, [names['dec/embed']!]) as [number, number]
  return {
    melBands: dimsOf(weights, [names['enc/conv1']!])[1]!,
    audioContext: dimsOf(weights, [names['enc/positions']!])[0]!,
    width,
    heads: numberFact(metadata, [
      'dims/n_audio_head',
      'n_audio_head',
      'config/encoder_attention_heads',
      'config/n_audio_head',
    ]),
    encoderLayers: countLayers(weights, [names['enc/layers.{}/mlp/fc1']!]),
    decoderLayers: countLayers(weights, [names['dec/layers.{}/mlp/fc1']!]),
    vocabulary,
    textContext: dimsOf(weights, [names['dec/positions']!])[0]!,
  }
}

/** Expected shapes under our names. */
export function whisperShapes(config: WhisperConfig): Record<string, readonly number[]> {
  const { melBands, audioContext, width, vocabulary, textContext } = config
  return stackShapes(
    Object.keys(WHISPER_LAYOUTS.ggml.names),
    { width, feedForward: 4 * width },
    {
      'enc/conv1': [width, melBands, 3],
      'enc/conv2': [width, width, 3],
      'enc/positions': [audioContext, width],
      'dec/embed': [vocabulary, width],
      'dec/positions': [textContext, width],
    },
  )
}

/** A checkpoint's tensors under our names; the heads of the decoder's self-attention padded where the kernel needs it. */
export function whisperWeights(config: WhisperConfig, weights: Weights): Map<string, WeightTensor> {
  const layout = findLayout(weights, WHISPER_LAYOUTS)
  const layersOf = (name: string) => (name.startsWith('enc/') ? config.encoderLayers : config.decoderLayers)
  const resolved = resolveWeights(weights, WHISPER_LAYOUTS[layout], layersOf, whisperShapes(config))
  const from = config.width / config.heads
  const to = whisperHeadWidth(config)
  if (from === to) return resolved
  const source = (row: number) => sourceHeadRow(row, { from, to, rotary: false })
  const rows = { rows: config.heads * to, group: to, sourceGroup: from }
  for (const [name, tensor] of resolved) {
    const part = /^dec\/layers\.\d+\/attn\/([qkvo])(\/bias)?$/.exec(name)
    if (!part) continue
    if (part[1] !== 'o') resolved.set(name, mapRows(tensor, rows, source))
    else if (!part[2]) resolved.set(name, mapColumns(tensor, config.heads * to, source))
  }
  return resolved
}

export const whisperContext = (weights: ReadonlyMap<string, WeightTensor>, plan: QuantisationPlan): EmitContext => ({
  weights,
  plan,
  normEpsilon: NORM_EPSILON,
})

/** `mel` float32 [B, M, 2P] → `features` float32 [B, P, C]; P up to the audio context, no padding needed. */
export function whisperEncoderGraph(
  config: WhisperConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('speech.encode')
  const ctx = whisperContext(weights, plan)
  const mel = g.input('mel', 'float32', ['B', config.melBands, '2*P'])
  const enc = g.scope('enc')
  let x = whisperStem(ctx, enc, mel)
  for (let l = 0; l < config.encoderLayers; l++) x = whisperEncoderLayer(config, ctx, enc, x, l)
  g.output('features', layerNorm(ctx, enc, x, 'enc/norm', 'norm'))
  return g.build()
}

/** Two convolutions and the places: `mel` [B, M, 2P] → [B, P, C] */
export function whisperStem(ctx: EmitContext, enc: Scope, mel: Value): Value {
  let x = convolution(ctx, enc, mel, 'conv1', 1)
  x = convolution(ctx, enc, x, 'conv2', 2) // [B, C, P]
  x = enc.op('Transpose', [x], { perm: [0, 2, 1] }, 'frames') // [B, P, C]
  const length = enc.op('Shape', [x], { start: 1, end: 2 }, 'length')
  const positions = vector(enc, need(ctx.weights, 'enc/positions'), 'positions')
  const used = enc.op('Slice', [positions, enc.int64([0]), length, enc.int64([0])], {}, 'positionsUsed')
  return enc.op('Add', [x, used], {}, 'positioned')
}

/** Layer `l` of the encoder, counted from 0. [B, P, C] → the same */
export function whisperEncoderLayer(
  { heads }: Pick<WhisperConfig, 'heads'>,
  ctx: EmitContext,
  enc: Scope,
  x: Value,
  l: number,
): Value {
  const layer = enc.scope(`layers.${l}`)
  const path = `enc/layers.${l}`
  const attn = layer.scope('attn')
  const h = layerNorm(ctx, attn, x, `${path}/attn/norm`, 'norm')
  const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
  const mixed = attn.op('MultiHeadAttention', [q, k, v], { num_heads: heads }, 'mixed')
  const attended = layer.op('Add', [x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o')], {}, 'afterAttn')
  return feedForward(ctx, layer, attended, path)
}

function convolution(ctx: EmitContext, scope: Scope, x: Value, name: string, stride: number): Value {
  const weight = vector(scope, need(ctx.weights, `enc/${name}`), `${name}/weight`)
  const bias = vector(scope, need(ctx.weights, `enc/${name}/bias`), `${name}/bias`)
  const y = scope.op('Conv', [x, weight, bias], { pads: [1, 1], strides: [stride] }, name)
  return scope.op('Gelu', [y], {}, `${name}/gelu`)
}

/** x + fc2(gelu(fc1(norm x))) */
function feedForward(ctx: EmitContext, layer: Scope, x: Value, path: string): Value {
  const mlp = layer.scope('mlp')
  const h = layerNorm(ctx, mlp, x, `${path}/mlp/norm`, 'norm')
  const wide = mlp.op('Gelu', [dense(ctx, mlp, h, `${path}/mlp/fc1`, 'fc1')], {}, 'gelu')
  return layer.op('Add', [x, dense(ctx, mlp, wide, `${path}/mlp/fc2`, 'fc2')], {}, 'out')
}

/**
 * Keys and values of the decoder's cross-attention, once per recording.
 * `features` [B, P, C] → `cross/layers.l/{key,value}` [B, H, P, D]
 */
export function whisperCrossGraph(
  config: WhisperConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('speech.cross')
  const ctx = whisperContext(weights, plan)
  const features = g.input('features', 'float32', ['B', 'P', config.width])
  for (let l = 0; l < config.decoderLayers; l++) {
    const scope = g.scope(`dec/layers.${l}/cross`)
    for (const [part, name] of [
      ['k', 'key'],
      ['v', 'value'],
    ] as const) {
      const y = dense(ctx, scope, features, `dec/layers.${l}/cross/${part}`, part)
      const heads = scope.op(
        'Reshape',
        [y, g.int64([0, 0, config.heads, config.width / config.heads])],
        {},
        `${part}Heads`,
      )
      g.output(`cross/layers.${l}/${name}`, scope.op('Transpose', [heads], { perm: [0, 2, 1, 3] }, name))
    }
  }
  return g.build()
}

/**
 *   inputs   ids int64 [B, T] · positions int64 [T] · seqlens_k int32 [B] · total_sequence_length int32 [] · logit_idx int64 [J]
 *            past/layers.l/{key,value} [B, H, S, D'] (in place) · cross/layers.l/{key,value} [B, H, P, D]
 *   outputs  logits [B, J, V] · present/layers.l/{key,value}
 */
export function whisperDecoderGraph(
  config: WhisperConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('speech.decode')
  const ctx = whisperContext(weights, plan)
  const ids = g.input('ids', 'int64', ['B', 'T'])
  const positions = g.input('positions', 'int64', ['T'])
  const seqlens = g.input('seqlens_k', 'int32', ['B'])
  const total = g.input('total_sequence_length', 'int32', [])
  const wanted = g.input('logit_idx', 'int64', ['J'])
  const scale = 1 / Math.sqrt(config.width / config.heads)
  const dec = g.scope('dec')
  const headKind = linearKindOf(plan, 'dec/embed')
  const half = headKind !== 'fp32'
  const embed = table(dec, need(weights, 'dec/embed'), half ? 'float16' : 'float32', 'embed/weight') // [V, C]
  const widened = (value: Value, name: string) =>
    half ? dec.op('Cast', [value], { to: DTYPES.float32.onnx }, name) : value
  const tokens = widened(dec.op('Gather', [embed, ids], { axis: 0 }, 'tokens'), 'tokensWide') // [B, T, C]
  const places = dec.op(
    'Gather',
    [vector(dec, need(weights, 'dec/positions'), 'positions'), positions],
    { axis: 0 },
    'places',
  )
  let x = dec.op('Add', [tokens, places], {}, 'in')
  for (let l = 0; l < config.decoderLayers; l++) {
    const layer = dec.scope(`layers.${l}`)
    const path = `dec/layers.${l}`
    const attn = layer.scope('attn')
    const h = layerNorm(ctx, attn, x, `${path}/attn/norm`, 'norm')
    const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
    const past = ['key', 'value'].map((kind) =>
      g.input(`past/layers.${l}/${kind}`, 'float32', ['B', config.heads, 'S', whisperHeadWidth(config)]),
    )
    const [mixed, key, value] = attn.ops(
      'GroupQueryAttention',
      [q, k, v, ...past, seqlens, total],
      { num_heads: config.heads, kv_num_heads: config.heads, scale },
      ['mixed', 'presentKey', 'presentValue'],
    )
    g.output(`present/layers.${l}/key`, key!)
    g.output(`present/layers.${l}/value`, value!)
    x = layer.op('Add', [x, dense(ctx, attn, mixed!, `${path}/attn/o`, 'o')], {}, 'afterAttn')

    const cross = layer.scope('cross')
    const query = dense(ctx, cross, layerNorm(ctx, cross, x, `${path}/cross/norm`, 'norm'), `${path}/cross/q`, 'q')
    const heard = ['key', 'value'].map((kind) =>
      g.input(`cross/layers.${l}/${kind}`, 'float32', ['B', config.heads, 'P', config.width / config.heads]),
    )
    const found = cross.op('MultiHeadAttention', [query, ...heard], { num_heads: config.heads }, 'mixed')
    x = layer.op('Add', [x, dense(ctx, cross, found, `${path}/cross/o`, 'o')], {}, 'afterCross')
    x = feedForward(ctx, layer, x, path)
  }
  const last = dec.op('Gather', [x, wanted], { axis: 1 }, 'wanted')
  const normed = layerNorm(ctx, dec, last, 'dec/norm', 'norm')
  const quantised = headKind !== 'fp32' && headKind !== 'fp16'
  // Tied head: the same table, transposed at load, so that the file holds it once.
  const logits = quantised
    ? linear(dec, normed, need(weights, 'dec/embed'), headKind, 'head')
    : dec.op(
        'MatMul',
        [normed, dec.op('Transpose', [widened(embed, 'headWide')], { perm: [1, 0] }, 'headWeight')],
        {},
        'head',
      )
  g.output('logits', logits)
  return g.build()
}

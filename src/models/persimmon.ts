/**
 * Persimmon decoder, the language model of Fuyu-8B: LayerNorm and biases everywhere, normed queries and keys, rotary positions on
 * half of each head, ReLU² feed-forward. The same inputs, outputs and caches as the LLaMA decoder.
 *
 * @see https://huggingface.co/adept/persimmon-8b-base · @paper ReLU² arXiv:2109.08668
 * @reference huggingface/transformers src/transformers/models/persimmon/modeling_persimmon.py
 */

import { M4Error } from '../core/errors.js'
import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { type EmbeddingKind, embeddingTable } from './embedding.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import { linear, linearKindOf, type QuantisationPlan } from './linear.js'
import { dense, type EmitContext, layerNorm, need } from './transformer.js'
import { findLayout, mapRows, type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface PersimmonConfig {
  readonly vocabulary: number
  readonly width: number
  readonly feedForward: number
  readonly layers: number
  readonly heads: number
  /** width / heads; the attention kernel wants a multiple of 16. */
  readonly headWidth: number
  /** Dimensions of a head that turn with the position: the first ones of the checkpoint. */
  readonly rotaryWidth: number
  readonly contextLength: number
  readonly normEpsilon: number
  readonly ropeTheta: number
  /** Numbers of one patch of a picture, 0 without pictures. */
  readonly patchWidth: number
}

const withBias = (ours: string, theirs: string) => ({ [ours]: `${theirs}.weight`, [`${ours}/bias`]: `${theirs}.bias` })

const layout = (prefix: string): Record<string, string> => ({
  embed: `${prefix}model.embed_tokens.weight`,
  ...withBias('layers.{}/attn/norm', `${prefix}model.layers.{}.input_layernorm`),
  ...withBias('layers.{}/attn/qkv', `${prefix}model.layers.{}.self_attn.query_key_value`),
  ...withBias('layers.{}/attn/q/norm', `${prefix}model.layers.{}.self_attn.q_layernorm`),
  ...withBias('layers.{}/attn/k/norm', `${prefix}model.layers.{}.self_attn.k_layernorm`),
  ...withBias('layers.{}/attn/o', `${prefix}model.layers.{}.self_attn.dense`),
  ...withBias('layers.{}/mlp/norm', `${prefix}model.layers.{}.post_attention_layernorm`),
  ...withBias('layers.{}/mlp/up', `${prefix}model.layers.{}.mlp.dense_h_to_4h`),
  ...withBias('layers.{}/mlp/down', `${prefix}model.layers.{}.mlp.dense_4h_to_h`),
  ...withBias('norm', `${prefix}model.final_layernorm`),
  head: `${prefix}lm_head.weight`,
})

const IGNORE = [/rotary_emb\.inv_freq$/]

/** Fuyu has the decoder below `language_model` and one linear layer for patches. */
export const PERSIMMON_LAYOUTS = {
  fuyu: { names: { ...layout('language_model.'), ...withBias('patches', 'vision_embed_tokens') }, ignore: IGNORE },
  persimmon: { names: layout(''), ignore: IGNORE },
} as const satisfies Record<string, NameTable>

/** Sizes from the tensors, the rest from config.json (Fuyu's own keys lie in `text_config` in newer files). @throws M4Error `FORMAT_INVALID` */
export function persimmonConfig({ metadata, weights }: CheckpointFacts): PersimmonConfig {
  const { names } = PERSIMMON_LAYOUTS[findLayout(weights, PERSIMMON_LAYOUTS)] as NameTable
  const name = (ours: string) => String(names[ours])
  const fact = (key: string, fallback?: number) =>
    numberFact(metadata, [`config/text_config/${key}`, `config/${key}`], fallback)
  const [vocabulary, width] = dimsOf(weights, [name('embed')]) as [number, number]
  const heads = fact('num_attention_heads')
  const headWidth = width / heads
  return {
    vocabulary,
    width,
    feedForward: dimsOf(weights, [name('layers.{}/mlp/up').replace('{}', '0')])[0]!,
    layers: countLayers(weights, [name('layers.{}/mlp/up')]),
    heads,
    headWidth,
    rotaryWidth: Math.trunc(fact('partial_rotary_factor', 0.5) * headWidth),
    contextLength: fact('max_position_embeddings', 16_384),
    normEpsilon: fact('layer_norm_eps', 1e-5),
    ropeTheta: fact('rope_theta', 25_000),
    patchWidth: names.patches ? dimsOf(weights, [name('patches')])[1]! : 0,
  }
}

/** Expected shapes under our names, as the checkpoint has them. */
export function persimmonShapes(config: PersimmonConfig): Record<string, readonly number[]> {
  const { vocabulary, width, feedForward, headWidth, patchWidth } = config
  const matrices: Record<string, readonly [number, number]> = {
    'layers.{}/attn/qkv': [3 * width, width],
    'layers.{}/attn/o': [width, width],
    'layers.{}/mlp/up': [feedForward, width],
    'layers.{}/mlp/down': [width, feedForward],
    ...(patchWidth ? { patches: [width, patchWidth] } : {}),
  }
  const vectors: Record<string, number> = {
    'layers.{}/attn/norm': width,
    'layers.{}/attn/q/norm': headWidth,
    'layers.{}/attn/k/norm': headWidth,
    'layers.{}/mlp/norm': width,
    norm: width,
  }
  const shapes: Record<string, readonly number[]> = { embed: [vocabulary, width], head: [vocabulary, width] }
  for (const [name, dims] of Object.entries(matrices))
    Object.assign(shapes, { [name]: dims, [`${name}/bias`]: [dims[0]] })
  for (const [name, size] of Object.entries(vectors))
    Object.assign(shapes, { [name]: [size], [`${name}/bias`]: [size] })
  return shapes
}

const PARTS = ['q', 'k', 'v'] as const

/**
 * Ready for the graph: q, k and v apart (the checkpoint has them head by head, [head][q, k, v]), and heads in the order that the
 * kernel turns: pairs (j, j + D/2), those that do not turn behind each half.
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`, `FORMAT_UNSUPPORTED`
 */
export function persimmonWeights(config: PersimmonConfig, weights: Weights): Map<string, WeightTensor> {
  const names = PERSIMMON_LAYOUTS[findLayout(weights, PERSIMMON_LAYOUTS)] as NameTable
  return arrangePersimmon(config, resolveWeights(weights, names, config.layers, persimmonShapes(config)))
}

/** The checkpoint's tensors under our names (of any origin) as the graph takes them. @throws M4Error `FORMAT_UNSUPPORTED` */
export function arrangePersimmon(
  config: PersimmonConfig,
  raw: ReadonlyMap<string, WeightTensor>,
): Map<string, WeightTensor> {
  const { heads, headWidth } = config
  if (headWidth % 16 !== 0)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `Heads of ${headWidth} are no multiple of 16, and normed heads cannot be padded.`,
      {
        hint: 'Fuyu-8B and Persimmon-8B have heads of 64.',
      },
    )
  const out = new Map(raw)
  const inside = (row: number, rotary: boolean) => (rotary ? sourceOf(config, row % headWidth) : row % headWidth)
  for (let l = 0; l < config.layers; l++) {
    for (const suffix of ['', '/bias']) {
      const fused = need(raw, `layers.${l}/attn/qkv${suffix}`)
      for (const [i, part] of PARTS.entries())
        out.set(
          `layers.${l}/attn/${part}${suffix}`,
          mapRows(fused, { rows: heads * headWidth, group: headWidth, sourceGroup: 3 * headWidth }, (row) => {
            const head = Math.floor(row / headWidth)
            return (3 * head + i) * headWidth + inside(row, part !== 'v')
          }),
        )
      for (const norm of ['q/norm', 'k/norm']) {
        const name = `layers.${l}/attn/${norm}${suffix}`
        const whole = { rows: headWidth, group: headWidth, sourceGroup: headWidth }
        out.set(
          name,
          mapRows(need(raw, name), whole, (row) => inside(row, true)),
        )
      }
      out.delete(`layers.${l}/attn/qkv${suffix}`)
    }
  }
  return out
}

/** Dimension of the checkpoint's head that stands at `at` of the graph's. */
function sourceOf({ headWidth, rotaryWidth }: PersimmonConfig, at: number): number {
  const [half, pairs] = [headWidth / 2, rotaryWidth / 2]
  const second = at >= half
  const pair = second ? at - half : at
  if (pair < pairs) return pair + (second ? pairs : 0)
  return rotaryWidth + (pair - pairs) + (second ? half - pairs : 0)
}

/** `ids` int64 [B, T] → `embeddings` float32 [B, T, C] */
export function persimmonEmbedGraph(weights: ReadonlyMap<string, WeightTensor>, kind: EmbeddingKind): Graph {
  const g = new GraphBuilder('backbone.embed')
  g.output('embeddings', embeddingTable(g, g.input('ids', 'int64', ['B', 'T']), need(weights, 'embed'), kind, 'embed'))
  return g.build()
}

/** Inputs and outputs as `llamaDecoderGraph`, without adapters. */
export function persimmonDecoderGraph(
  config: PersimmonConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('backbone.decode')
  const ctx: Decoder = {
    emit: { weights, plan, normEpsilon: config.normEpsilon },
    config,
    root: g,
    seqlens: g.input('seqlens_k', 'int32', ['B']),
    total: g.input('total_sequence_length', 'int32', []),
    ...rotaryTables(g, config),
  }
  let x = g.input('inputs_embeds', 'float32', ['B', 'T', config.width]) // [B, T, C]
  const wanted = g.input('logit_idx', 'int64', ['J'])
  for (let l = 0; l < config.layers; l++) {
    const layer = g.scope(`layers.${l}`)
    x = layer.op('Add', [x, attention(ctx, layer.scope('attn'), x, l)], {}, 'afterAttn')
    x = layer.op('Add', [x, feedForward(ctx, layer.scope('mlp'), x, l)], {}, 'out')
  }
  const last = g.op('Gather', [x, wanted], { axis: 1 }, 'wanted') // [B, J, C]
  const normed = layerNorm(ctx.emit, g, last, 'norm', 'normed')
  g.output('logits', linear(g, normed, need(weights, 'head'), linearKindOf(plan, 'head'), 'head')) // [B, J, V]
  return g.build()
}

interface Decoder {
  readonly emit: EmitContext
  readonly config: PersimmonConfig
  readonly root: GraphBuilder
  readonly seqlens: Value
  readonly total: Value
  readonly cos: Value
  readonly sin: Value
}

function attention(
  { emit, config, root, seqlens, total, cos, sin }: Decoder,
  scope: Scope,
  x: Value,
  l: number,
): Value {
  const { heads, headWidth, width } = config
  const path = `layers.${l}/attn`
  const h = layerNorm(emit, scope, x, `${path}/norm`, 'norm')
  const [q, k, v] = PARTS.map((part) => dense(emit, scope, h, `${path}/${part}`, part)) as [Value, Value, Value]
  /** Each head to mean 0 and deviation 1. */
  const headNorm = (rows: Value, name: string) => {
    const byHead = scope.op('Reshape', [rows, scope.int64([0, 0, heads, headWidth])], {}, `${name}/byHead`)
    const normed = layerNorm(emit, scope, byHead, `${path}/${name}`, name)
    return scope.op('Reshape', [normed, scope.int64([0, 0, width])], {}, `${name}/flat`)
  }
  const past = ['key', 'value'].map((kind) =>
    root.input(`past/layers.${l}/${kind}`, 'float32', ['B', heads, 'S', headWidth]),
  )
  const [mixed, key, value] = scope.ops(
    'GroupQueryAttention',
    [headNorm(q, 'q/norm'), headNorm(k, 'k/norm'), v, ...past, seqlens, total, cos, sin],
    { num_heads: heads, kv_num_heads: heads, scale: 1 / Math.sqrt(headWidth), do_rotary: 1, rotary_interleaved: 0 },
    ['mixed', 'presentKey', 'presentValue'],
  )
  root.output(`present/layers.${l}/key`, key!)
  root.output(`present/layers.${l}/value`, value!)
  return dense(emit, scope, mixed!, `${path}/o`, 'o')
}

/** down(relu(up x)²) */
function feedForward({ emit }: Decoder, scope: Scope, x: Value, l: number): Value {
  const path = `layers.${l}/mlp`
  const h = layerNorm(emit, scope, x, `${path}/norm`, 'norm')
  const relu = scope.op('Relu', [dense(emit, scope, h, `${path}/up`, 'up')], {}, 'relu')
  return dense(emit, scope, scope.op('Mul', [relu, relu], {}, 'squared'), `${path}/down`, 'down')
}

/** cos and sin of position · theta^(-2j/R) for the R that turn; the others keep cos 1 and sin 0. [context, D/2] */
function rotaryTables(g: GraphBuilder, config: PersimmonConfig): { cos: Value; sin: Value } {
  const { contextLength, headWidth, rotaryWidth, ropeTheta } = config
  const pairs = headWidth / 2
  const emit = (name: string, of: (angle: number) => number) =>
    g.initializer(
      `rotary/${name}`,
      lazyTensor('float32', [contextLength, pairs], () => {
        const out = new Float32Array(contextLength * pairs)
        for (let position = 0; position < contextLength; position++)
          for (let j = 0; j < pairs; j++)
            out[position * pairs + j] = of(2 * j < rotaryWidth ? position * ropeTheta ** ((-2 * j) / rotaryWidth) : 0)
        return bytesOf(out)
      }),
    )
  return { cos: emit('cos', Math.cos), sin: emit('sin', Math.sin) }
}

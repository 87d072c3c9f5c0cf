/**
 * LLaMA-family decoder: RMSNorm, rotary positions, (grouped) attention, SwiGLU. LLaMA 1 and 2, Vicuna, TinyLlama. Its checkpoints
 * are read by llama-weights.ts.
 *
 * @paper arXiv:2302.13971, arXiv:2307.09288 · LoRA arXiv:2106.09685 · grouped queries arXiv:2305.13245
 */

import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../graph/index.js'
import { type EmbeddingKind, embeddingTable } from './embedding.js'
import { linear, linearKindOf, type QuantisationPlan, vector } from './linear.js'
import { type GatedPromptAttention, gatedPromptAttention } from './llama-prompt.js'
import type { LlamaConfig } from './llama-weights.js'
import { need } from './transformer.js'
import { stackRows, type WeightTensor } from './weights.js'

export type LoraSite = 'qkv' | 'o' | 'gateUp' | 'down'

export interface LlamaOptions {
  readonly quantisation: QuantisationPlan
  readonly embedding: EmbeddingKind
  /** Where adapters may attach. Each site costs two graph inputs a layer. */
  readonly loraSites: readonly LoraSite[]
  /** Inputs for LLaMA-Adapter at every layer: see llama-prompt.ts. Default: none, and no node more. */
  readonly gatedPrompt?: boolean
}

/** One attachment point of adapters: y += x·A·B with A = [A_part | …] side by side and B block-diagonal. */
export interface LoraSiteShape {
  readonly parts: readonly { readonly name: string; readonly out: number }[]
  readonly in: number
}

/** The LoRA sites of a model of this configuration: the part of the ABI that adapters depend on. */
export function loraSites(config: LlamaConfig): Readonly<Record<LoraSite, LoraSiteShape>> {
  const { width, feedForward, heads, kvHeads, headWidth } = config
  return {
    qkv: {
      in: width,
      parts: [
        { name: 'q', out: heads * headWidth },
        { name: 'k', out: kvHeads * headWidth },
        { name: 'v', out: kvHeads * headWidth },
      ],
    },
    o: { in: heads * headWidth, parts: [{ name: 'o', out: width }] },
    gateUp: {
      in: width,
      parts: [
        { name: 'gate', out: feedForward },
        { name: 'up', out: feedForward },
      ],
    },
    down: { in: feedForward, parts: [{ name: 'down', out: width }] },
  }
}

/** Where each site sits in a layer: `layers.3/attn/qkv`. */
export const LORA_SITE_PATHS: Readonly<Record<LoraSite, string>> = {
  qkv: 'attn/qkv',
  o: 'attn/o',
  gateUp: 'mlp/gateUp',
  down: 'mlp/down',
}
/**
 * Token ids → embeddings, apart from the decoder so that soft tokens from other encoders can be spliced between.
 * `ids` int64 [B, T] → `embeddings` float32 [B, T, C]
 */
export function llamaEmbedGraph(weights: ReadonlyMap<string, WeightTensor>, kind: EmbeddingKind): Graph {
  const g = new GraphBuilder('backbone.embed')
  const ids = g.input('ids', 'int64', ['B', 'T'])
  g.output('embeddings', embeddingTable(g, ids, need(weights, 'embed'), kind, 'embed'))
  return g.build()
}

/**
 * The decoder over `inputs_embeds`, KV caches bound in place.
 *
 *   inputs   inputs_embeds [B, T, C] · seqlens_k int32 [B] (last position) · total_sequence_length int32 []
 *            logit_idx int64 [J] (positions of this step whose logits are wanted)
 *            past/layers.l/{key,value} [B, K, S, D] · prompt/layers.l/{key,value,gate} with `gatedPrompt` · lora/layers.l/<site>/{A [B, in, R], B [B, R, out]}, rank 0 is the base
 *   outputs  logits [B, J, V] · present/layers.l/{key,value}
 */
export function llamaDecoderGraph(
  config: LlamaConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  options: LlamaOptions,
): Graph {
  const g = new GraphBuilder('backbone.decode')
  const ctx: DecoderContext = {
    config,
    options,
    weights,
    root: g,
    seqlens: g.input('seqlens_k', 'int32', ['B']),
    total: g.input('total_sequence_length', 'int32', []),
    ...rotaryTables(g, config),
    loraIn: (path, site) => {
      const shape = loraSites(config)[site]
      const out = shape.parts.reduce((sum, part) => sum + part.out, 0)
      return {
        // One symbol has one size: the rank of each kind of site gets its own.
        a: g.input(`lora/${path}/A`, 'float32', ['B', shape.in, `R_${site}`]),
        b: g.input(`lora/${path}/B`, 'float32', ['B', `R_${site}`, out]),
      }
    },
  }
  let x = g.input('inputs_embeds', 'float32', ['B', 'T', config.width]) // [B, T, C]
  if (options.gatedPrompt) ctx.gatedPrompt = gatedPromptAttention(g, config, { x, ...ctx })
  const wanted = g.input('logit_idx', 'int64', ['J'])
  for (let l = 0; l < config.layers; l++) {
    const layer = g.scope(`layers.${l}`)
    x = layer.op('Add', [x, attention(ctx, layer.scope('attn'), x, l)], {}, 'afterAttn')
    x = layer.op('Add', [x, feedForward(ctx, layer.scope('mlp'), x, l)], {}, 'out')
  }
  const last = g.op('Gather', [x, wanted], { axis: 1 }, 'wanted') // [B, J, C]
  const normed = rmsNorm(ctx, g, last, 'norm')
  g.output('logits', linear(g, normed, need(weights, 'head'), linearKindOf(options.quantisation, 'head'), 'head')) // [B, J, V]
  return g.build()
}

interface DecoderContext {
  readonly config: LlamaConfig
  readonly options: LlamaOptions
  readonly weights: ReadonlyMap<string, WeightTensor>
  readonly root: GraphBuilder
  readonly seqlens: Value
  readonly total: Value
  readonly cos: Value
  readonly sin: Value
  readonly loraIn: (path: string, site: LoraSite) => { a: Value; b: Value }
  gatedPrompt?: GatedPromptAttention
}

/**
 *   x ─ norm ─ q|k|v (+ LoRA) ─ GroupQueryAttention(rotary, KV cache) ─ o (+ LoRA)
 */
function attention(ctx: DecoderContext, scope: Scope, x: Value, l: number): Value {
  const { config, root } = ctx
  const { heads, kvHeads, headWidth, scoreWidth = headWidth } = config
  const h = rmsNorm(ctx, scope, x, `layers.${l}/attn/norm`)
  const products = queryKeyValue(ctx, scope, h, l) // [B, T, (H+2K)·D]
  const delta = loraDelta(ctx, scope, h, l, 'qkv')
  const qkv = delta ? scope.op('Add', [products, delta], {}, 'qkvAdapted') : products
  const past = ['key', 'value'].map((kind) =>
    root.input(`past/layers.${l}/${kind}`, 'float32', ['B', kvHeads, 'S', headWidth]),
  )
  const [mixed, key, value] = scope.ops(
    'GroupQueryAttention',
    [qkv, undefined, undefined, ...past, ctx.seqlens, ctx.total, ctx.cos, ctx.sin],
    { num_heads: heads, kv_num_heads: kvHeads, scale: 1 / Math.sqrt(scoreWidth), do_rotary: 1, rotary_interleaved: 0 },
    ['mixed', 'presentKey', 'presentValue'],
  )
  root.output(`present/layers.${l}/key`, key!)
  root.output(`present/layers.${l}/value`, value!)
  const seen = ctx.gatedPrompt ? ctx.gatedPrompt(scope, mixed!, qkv, l) : mixed!
  return withLora(ctx, scope, dense(ctx, scope, seen, `layers.${l}/attn/o`, 'o'), seen, l, 'o')
}

/**
 * q, k and v side by side: one product where all three are stored alike (their input is then quantised once, not three times),
 * else three and a Concat.
 */
function queryKeyValue(ctx: DecoderContext, scope: Scope, h: Value, l: number): Value {
  const parts = ['q', 'k', 'v'].map((part) => ({ part, path: `layers.${l}/attn/${part}` }))
  const kinds = parts.map(({ path }) => linearKindOf(ctx.options.quantisation, path))
  if (kinds.every((kind) => kind === kinds[0])) {
    const stacked = stackRows(parts.map(({ path }) => need(ctx.weights, path)))
    return linear(scope, h, stacked, kinds[0]!, 'qkv')
  }
  const products = parts.map(({ part, path }) => dense(ctx, scope, h, path, part))
  return scope.op('Concat', products, { axis: -1 }, 'qkv')
}

/** down(silu(gate x) ⊙ up x) */
function feedForward(ctx: DecoderContext, scope: Scope, x: Value, l: number): Value {
  const h = rmsNorm(ctx, scope, x, `layers.${l}/mlp/norm`)
  let gate = dense(ctx, scope, h, `layers.${l}/mlp/gate`, 'gate')
  let up = dense(ctx, scope, h, `layers.${l}/mlp/up`, 'up') // [B, T, F]
  const delta = loraDelta(ctx, scope, h, l, 'gateUp')
  if (delta) {
    const [forGate, forUp] = scope.ops('Split', [delta], { axis: -1, num_outputs: 2 }, ['gateDelta', 'upDelta'])
    gate = scope.op('Add', [gate, forGate!], {}, 'gateAdapted')
    up = scope.op('Add', [up, forUp!], {}, 'upAdapted')
  }
  const silu = scope.op('Mul', [gate, scope.op('Sigmoid', [gate], {}, 'sigmoid')], {}, 'silu')
  const product = scope.op('Mul', [silu, up], {}, 'product')
  return withLora(ctx, scope, dense(ctx, scope, product, `layers.${l}/mlp/down`, 'down'), product, l, 'down')
}

function withLora(ctx: DecoderContext, scope: Scope, y: Value, x: Value, l: number, site: LoraSite): Value {
  const delta = loraDelta(ctx, scope, x, l, site)
  return delta ? scope.op('Add', [y, delta], {}, `${site}Adapted`) : y
}

/** x·A·B [B, T, out] of a site's adapter, or undefined where the plan has no such site. */
function loraDelta(ctx: DecoderContext, scope: Scope, x: Value, l: number, site: LoraSite): Value | undefined {
  if (!ctx.options.loraSites.includes(site)) return undefined
  const { a, b } = ctx.loraIn(`layers.${l}/${LORA_SITE_PATHS[site]}`, site)
  return scope.op('MatMul', [scope.op('MatMul', [x, a], {}, `${site}LoraA`), b], {}, `${site}LoraB`)
}

function dense(ctx: DecoderContext, scope: Scope, x: Value, path: string, name: string): Value {
  return linear(scope, x, need(ctx.weights, path), linearKindOf(ctx.options.quantisation, path), name)
}

function rmsNorm(ctx: DecoderContext, scope: Scope, x: Value, path: string): Value {
  const weight = vector(scope, need(ctx.weights, path), 'normWeight')
  return scope.op('SimplifiedLayerNormalization', [x, weight], { axis: -1, epsilon: ctx.config.normEpsilon }, 'normed')
}

/** cos and sin of position · theta^(-2j/D), [context, D/2]. Padded pairs do not turn. */
function rotaryTables(g: GraphBuilder, config: LlamaConfig): { cos: Value; sin: Value } {
  const { contextLength, headWidth, scoreWidth = headWidth, ropeTheta } = config
  const pairs = headWidth / 2
  const table = (of: (angle: number) => number) => () => {
    const out = new Float32Array(contextLength * pairs)
    for (let position = 0; position < contextLength; position++)
      for (let j = 0; j < pairs; j++)
        out[position * pairs + j] = of(j < scoreWidth / 2 ? position * ropeTheta ** ((-2 * j) / scoreWidth) : 0)
    return bytesOf(out)
  }
  const emit = (name: string, of: (angle: number) => number) =>
    g.initializer(`rotary/${name}`, lazyTensor('float32', [contextLength, pairs], table(of)))
  return { cos: emit('cos', Math.cos), sin: emit('sin', Math.sin) }
}

/**
 * LLaMA-family decoder: RMSNorm, rotary positions, (grouped) attention, SwiGLU. LLaMA 1 and 2, Vicuna, TinyLlama.
 * Reads the Hugging Face, Meta, GGUF and lit-llama layouts; inside, rotary pairs are (j, j + D/2) as in Hugging Face, so that
 * adapters trained there fit without change.
 *
 * @paper arXiv:2302.13971, arXiv:2307.09288 · LoRA arXiv:2106.09685 · grouped queries arXiv:2305.13245
 */

import { M4Error } from '../core/errors.js'
import { interleavedRow, paddedHeadWidth, sourceHeadRow } from '../core/heads.js'
import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { type EmbeddingKind, embeddingTable } from './embedding.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import { linear, linearKindOf, type QuantisationPlan, vector } from './linear.js'
import { type GatedPromptAttention, gatedPromptAttention } from './llama-prompt.js'
import { need } from './transformer.js'
import {
  findLayout,
  mapColumns,
  mapRows,
  type NameTable,
  resolveWeights,
  stackRows,
  type Weights,
  type WeightTensor,
} from './weights.js'

export interface LlamaConfig {
  readonly vocabulary: number
  readonly width: number
  readonly feedForward: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  /** Usually width / heads. A graph needs a multiple of 16: see `padHeads`. */
  readonly headWidth: number
  readonly contextLength: number
  readonly normEpsilon: number
  readonly ropeTheta: number
  /** Head width before padding: scores are divided by its root. Default: headWidth. */
  readonly scoreWidth?: number
}

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

type Rope = 'half' | 'interleaved'

/** How public checkpoints name the same tensors, and how each pairs its rotary dimensions. */
export const LLAMA_LAYOUTS = {
  hf: {
    rope: 'half' as Rope,
    names: {
      embed: 'model.embed_tokens.weight',
      'layers.{}/attn/norm': 'model.layers.{}.input_layernorm.weight',
      'layers.{}/attn/q': 'model.layers.{}.self_attn.q_proj.weight',
      'layers.{}/attn/k': 'model.layers.{}.self_attn.k_proj.weight',
      'layers.{}/attn/v': 'model.layers.{}.self_attn.v_proj.weight',
      'layers.{}/attn/o': 'model.layers.{}.self_attn.o_proj.weight',
      'layers.{}/mlp/norm': 'model.layers.{}.post_attention_layernorm.weight',
      'layers.{}/mlp/gate': 'model.layers.{}.mlp.gate_proj.weight',
      'layers.{}/mlp/up': 'model.layers.{}.mlp.up_proj.weight',
      'layers.{}/mlp/down': 'model.layers.{}.mlp.down_proj.weight',
      norm: 'model.norm.weight',
      head: 'lm_head.weight',
    },
    optional: ['head'],
    ignore: [/rotary_emb\.inv_freq$/],
  },
  meta: {
    rope: 'interleaved' as Rope,
    names: {
      embed: 'tok_embeddings.weight',
      'layers.{}/attn/norm': 'layers.{}.attention_norm.weight',
      'layers.{}/attn/q': 'layers.{}.attention.wq.weight',
      'layers.{}/attn/k': 'layers.{}.attention.wk.weight',
      'layers.{}/attn/v': 'layers.{}.attention.wv.weight',
      'layers.{}/attn/o': 'layers.{}.attention.wo.weight',
      'layers.{}/mlp/norm': 'layers.{}.ffn_norm.weight',
      'layers.{}/mlp/gate': 'layers.{}.feed_forward.w1.weight',
      'layers.{}/mlp/up': 'layers.{}.feed_forward.w3.weight',
      'layers.{}/mlp/down': 'layers.{}.feed_forward.w2.weight',
      norm: 'norm.weight',
      head: 'output.weight',
    },
    optional: ['head'],
    ignore: [/^rope\.freqs$/, /^layers\.\d+\.attention\.mask$/],
  },
  /** llama.cpp keeps Meta's interleaved pairs whatever the file was converted from. */
  gguf: {
    rope: 'interleaved' as Rope,
    names: {
      embed: 'token_embd.weight',
      'layers.{}/attn/norm': 'blk.{}.attn_norm.weight',
      'layers.{}/attn/q': 'blk.{}.attn_q.weight',
      'layers.{}/attn/k': 'blk.{}.attn_k.weight',
      'layers.{}/attn/v': 'blk.{}.attn_v.weight',
      'layers.{}/attn/o': 'blk.{}.attn_output.weight',
      'layers.{}/mlp/norm': 'blk.{}.ffn_norm.weight',
      'layers.{}/mlp/gate': 'blk.{}.ffn_gate.weight',
      'layers.{}/mlp/up': 'blk.{}.ffn_up.weight',
      'layers.{}/mlp/down': 'blk.{}.ffn_down.weight',
      norm: 'output_norm.weight',
      head: 'output.weight',
    },
    optional: ['head'],
  },
  /** lit-llama fuses q, k and v in one matrix (all heads are full: no grouped queries there). */
  litllama: {
    rope: 'interleaved' as Rope,
    names: {
      embed: 'transformer.wte.weight',
      'layers.{}/attn/norm': 'transformer.h.{}.rms_1.scale',
      'layers.{}/attn/q': { name: 'transformer.h.{}.attn.c_attn.weight', part: 0, of: 3 },
      'layers.{}/attn/k': { name: 'transformer.h.{}.attn.c_attn.weight', part: 1, of: 3 },
      'layers.{}/attn/v': { name: 'transformer.h.{}.attn.c_attn.weight', part: 2, of: 3 },
      'layers.{}/attn/o': 'transformer.h.{}.attn.c_proj.weight',
      'layers.{}/mlp/norm': 'transformer.h.{}.rms_2.scale',
      'layers.{}/mlp/gate': 'transformer.h.{}.mlp.c_fc1.weight',
      'layers.{}/mlp/up': 'transformer.h.{}.mlp.c_fc2.weight',
      'layers.{}/mlp/down': 'transformer.h.{}.mlp.c_proj.weight',
      norm: 'transformer.ln_f.scale',
      head: 'lm_head.weight',
    },
    optional: [] as string[],
  },
} as const satisfies Record<string, NameTable & { rope: Rope }>

export type LlamaLayout = keyof typeof LLAMA_LAYOUTS

/**
 * Sizes from the tensors, the rest from what the checkpoint says (GGUF keys, config.json, params.json as it is).
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for rotary scaling, which these graphs do not have
 */
export function llamaConfig({ metadata, weights }: CheckpointFacts): LlamaConfig {
  const layout = LLAMA_LAYOUTS[findLayout(weights, LLAMA_LAYOUTS)]
  const names = layout.names
  const [vocabulary, width] = dimsOf(weights, [names.embed]) as [number, number]
  const heads = numberFact(metadata, [
    'llama.attention.head_count',
    'config/num_attention_heads',
    'n_heads',
    'config/n_head',
    'config/n_heads',
  ])
  const scaling = rotaryScaling(metadata)
  if (scaling)
    throw new M4Error('FORMAT_UNSUPPORTED', `Rotary scaling ${JSON.stringify(scaling)} is not supported.`, {
      hint: 'Use a checkpoint with plain rotary positions (LLaMA 1 and 2, TinyLlama, Vicuna).',
    })
  return {
    vocabulary,
    width,
    feedForward: dimsOf(weights, [names['layers.{}/mlp/gate'].replace('{}', '0')])[0]!,
    layers: countLayers(weights, [names['layers.{}/attn/norm']]),
    heads,
    kvHeads: numberFact(
      metadata,
      ['llama.attention.head_count_kv', 'config/num_key_value_heads', 'n_kv_heads', 'config/n_kv_heads'],
      heads,
    ),
    headWidth: numberFact(metadata, ['llama.attention.key_length', 'config/head_dim'], width / heads),
    contextLength: numberFact(
      metadata,
      [
        'llama.context_length',
        'config/max_position_embeddings',
        'max_seq_len',
        'config/max_seq_len',
        'config/block_size',
      ],
      2048,
    ),
    // lit-llama hard-codes 1e-5 and writes no configuration.
    normEpsilon: numberFact(
      metadata,
      ['llama.attention.layer_norm_rms_epsilon', 'config/rms_norm_eps', 'norm_eps', 'config/norm_eps'],
      1e-5,
    ),
    ropeTheta: numberFact(
      metadata,
      ['llama.rope.freq_base', 'config/rope_theta', 'config/rope_parameters/rope_theta', 'rope_theta'],
      10_000,
    ),
  }
}

/** What the checkpoint says of scaled rotary positions (config.json in its older and newer form, GGUF, Meta), if anything. */
function rotaryScaling(metadata: Readonly<Record<string, unknown>>): unknown {
  const { rope_scaling: scaling, rope_parameters: parameters } = (metadata.config ?? {}) as Record<string, unknown>
  const type = (parameters as { rope_type?: unknown } | null | undefined)?.rope_type
  const named = [scaling, type, metadata['llama.rope.scaling.type'], metadata.use_scaled_rope]
  return named.find((value) => value && value !== 'none' && value !== 'default')
}

/** Expected shapes under our names. */
export function llamaShapes(config: LlamaConfig): Record<string, readonly number[]> {
  const { vocabulary, width, feedForward, heads, kvHeads, headWidth } = config
  return {
    embed: [vocabulary, width],
    'layers.{}/attn/norm': [width],
    'layers.{}/attn/q': [heads * headWidth, width],
    'layers.{}/attn/k': [kvHeads * headWidth, width],
    'layers.{}/attn/v': [kvHeads * headWidth, width],
    'layers.{}/attn/o': [width, heads * headWidth],
    'layers.{}/mlp/norm': [width],
    'layers.{}/mlp/gate': [feedForward, width],
    'layers.{}/mlp/up': [feedForward, width],
    'layers.{}/mlp/down': [width, feedForward],
    norm: [width],
    head: [vocabulary, width],
  }
}

/**
 * A checkpoint's tensors under our names, ready for the graph: q and k in half-rotation order, a tied head filled in, heads
 * padded to the width that the attention kernel takes.
 * @param config as the checkpoint says it (`headWidth` not padded)
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`, `FORMAT_UNSUPPORTED`
 */
export function llamaWeights(config: LlamaConfig, weights: Weights): Map<string, WeightTensor> {
  const layout = findLayout(weights, LLAMA_LAYOUTS)
  const resolved = resolveWeights(weights, LLAMA_LAYOUTS[layout], config.layers, llamaShapes(config))
  if (!resolved.has('head')) resolved.set('head', resolved.get('embed')!)
  const from = config.headWidth
  const to = padHeads(config).headWidth
  const interleaved = LLAMA_LAYOUTS[layout].rope === 'interleaved'
  const row = (i: number, rotary: boolean) => {
    const source = sourceHeadRow(i, { from, to, rotary })
    return rotary && interleaved && source >= 0 ? interleavedRow(source, from) : source
  }
  if (from === to && !interleaved) return resolved
  for (const [name, tensor] of resolved) {
    const part = /attn\/([qkvo])$/.exec(name)?.[1]
    if (part === 'o')
      resolved.set(name, from === to ? tensor : mapColumns(tensor, config.heads * to, (i) => row(i, false)))
    else if (part) {
      const heads = part === 'q' ? config.heads : config.kvHeads
      const rotary = part !== 'v'
      if (rotary || from !== to)
        resolved.set(
          name,
          mapRows(tensor, { rows: heads * to, group: to, sourceGroup: from }, (i) => row(i, rotary)),
        )
    }
  }
  return resolved
}

/** The configuration of the graph: head widths that the kernel takes, scores still divided by the true width. */
export function padHeads(config: LlamaConfig): LlamaConfig {
  return { ...config, headWidth: paddedHeadWidth(config.headWidth, 16), scoreWidth: config.headWidth }
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

/**
 * LLaMA-family checkpoints: their layouts and facts, and their tensors under our names. Inside, rotary pairs are (j, j + D/2) as in
 * Hugging Face, so that adapters trained there fit without change.
 */

import { M4Error } from '../core/errors.js'
import { interleavedRow, paddedHeadWidth, sourceHeadRow } from '../core/heads.js'
import type { CheckpointFacts } from './architecture.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import {
  findLayout,
  mapColumns,
  mapRows,
  type NameTable,
  resolveWeights,
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

/**
 * BERT sentence encoder: post-norm transformer, mean pooling over real tokens, unit length (sentence-transformers MiniLM).
 *
 * @paper arXiv:1810.04805, arXiv:1908.10084, arXiv:2002.10957
 */

import { DTYPES } from '../core/dtypes.js'
import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import { type EmbeddingKind, embeddingTable } from './embedding.js'
import { countLayers, dimsOf, numberFact } from './facts.js'
import type { QuantisationPlan } from './linear.js'
import { dense, type EmitContext, layerNorm, need, stackShapes } from './transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface BertConfig {
  readonly vocabulary: number
  readonly width: number
  readonly feedForward: number
  readonly layers: number
  readonly heads: number
  readonly contextLength: number
  readonly normEpsilon: number
}

const pair = (ours: string, theirs: string) => ({ [ours]: `${theirs}.weight`, [`${ours}/bias`]: `${theirs}.bias` })

/** Hugging Face names, without the `bert.` prefix that task models add. */
export const BERT_LAYOUT: NameTable = {
  names: {
    embed: 'embeddings.word_embeddings.weight',
    positions: 'embeddings.position_embeddings.weight',
    segments: 'embeddings.token_type_embeddings.weight',
    ...pair('norm', 'embeddings.LayerNorm'),
    ...pair('layers.{}/attn/q', 'encoder.layer.{}.attention.self.query'),
    ...pair('layers.{}/attn/k', 'encoder.layer.{}.attention.self.key'),
    ...pair('layers.{}/attn/v', 'encoder.layer.{}.attention.self.value'),
    ...pair('layers.{}/attn/o', 'encoder.layer.{}.attention.output.dense'),
    ...pair('layers.{}/attn/norm', 'encoder.layer.{}.attention.output.LayerNorm'),
    ...pair('layers.{}/mlp/fc1', 'encoder.layer.{}.intermediate.dense'),
    ...pair('layers.{}/mlp/fc2', 'encoder.layer.{}.output.dense'),
    ...pair('layers.{}/mlp/norm', 'encoder.layer.{}.output.LayerNorm'),
  },
  // The pooler belongs to next-sentence prediction, which sentence embeddings do not use.
  ignore: [/position_ids$/, /^pooler\./],
}

/** Sizes from the tensors; the number of heads and the norm's epsilon from config.json. */
export function bertConfig({ metadata, weights }: CheckpointFacts): BertConfig {
  const [vocabulary, width] = dimsOf(weights, ['embeddings.word_embeddings.weight']) as [number, number]
  return {
    vocabulary,
    width,
    feedForward: dimsOf(weights, ['encoder.layer.0.intermediate.dense.weight'])[0]!,
    layers: countLayers(weights, ['encoder.layer.{}.intermediate.dense.weight']),
    heads: numberFact(metadata, ['config/num_attention_heads']),
    contextLength: dimsOf(weights, ['embeddings.position_embeddings.weight'])[0]!,
    normEpsilon: numberFact(metadata, ['config/layer_norm_eps'], 1e-12),
  }
}

export function bertShapes(config: BertConfig): Record<string, readonly number[]> {
  const { vocabulary, width, contextLength } = config
  return stackShapes(Object.keys(BERT_LAYOUT.names), config, {
    embed: [vocabulary, width],
    positions: [contextLength, width],
    segments: [2, width],
  })
}

export function bertWeights(config: BertConfig, weights: Weights): Map<string, WeightTensor> {
  return resolveWeights(weights, BERT_LAYOUT, config.layers, bertShapes(config))
}

/** `ids` int64 [B, T], `mask` int32 [B, T] (1 = a real token) → `embedding` float32 [B, C] of length 1. */
export function bertEmbedGraph(
  config: BertConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  options: { readonly quantisation: QuantisationPlan; readonly embedding: EmbeddingKind },
): Graph {
  const g = new GraphBuilder('text.embed')
  const ctx: EmitContext = { weights, plan: options.quantisation, normEpsilon: config.normEpsilon }
  const ids = g.input('ids', 'int64', ['B', 'T'])
  const mask = g.input('mask', 'int32', ['B', 'T'])
  const { width, contextLength, heads } = config
  // One segment only: its row joins the position table.
  const positions = lazyTensor('float32', [contextLength, width], () => {
    const sum = need(weights, 'positions').float32().slice()
    const segment = need(weights, 'segments').float32({ from: 0, to: 1 })
    for (let i = 0; i < sum.length; i++) sum[i]! += segment[i % width]!
    return bytesOf(sum)
  })
  const length = g.op('Shape', [ids], { start: 1, end: 2 }, 'length')
  const places = g.op(
    'Slice',
    [g.initializer('positions', positions), g.int64([0]), length, g.int64([0])],
    {},
    'places',
  )
  const tokens = embeddingTable(g, ids, need(weights, 'embed'), options.embedding, 'embed')
  let x = layerNorm(ctx, g, g.op('Add', [tokens, places], {}, 'in'), 'norm', 'norm') // [B, T, C]
  for (let l = 0; l < config.layers; l++) {
    const layer = g.scope(`layers.${l}`)
    const path = `layers.${l}`
    const attn = layer.scope('attn')
    const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, x, `${path}/attn/${part}`, part))
    const mixed = attn.op('MultiHeadAttention', [q, k, v, undefined, mask], { num_heads: heads }, 'mixed')
    const attended = attn.op('Add', [x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o')], {}, 'sum')
    x = layerNorm(ctx, attn, attended, `${path}/attn/norm`, 'norm')
    const mlp = layer.scope('mlp')
    const wide = mlp.op('Gelu', [dense(ctx, mlp, x, `${path}/mlp/fc1`, 'fc1')], {}, 'gelu')
    const fed = mlp.op('Add', [x, dense(ctx, mlp, wide, `${path}/mlp/fc2`, 'fc2')], {}, 'sum')
    x = layerNorm(ctx, mlp, fed, `${path}/mlp/norm`, 'norm')
  }
  // Mean over real tokens; the division by their count cancels when the length becomes 1.
  const weight = g.op(
    'Unsqueeze',
    [g.op('Cast', [mask], { to: DTYPES.float32.onnx }, 'maskFloat'), g.int64([2])],
    {},
    'weight',
  )
  const sum = g.op('ReduceSum', [g.op('Mul', [x, weight], {}, 'masked'), g.int64([1])], { keepdims: 0 }, 'pooled') // [B, C]
  const squares = g.op('ReduceSum', [g.op('Mul', [sum, sum], {}, 'squares'), g.int64([1])], { keepdims: 1 }, 'energy')
  const norm = g.op('Max', [g.op('Sqrt', [squares], {}, 'norm2'), g.float32(1e-12)], {}, 'length2')
  g.output('embedding', g.op('Div', [sum, norm], {}, 'unit'))
  return g.build()
}

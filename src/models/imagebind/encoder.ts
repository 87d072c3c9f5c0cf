/**
 * One tower of ImageBind: stem, transformer, head, post-processor.
 *
 * @paper arXiv:2305.05665 · @reference facebookresearch/ImageBind@53680b0 imagebind/models/{imagebind_model,transformer}.py
 * LoRA of fabawi/ImageBind-LoRA@232da92 beside the attention of every layer: attn(h) + B(A(h)), h behind the norm.
 */

import { DTYPES } from '../../core/dtypes.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import type { EmbeddingKind } from '../embedding.js'
import type { QuantisationPlan } from '../linear.js'
import { vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need } from '../transformer.js'
import type { WeightTensor } from '../weights.js'
import type { ImageBindConfig } from './config.js'
import { TOWERS } from './modalities.js'
import { joint } from './post.js'
import { stemTokens } from './stems.js'

export interface ImageBindOptions {
  readonly quantisation: QuantisationPlan
  readonly embedding: EmbeddingKind
  /** LoRA as inputs of the graph. */
  readonly adapters: boolean
}

/** Small enough to leave no weight to what is masked, large enough that no score makes it infinite. */
const MASKED = -1e9

/**
 *   inputs   see `stemTokens`; Q clips of an item
 *            text: causal float32 [B], 1 as trained, 0 with an adapter of ImageBind-LoRA, whose wrapper loses the mask
 *            lora/layers.l/attn/{A [B, C, R], B [B, R, C]} with adapters, or [1, ..] for all items alike; rank 0 is the base,
 *            bit for bit
 *   outputs  embedding [B, E]: of length 1, scaled, then averaged over clips
 *            head [B·Q, E]: the same before any of that
 *            token [B·Q, C]: what the head reads, for heads of one's own (`imagebindHeadGraph`)
 *            patches [B·Q, P, C] of pictures: the other tokens behind the head's norm, row by row, for boxes, points and masks
 *            features [B, C + S]: motion with `gravity` only: the token behind its norm, and statistics of the window
 */
export function imagebindGraph(
  config: ImageBindConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  options: ImageBindOptions,
): Graph {
  const { modality, width } = config
  const { clips, scaled } = TOWERS[modality]
  const g = new GraphBuilder(`${modality}.encode`)
  const ctx: EmitContext = { weights, plan: options.quantisation, normEpsilon: config.normEpsilon }
  const stem = stemTokens(ctx, g, config, { ...ctx, normEpsilon: config.stemNormEpsilon }, options.embedding)
  let x = weights.has('pre/norm') ? layerNorm(ctx, g.scope('pre'), stem.tokens, 'pre/norm', 'norm') : stem.tokens
  const trunk: Trunk = {
    ctx,
    config,
    ...(stem.ids ? { mask: causalMask(g, config, stem.ids) } : {}),
    ...(weights.has('layers.0/attn/extraKey') ? { extra: extraShape(g, x, width) } : {}),
    ...(options.adapters ? { lora: loraOf(g, width, clips ? itemShape(g, stem.input, width) : undefined) } : {}),
  }
  for (let l = 0; l < config.layers; l++) {
    const layer = g.scope(`layers.${l}`)
    x = layer.op('Add', [x, attention(trunk, layer.scope('attn'), x, l)], {}, 'afterAttn')
    x = layer.op('Add', [x, feedForward(trunk, layer.scope('mlp'), x, l)], {}, 'out')
  }
  const token = stem.ids ? endToken(g, config, stem.ids, x) : g.op('Gather', [x, g.int64(0)], { axis: 1 }, 'token') // [B·Q, C]
  g.output('token', token)
  // As in the reference: all tokens are normalised where the class token is selected behind the norm.
  const all = layerNorm(ctx, g, stem.ids ? token : x, 'norm', 'norm')
  const normed = stem.ids ? all : g.op('Gather', [all, g.int64(0)], { axis: 1 }, 'cls/normed')
  if (modality === 'vision') g.output('patches', behindClass(g, all))
  const head = dense(ctx, g, normed, 'head', 'head')
  g.output('head', head)
  if (stem.statistics) g.output('features', g.op('Concat', [normed, stem.statistics], { axis: 1 }, 'features'))
  const scale = scaled ? g.float32(cutScale(config, need(weights, 'logScale'))) : undefined
  g.output('embedding', joint(g, head, { scale, ...(clips ? { items: stem.input } : {}) }))
  return g.build()
}

/** Tokens without the first. [N, T, C] → [N, T - 1, C] */
const behindClass = (g: GraphBuilder, tokens: Value) =>
  g.op('Slice', [tokens, g.int64([1]), g.int64([Number(tokens.dims[1])]), g.int64([1])], {}, 'patches')

/** min(exp(logScale), maxScale) */
const cutScale = ({ maxScale }: ImageBindConfig, logScale: WeightTensor) =>
  Math.min(Math.exp(logScale.float32()[0]!), maxScale)

interface Trunk {
  readonly ctx: EmitContext
  readonly config: ImageBindConfig
  /** Added to the scores, [B, 1, T, T]. */
  readonly mask?: Value
  /** Shape [N, 1, C] of an extra key. */
  readonly extra?: Value
  /** h [N, T, C] → its adapter's part of the attention's output. */
  readonly lora?: (scope: Scope, h: Value, l: number) => Value
}

function attention({ ctx, config, mask, extra, lora }: Trunk, scope: Scope, x: Value, l: number): Value {
  const path = `layers.${l}/attn`
  const h = layerNorm(ctx, scope, x, `${path}/norm`, 'norm')
  const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, scope, h, `${path}/${part}`, part)) as [
    Value,
    Value,
    Value,
  ]
  /** One learned row behind those of the tokens; it is no product of the input. [N, T, C] → [N, T+1, C] */
  const extended = (rows: Value, name: 'extraKey' | 'extraValue') => {
    if (!extra) return rows
    const row = vector(scope, need(ctx.weights, `${path}/${name}`), `${name}/weight`)
    return scope.op('Concat', [rows, scope.op('Expand', [row, extra], {}, name)], { axis: 1 }, `${name}/joined`)
  }
  const inputs = [q, extended(k, 'extraKey'), extended(v, 'extraValue'), undefined, undefined, mask]
  const mixed = scope.op('MultiHeadAttention', inputs, { num_heads: config.heads }, 'mixed')
  const out = dense(ctx, scope, mixed, `${path}/o`, 'o')
  return lora ? scope.op('Add', [out, lora(scope, h, l)], {}, 'adapted') : out
}

function feedForward({ ctx }: Trunk, scope: Scope, x: Value, l: number): Value {
  const path = `layers.${l}/mlp`
  const h = layerNorm(ctx, scope, x, `${path}/norm`, 'norm')
  const wide = scope.op('Gelu', [dense(ctx, scope, h, `${path}/fc1`, 'fc1')], {}, 'gelu')
  return dense(ctx, scope, wide, `${path}/fc2`, 'fc2')
}

/** [N, 1, C] for the rows of `x`. */
function extraShape(g: GraphBuilder, x: Value, width: number): Value {
  const rows = g.op('Shape', [x], { start: 0, end: 1 }, 'trunkRows')
  return g.op('Concat', [rows, g.int64([1, width])], { axis: 0 }, 'extraShape')
}

/** [B, -1, C]: the tokens of all clips of an item in one row, since an item has one adapter. */
function itemShape(g: GraphBuilder, input: Value, width: number): Value {
  const items = g.op('Shape', [input], { start: 0, end: 1 }, 'items')
  return g.op('Concat', [items, g.int64([-1, width])], { axis: 0 }, 'itemShape')
}

function loraOf(g: GraphBuilder, width: number, byItem: Value | undefined): NonNullable<Trunk['lora']> {
  return (scope, h, l) => {
    const a = g.input(`lora/layers.${l}/attn/A`, 'float32', ['?', width, 'R'])
    const b = g.input(`lora/layers.${l}/attn/B`, 'float32', ['?', 'R', width])
    const rows = byItem ? scope.op('Reshape', [h, byItem], {}, 'loraIn') : h
    const low = scope.op('MatMul', [rows, a], {}, 'loraA')
    const delta = scope.op('MatMul', [low, b], {}, 'loraB')
    return byItem ? scope.op('Reshape', [delta, g.int64([-1, Number(h.dims[1]), width])], {}, 'loraOut') : delta
  }
}

/** What is added to the scores of `ids` [B, T]: nothing up to a token's own place, as good as -inf behind it. [B, 1, T, T] */
function causalMask(g: GraphBuilder, { positions }: ImageBindConfig, ids: Value): Value {
  const causal = g.input('causal', 'float32', ['B'])
  const table = new Float32Array(positions * positions)
  for (let row = 0; row < positions; row++) table.fill(MASKED, row * positions + row + 1, (row + 1) * positions)
  const length = g.op('Shape', [ids], { start: 1, end: 2 }, 'maskLength')
  const ends = g.op('Concat', [length, length], { axis: 0 }, 'maskEnds')
  const all = g.float32(table, [positions, positions])
  const used = g.op('Slice', [all, g.int64([0, 0]), ends, g.int64([0, 1])], {}, 'maskUsed')
  const perItem = g.op('Reshape', [causal, g.int64([-1, 1, 1, 1])], {}, 'causality')
  return g.op('Mul', [used, perItem], {}, 'mask')
}

/**
 * The token at the first place of the largest id: the end of the text, or of the context where the end was cut off.
 * ids [B, T], x [B, T, C] → [B, C]. Keys `id·T - place` are all different, so the largest marks one place.
 */
function endToken(g: GraphBuilder, { positions }: ImageBindConfig, ids: Value, x: Value): Value {
  const length = g.op('Shape', [ids], { start: 1, end: 2 }, 'keyStep')
  const all = g.int64(Array.from({ length: positions }, (_, place) => place))
  const places = g.op('Slice', [all, g.int64([0]), length], {}, 'places')
  const keys = g.op('Sub', [g.op('Mul', [ids, length], {}, 'idSteps'), places], {}, 'keys')
  const largest = g.op('ReduceMax', [keys, g.int64([1])], { keepdims: 1 }, 'largestKey')
  // 1 for the largest key, 0 or less for all below it.
  const above = g.op('Sub', [g.op('Add', [keys, g.int64(1)], {}, 'nextKeys'), largest], {}, 'above')
  const isEnd = g.op('Max', [above, g.int64(0)], {}, 'isEnd')
  const chosen = g.op('Cast', [isEnd], { to: DTYPES.float32.onnx }, 'endWeight')
  const weighted = g.op('Mul', [x, g.op('Unsqueeze', [chosen, g.int64([2])], {}, 'endColumn')], {}, 'endOnly')
  return g.op('ReduceSum', [weighted, g.int64([1])], { keepdims: 0 }, 'token')
}

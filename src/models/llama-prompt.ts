/**
 * LLaMA-Adapter in the decoder: in every layer attention also looks at a few learned rows, without mask or rotation of their keys,
 * and each head adds as much of that as its gate says: mixed + gate · attention(rotated q, prompt). Off unless a plan asks for it.
 *
 * Keys and values of the rows come from the layer's own k and v, which the graph `prompt` computes once an adapter is loaded.
 *
 * @paper arXiv:2303.16199 · @reference Lightning-AI/lit-llama@2a464de lit_llama/adapter.py
 */

import { DTYPES } from '../core/dtypes.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import { linear, linearKindOf, type QuantisationPlan } from './linear.js'
import type { LlamaConfig } from './llama-weights.js'
import { need } from './transformer.js'
import type { WeightTensor } from './weights.js'

/** (scope of a layer's attention, its output [B, T, H·D], its q|k|v before rotation, its number) → output with the prompt's part. */
export type GatedPromptAttention = (scope: Scope, mixed: Value, qkv: Value, l: number) => Value

interface Rotary {
  /** inputs_embeds [B, T, C] */
  readonly x: Value
  readonly seqlens: Value
  readonly cos: Value
  readonly sin: Value
}

/** Inputs `prompt/layers.l/key`, `…/value` [B, H, U, D] and `…/gate` [B, H]; gates of 0 are the base. */
export function gatedPromptAttention(g: GraphBuilder, config: LlamaConfig, rotary: Rotary): GatedPromptAttention {
  const { heads, headWidth, scoreWidth = headWidth } = config
  const scope = g.scope('prompt')
  const places = positions(scope, rotary)
  const row = (table: Value, name: string) =>
    scope.op('Unsqueeze', [scope.op('Gather', [table, places], { axis: 0 }, `${name}Rows`), g.int64([2])], {}, name)
  const [cos, sin] = [row(rotary.cos, 'cos'), row(rotary.sin, 'sin')] // [B, T, 1, D/2]
  return (attn, mixed, qkv, l) => {
    const [key, value] = ['key', 'value'].map((kind) =>
      g.input(`prompt/layers.${l}/${kind}`, 'float32', ['B', heads, 'U', headWidth]),
    )
    const gate = g.input(`prompt/layers.${l}/gate`, 'float32', ['B', heads])
    const inner = attn.scope('prompt')
    const width = heads * headWidth
    const query = inner.op('Slice', [qkv, g.int64([0]), g.int64([width]), g.int64([2])], {}, 'query')
    const turned = rotate(inner, query, { cos, sin, heads, headWidth })
    const attributes = { num_heads: heads, scale: 1 / Math.sqrt(scoreWidth) }
    const looked = inner.op('MultiHeadAttention', [turned, key, value], attributes, 'looked')
    const byHead = inner.op('Reshape', [looked, g.int64([0, 0, heads, headWidth])], {}, 'byHead')
    const gated = inner.op('Mul', [byHead, inner.op('Unsqueeze', [gate, g.int64([1, 3])], {}, 'gates')], {}, 'gated')
    return inner.op('Add', [mixed, inner.op('Reshape', [gated, g.int64([0, 0, width])], {}, 'flat')], {}, 'out')
  }
}

/** Places of this step's rows as the attention kernel counts them: up to the last, the first of a padded prompt at 0. int64 [B, T] */
function positions(scope: Scope, { x, seqlens }: Rotary): Value {
  const count = scope.op('Shape', [x], { start: 1, end: 2 }, 'count')
  const last = scope.op('Cast', [seqlens], { to: DTYPES.int64.onnx }, 'last')
  const start = scope.op('Sub', [last, scope.op('Sub', [count, scope.int64([1])], {}, 'behind')], {}, 'start')
  const first = scope.op(
    'Unsqueeze',
    [scope.op('Max', [start, scope.int64([0])], {}, 'first'), scope.int64([1])],
    {},
    'firstColumn',
  )
  const limit = scope.op('Gather', [count, scope.int64(0)], {}, 'limit')
  return scope.op('Add', [first, scope.op('Range', [scope.int64(0), limit, scope.int64(1)], {}, 'steps')], {}, 'places')
}

interface RotaryTables {
  /** Broadcast over heads: [B, T, 1, D/2] or [T, 1, D/2]. */
  readonly cos: Value
  readonly sin: Value
  readonly heads: number
  readonly headWidth: number
}

/** Rotary positions in plain operators, pairs (j, j + D/2). [B, T, H·D] → the same */
function rotate(scope: Scope, query: Value, { cos, sin, heads, headWidth }: RotaryTables): Value {
  const byHead = scope.op('Reshape', [query, scope.int64([0, 0, heads, headWidth])], {}, 'queryByHead')
  const [low, high] = scope.ops('Split', [byHead], { axis: -1, num_outputs: 2 }, ['low', 'high'])
  const times = (a: Value, b: Value, name: string) => scope.op('Mul', [a, b], {}, name)
  const left = scope.op('Sub', [times(low!, cos, 'lowCos'), times(high!, sin, 'highSin')], {}, 'left')
  const right = scope.op('Add', [times(high!, cos, 'highCos'), times(low!, sin, 'lowSin')], {}, 'right')
  const joined = scope.op('Concat', [left, right], { axis: -1 }, 'turnedByHead')
  return scope.op('Reshape', [joined, scope.int64([0, 0, heads * headWidth])], {}, 'turned')
}

/**
 * What an adapter's rows are to each layer: `rows/layers.l` [U, C] → `key/layers.l`, `value/layers.l` [H, U, D], through the same
 * k and v that the decoder has. Run once for an adapter.
 */
export function llamaPromptGraph(
  config: LlamaConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('backbone.prompt')
  const { layers, width, heads, kvHeads, headWidth } = config
  for (let l = 0; l < layers; l++) {
    const rows = g.input(`rows/layers.${l}`, 'float32', ['U', width])
    const scope = g.scope(`layers.${l}`)
    for (const [part, kind] of [
      ['k', 'key'],
      ['v', 'value'],
    ] as const) {
      const path = `layers.${l}/attn/${part}`
      const product = linear(scope, rows, need(weights, path), linearKindOf(plan, path), part)
      const split = scope.op('Reshape', [product, g.int64([-1, kvHeads, 1, headWidth])], {}, `${part}/split`)
      // A key head serves several query heads.
      const shared =
        kvHeads === heads
          ? split
          : scope.op('Concat', new Array<Value>(heads / kvHeads).fill(split), { axis: 2 }, `${part}/shared`)
      const byHead = scope.op('Reshape', [shared, g.int64([-1, heads, headWidth])], {}, `${part}/byHead`)
      g.output(`${kind}/layers.${l}`, scope.op('Transpose', [byHead], { perm: [1, 0, 2] }, `${part}/heads`))
    }
  }
  return g.build()
}

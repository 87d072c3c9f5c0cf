/** The Persimmon decoder and Fuyu's pictures against a plain implementation in float64, at toy size. No public golden exists. */

import { expect, test } from 'vitest'
import { randomSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { architecture, fuyuPictureIds, type PersimmonConfig, type Weights } from '../src/models/index.js'
import { EXACT, openGraph } from '../src/parity/graphs.js'
import { Context } from '../src/runtime/context.js'
import { cacheShape } from '../src/runtime/kv-cache.js'

const [VOCABULARY, WIDTH, HEADS, HEAD, FEED, LAYERS, SIDE] = [40, 48, 3, 16, 80, 2, 3]
const METADATA = {
  config: {
    num_attention_heads: HEADS,
    partial_rotary_factor: 0.5,
    rope_theta: 25_000,
    layer_norm_eps: 1e-5,
    max_position_embeddings: 64,
  },
}

/** A Fuyu checkpoint of Hugging Face: every tensor is a matter of its name. */
function checkpoint(): Map<string, { dims: number[]; data: Float32Array }> {
  const tensors = new Map<string, { dims: number[]; data: Float32Array }>()
  let seed = 1
  const add = (name: string, dims: number[], spread: number, middle = 0) => {
    const uniform = randomSource(seed++)
    const data = Float32Array.from(
      { length: dims.reduce((a, b) => a * b, 1) },
      () => middle + (uniform() - 0.5) * spread,
    )
    tensors.set(name, { dims, data })
  }
  const linear = (name: string, out: number, inner: number) => {
    add(`${name}.weight`, [out, inner], 3.4 / Math.sqrt(inner))
    add(`${name}.bias`, [out], 0.3)
  }
  const norm = (name: string, size: number) => {
    add(`${name}.weight`, [size], 0.8, 1)
    add(`${name}.bias`, [size], 0.4)
  }
  add('language_model.model.embed_tokens.weight', [VOCABULARY, WIDTH], 2)
  for (let l = 0; l < LAYERS; l++) {
    const layer = `language_model.model.layers.${l}`
    norm(`${layer}.input_layernorm`, WIDTH)
    linear(`${layer}.self_attn.query_key_value`, 3 * WIDTH, WIDTH)
    norm(`${layer}.self_attn.q_layernorm`, HEAD)
    norm(`${layer}.self_attn.k_layernorm`, HEAD)
    linear(`${layer}.self_attn.dense`, WIDTH, WIDTH)
    norm(`${layer}.post_attention_layernorm`, WIDTH)
    linear(`${layer}.mlp.dense_h_to_4h`, FEED, WIDTH)
    linear(`${layer}.mlp.dense_4h_to_h`, WIDTH, FEED)
  }
  norm('language_model.model.final_layernorm', WIDTH)
  add('language_model.lm_head.weight', [VOCABULARY, WIDTH], 1)
  linear('vision_embed_tokens', WIDTH, SIDE * SIDE * 3)
  return tensors
}

const TENSORS = checkpoint()
const WEIGHTS: Weights = new Map(
  [...TENSORS].map(([name, { dims, data }]) => {
    const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
    const float32 = (rows?: { from: number; to: number }) =>
      rows ? data.subarray(rows.from * perRow, rows.to * perRow) : data
    return [name, { name, dims, float32 }] as const
  }),
)

const at = (name: string) => TENSORS.get(name)!.data
const affine = (name: string, x: number[]): number[] => {
  const [weight, bias] = [at(`${name}.weight`), TENSORS.get(`${name}.bias`)?.data]
  return Array.from({ length: weight.length / x.length }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * weight[row * x.length + i]!, bias?.[row] ?? 0),
  )
}
const layerNorm = (name: string, x: number[]): number[] => {
  const mean = x.reduce((a, b) => a + b, 0) / x.length
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length
  return x.map(
    (value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * at(`${name}.weight`)[i]! + at(`${name}.bias`)[i]!,
  )
}
/** The first half of a head turns, in pairs (j, j + 4). */
const turn = (head: number[], position: number, rotary = HEAD / 2): number[] =>
  head.map((value, i) => {
    if (i >= rotary) return value
    const pair = i % (rotary / 2)
    const angle = position * 25_000 ** ((-2 * pair) / rotary)
    const other = i < rotary / 2 ? -head[i + rotary / 2]! : head[i - rotary / 2]!
    return value * Math.cos(angle) + other * Math.sin(angle)
  })
const add = (a: number[], b: number[]) => a.map((value, i) => value + b[i]!)

/** Logits of every row of embeddings. */
function reference(rows: number[][], rotary?: number): number[][] {
  let x = rows
  for (let l = 0; l < LAYERS; l++) {
    const layer = `language_model.model.layers.${l}`
    const fused = x.map((row) =>
      affine(`${layer}.self_attn.query_key_value`, layerNorm(`${layer}.input_layernorm`, row)),
    )
    const part = (row: number[], head: number, which: number) =>
      row.slice((3 * head + which) * HEAD, (3 * head + which + 1) * HEAD)
    const mixed = x.map((_, t) =>
      Array.from({ length: HEADS }, (__, head) => {
        const q = turn(layerNorm(`${layer}.self_attn.q_layernorm`, part(fused[t]!, head, 0)), t, rotary)
        const scores = fused.slice(0, t + 1).map((row, s) => {
          const k = turn(layerNorm(`${layer}.self_attn.k_layernorm`, part(row, head, 1)), s, rotary)
          return Math.exp(q.reduce((sum, value, i) => sum + value * k[i]!, 0) / Math.sqrt(HEAD))
        })
        const total = scores.reduce((a, b) => a + b, 0)
        return Array.from({ length: HEAD }, (___, i) =>
          scores.reduce((sum, score, s) => sum + (score / total) * part(fused[s]!, head, 2)[i]!, 0),
        )
      }).flat(),
    )
    x = x.map((row, t) => add(row, affine(`${layer}.self_attn.dense`, mixed[t]!)))
    x = x.map((row) => {
      const up = affine(`${layer}.mlp.dense_h_to_4h`, layerNorm(`${layer}.post_attention_layernorm`, row))
      return add(
        row,
        affine(
          `${layer}.mlp.dense_4h_to_h`,
          up.map((value) => Math.max(value, 0) ** 2),
        ),
      )
    })
  }
  return x.map((row) => affine('language_model.lm_head', layerNorm('language_model.model.final_layernorm', row)))
}

const embeddingsOf = (ids: number[]) =>
  ids.map((id) => Array.from(at('language_model.model.embed_tokens.weight').subarray(id * WIDTH, (id + 1) * WIDTH)))
const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

async function openModel() {
  const model = architecture('persimmon')
  const config = model.configure({ format: 'safetensors', metadata: METADATA, weights: WEIGHTS }) as PersimmonConfig
  const graphs = model.graphs(config as never, model.weights(config as never, WEIGHTS), EXACT)
  const engine = await openEngine()
  const [embed, decode, patches] = await Promise.all(
    ['embed', 'decode', 'patches'].map((purpose) => openGraph(engine, graphs[purpose]!())),
  )
  const { width, vocabulary, contextLength } = config
  const context = new Context({
    engine,
    embed: embed!,
    decode: decode!,
    width,
    vocabulary,
    contextLength,
    cache: cacheShape(decode!.inputs),
    places: [],
  })
  const dispose = () => {
    context.dispose()
    for (const session of [embed!, decode!, patches!]) session.dispose()
  }
  return { config, engine, context, patches: patches!, [Symbol.dispose]: dispose }
}

test('logits of a prompt and of the steps behind it', async () => {
  using model = await openModel()
  expect(model.config).toMatchObject({
    layers: LAYERS,
    rotaryWidth: 8,
    patchWidth: 27,
    feedForward: FEED,
    headWidth: HEAD,
  })
  const ids = [3, 17, 0, 39, 8, 8, 21, 5]
  const wanted = reference(embeddingsOf(ids))
  const got: number[][] = []
  await model.context.evaluateAll(ids.slice(0, 5), (logits, from) => {
    for (let row = 0; row * VOCABULARY < logits.length; row++)
      got[from + row] = Array.from(logits.subarray(row * VOCABULARY, (row + 1) * VOCABULARY))
  })
  for (const id of ids.slice(5)) got.push(Array.from(await model.context.step(id)))
  for (const [t, row] of got.entries()) expect(distance(row, wanted[t]!)).toBeLessThan(2e-4)
  // The same heads turned as a whole are another model.
  expect(distance(got.at(-1)!, reference(embeddingsOf(ids), HEAD).at(-1)!)).toBeGreaterThan(0.01)
})

test('a picture: padded to whole patches, cut row by row, in the places of its tokens', async () => {
  using model = await openModel()
  const [height, width] = [5, 7]
  const uniform = randomSource(9)
  const dots = Uint8Array.from({ length: height * width * 3 }, () => Math.floor(uniform() * 256))
  using picture = model.engine.tensor('uint8', [height, width, 3], dots)
  const { embeddings, grid } = await model.patches.run({ picture })
  using rows = embeddings!
  using sizes = grid!
  expect(Array.from(sizes.data as BigInt64Array, Number)).toEqual([2, 3])
  const wanted = Array.from({ length: 6 }, (_, patch) => {
    const flat = Array.from({ length: SIDE * SIDE * 3 }, (__, i) => {
      const y = Math.floor(patch / 3) * SIDE + Math.floor(i / (3 * SIDE))
      const x = (patch % 3) * SIDE + (Math.floor(i / 3) % SIDE)
      const dot = y < height && x < width ? dots[(y * width + x) * 3 + (i % 3)]! : 1
      return (dot / 255 - 0.5) / 0.5
    })
    return affine('vision_embed_tokens', flat)
  })
  expect(distance(rows.data as Float32Array, wanted.flat())).toBeLessThan(1e-5)
  expect(fuyuPictureIds(2, 3, { patch: 71, rowEnd: 72 })).toEqual([71, 71, 71, 72, 71, 71, 71, 72])
})

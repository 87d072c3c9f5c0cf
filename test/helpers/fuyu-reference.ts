/** A toy Fuyu checkpoint under the names of Hugging Face, and what it should compute, in float64 and as plainly as can be. */

import { randomSource } from '../../src/core/random.js'
import type { Picture } from '../../src/media/index.js'

const [WIDTH, HEADS, HEAD, FEED, LAYERS, SIDE] = [48, 3, 16, 80, 2, 3]

/** Sizes of every toy; those of its vocabulary and context are the test's. */
export const FUYU_TOY = {
  width: WIDTH,
  heads: HEADS,
  headWidth: HEAD,
  feedForward: FEED,
  layers: LAYERS,
  patchSide: SIDE,
}

/** What its config.json says. */
export const FUYU_TOY_CONFIG = {
  num_attention_heads: HEADS,
  partial_rotary_factor: 0.5,
  rope_theta: 25_000,
  layer_norm_eps: 1e-5,
}

export type Tensors = ReadonlyMap<string, { readonly dims: number[]; readonly data: Float32Array }>

/** A Fuyu checkpoint of Hugging Face: every tensor is a matter of its name. */
export function fuyuCheckpoint(vocabulary: number): Tensors {
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
  add('language_model.model.embed_tokens.weight', [vocabulary, WIDTH], 2)
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
  add('language_model.lm_head.weight', [vocabulary, WIDTH], 1)
  linear('vision_embed_tokens', WIDTH, SIDE * SIDE * 3)
  return tensors
}

export interface FuyuReference {
  /** Logits of every row of embeddings. @param rotary numbers of a head that turn; default: half */
  logits(rows: number[][], rotary?: number): number[][]
  embeddings(ids: readonly number[]): number[][]
  /** Row by row, what lies beyond the picture is 1 of 255. */
  patches(picture: Picture): number[][]
}

export function fuyuReference(tensors: Tensors): FuyuReference {
  const at = (name: string) => tensors.get(name)!.data
  const affine = (name: string, x: number[]): number[] => {
    const [weight, bias] = [at(`${name}.weight`), tensors.get(`${name}.bias`)?.data]
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

  const embeddings = (ids: readonly number[]) =>
    ids.map((id) => Array.from(at('language_model.model.embed_tokens.weight').subarray(id * WIDTH, (id + 1) * WIDTH)))

  const patches = ({ data, width, height }: Picture) => {
    const [rows, columns] = [Math.ceil(height / SIDE), Math.ceil(width / SIDE)]
    return Array.from({ length: rows * columns }, (_, patch) => {
      const flat = Array.from({ length: SIDE * SIDE * 3 }, (__, i) => {
        const y = Math.floor(patch / columns) * SIDE + Math.floor(i / (3 * SIDE))
        const x = (patch % columns) * SIDE + (Math.floor(i / 3) % SIDE)
        const dot = y < height && x < width ? data[(y * width + x) * 3 + (i % 3)]! : 1
        return (dot / 255 - 0.5) / 0.5
      })
      return affine('vision_embed_tokens', flat)
    })
  }
  return { logits: reference, embeddings, patches }
}

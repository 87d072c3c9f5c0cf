/** Attention by its definition, for the cases: softmax(q·kᵀ·scale + bias)·v a head, keys and values shared by groups of heads. */

import { type CaseTensor, f32 } from './case-types.js'
import { at, generate, softmaxRow } from './reference.js'

/** [B, T, H*D] → [B, H, T, D]. */
export const splitHeads = (x: CaseTensor, heads: number): CaseTensor => {
  const [batch, length, width] = x.dims as [number, number, number]
  const D = width / heads
  return generate([batch, heads, length, D], ([b, h, t, d]) => at(x, [b!, t!, h! * D + d!]))
}

/** Rows of `past` [B, K, P, D] followed by `added` [B, K, T, D]. */
export function appendRows(past: CaseTensor, added: CaseTensor): CaseTensor {
  const [batch, heads, P, D] = past.dims as [number, number, number, number]
  return generate([batch, heads, P + added.dims[2]!, D], ([b, h, s, d]) =>
    s! < P ? at(past, [b!, h!, s!, d!]) : at(added, [b!, h!, s! - P, d!]),
  )
}

export interface AttentionSettings {
  /** Query row t sees keys up to `t + offset`; undefined sees all. */
  readonly causalOffset?: number
  readonly scale?: number
  /** Scores are squeezed into (-softcap, softcap). */
  readonly softcap?: number
  /** [B or 1, H or 1, T, S], added before the softmax. */
  readonly bias?: CaseTensor
}

/** q [B, H, T, D], k and v [B, K, S, D] → [B, T, H*Dv]. */
export function attention(q: CaseTensor, k: CaseTensor, v: CaseTensor, settings: AttentionSettings = {}): CaseTensor {
  const [B, H, T, D] = q.dims as [number, number, number, number]
  const [, K, S] = k.dims as [number, number, number]
  const width = v.dims[3]!
  const scale = settings.scale ?? 1 / Math.sqrt(D)
  const out: number[] = []
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++)
      for (let h = 0; h < H; h++) {
        const kv = Math.floor(h / (H / K))
        const scores = Array.from({ length: S }, (_, s) => {
          if (settings.causalOffset !== undefined && s > t + settings.causalOffset) return Number.NEGATIVE_INFINITY
          let dot = 0
          for (let d = 0; d < D; d++) dot += at(q, [b, h, t, d]) * at(k, [b, kv, s, d])
          const score = settings.softcap ? settings.softcap * Math.tanh((dot * scale) / settings.softcap) : dot * scale
          return score + (settings.bias ? at(settings.bias, [b, h, t, s]) : 0)
        })
        const weights = softmaxRow(scores)
        for (let d = 0; d < width; d++)
          out.push(weights.reduce((sum, weight, s) => sum + weight * at(v, [b, kv, s, d]), 0))
      }
  return f32([B, T, H * width], out)
}

/** Rotary embedding of [B, H, T, D], halves rotated against each other (LLaMA's order), positions from `start` on. */
export function rotate(x: CaseTensor, cos: CaseTensor, sin: CaseTensor, start: number): CaseTensor {
  const half = x.dims[3]! / 2
  return generate(x.dims, ([b, h, t, d]) => {
    const pair = d! % half
    const [c, s] = [at(cos, [start + t!, pair]), at(sin, [start + t!, pair])]
    const [own, other] = [at(x, [b!, h!, t!, d!]), at(x, [b!, h!, t!, (d! + half) % (2 * half)])]
    return own * c + (d! < half ? -other : other) * s
  })
}

/**
 * A model published as the difference from another (Vicuna v0 and v1 from LLaMA): weights = base + delta, tensor by tensor, in
 * float32 while the image is built. Neither file is ever changed.
 *
 * @reference lm-sys/FastChat@v0.1.10 fastchat/model/apply_delta.py
 */

import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import type { Rows, Weights, WeightTensor } from './weights.js'

/** Tables that the delta may have made longer: new tokens have no row in the base, which counts as zeros there. */
const GROWN = /(?:embed_tokens|lm_head)\.weight$/
/** Computed from the configuration, equal in both: no difference. */
const FIXED = /rotary_emb\.inv_freq$/

/** @throws M4Error `TENSOR_MISSING` where one side lacks a tensor, `SHAPE_MISMATCH` */
export function withDelta(base: Weights, delta: Weights): Weights {
  const sums = new Map<string, WeightTensor>()
  const names = new Set([...base.keys(), ...delta.keys()])
  for (const name of names) {
    if (FIXED.test(name)) continue
    const [from, change] = [base.get(name), delta.get(name)]
    if (!from || !change)
      throw new M4Error('TENSOR_MISSING', `${name} is in the ${from ? 'base' : 'delta'} alone.`, {
        hint: 'Base and delta must have one layout: convert both with the same tool.',
        details: { name },
      })
    sums.set(name, sumOf(name, from, change))
  }
  return sums
}

function sumOf(name: string, base: WeightTensor, delta: WeightTensor): WeightTensor {
  const [rows, known] = [delta.dims[0] ?? 1, base.dims[0] ?? 1]
  const grown = GROWN.test(name) && rows >= known && base.dims.slice(1).join() === delta.dims.slice(1).join()
  if (!grown && base.dims.join() !== delta.dims.join())
    throw new M4Error(
      'SHAPE_MISMATCH',
      `${name}: the base is ${formatDims(base.dims)}, the delta ${formatDims(delta.dims)}.`,
      { hint: 'Was the delta made from this base?', details: { name } },
    )
  return {
    name,
    dims: delta.dims,
    float32: (range: Rows = { from: 0, to: rows }) => {
      const out = delta.float32(range).slice()
      const to = Math.min(range.to, known)
      if (range.from >= to) return out
      const values = base.float32({ from: range.from, to })
      for (let i = 0; i < values.length; i++) out[i]! += values[i]!
      return out
    },
  }
}

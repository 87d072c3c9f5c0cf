/**
 * Keys and values of a decoder, bound in place: one tensor a layer is both `past/…` and `present/…`. Rows are added by the
 * graph; the buffers double when they are full, so a short request never pays for the longest context.
 */

import { elementCount } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import type { Binding, Engine, Tensor, ValueInfo } from '../engine/types.js'

/** Where a decoder's caches are and how wide: [1, heads, S, width] each. */
export interface CacheShape {
  /** `layers.0/key`, `layers.0/value`, `layers.1/key` … */
  readonly names: readonly string[]
  readonly heads: number
  readonly width: number
}

const PAST_INPUT = /^past\/(.+)$/

/** @throws M4Error `IMAGE_INVALID` when the session has no caches of known width */
export function cacheShape(inputs: readonly ValueInfo[]): CacheShape {
  const past = inputs.filter(({ name }) => PAST_INPUT.test(name))
  const [, heads, , width] = past[0]?.dims ?? [] // [B, K, S, D]
  if (typeof heads !== 'number' || typeof width !== 'number')
    throw new M4Error('IMAGE_INVALID', 'The decoder has no inputs past/layers.l/{key,value} [B, heads, S, width].', {
      hint: 'Build the image again with this version of m4fm.',
    })
  return { names: past.map(({ name }) => PAST_INPUT.exec(name)![1]!), heads, width }
}

/** Smallest buffer, and the step that others are a multiple of. */
const ROWS_STEP = 256

export interface KvCache {
  readonly capacity: number
  /** Bytes of all buffers now. */
  readonly bytes: number
  /** Makes room for `rows`, keeping the first `filled`, and binds the new buffers. @throws M4Error `OUT_OF_MEMORY` */
  reserve(rows: number, filled: number): void
  /** Writes [heads, rows, width] of one cache at row 0. */
  write(name: string, data: Float32Array, rows: number): void
  dispose(): void
}

/** @param limit most rows ever needed: the context length */
export function createKvCache(engine: Engine, binding: Binding, shape: CacheShape, limit: number): KvCache {
  const { names, heads, width } = shape
  let tensors = new Map<string, Tensor>()
  let capacity = 0

  const allocate = (rows: number) => {
    const made = new Map<string, Tensor>()
    try {
      for (const name of names) made.set(name, engine.tensor('float32', [1, heads, rows, width]))
    } catch (cause) {
      for (const tensor of made.values()) tensor.dispose()
      if (cause instanceof M4Error) throw cause
      const bytes = names.length * heads * rows * width * 4
      throw new M4Error(
        'OUT_OF_MEMORY',
        `The KV cache for ${rows} tokens needs ${bytes} bytes, which this machine has not.`,
        {
          hint: 'Ask with a shorter prompt or fewer maxTokens.',
          details: { rows, bytes },
          cause,
        },
      )
    }
    return made
  }
  const copy = (from: Tensor, to: Tensor, filled: number, rows: number) => {
    const [source, target] = [from.data as Float32Array, to.data as Float32Array]
    for (let head = 0; head < heads; head++) {
      const start = head * capacity * width
      target.set(source.subarray(start, start + filled * width), head * rows * width)
    }
  }
  return {
    get capacity() {
      return capacity
    },
    get bytes() {
      return names.length * elementCount([heads, capacity, width]) * 4
    },
    reserve(needed, filled) {
      if (needed <= capacity) return
      const rows = Math.min(limit, Math.max(2 * capacity, Math.ceil(needed / ROWS_STEP) * ROWS_STEP))
      const grown = allocate(rows)
      for (const [name, tensor] of grown) {
        const old = tensors.get(name)
        if (old) copy(old, tensor, filled, rows)
        binding.bindInput(`past/${name}`, tensor)
        binding.bindOutput(`present/${name}`, tensor)
      }
      for (const tensor of tensors.values()) tensor.dispose()
      tensors = grown
      capacity = rows
    },
    write(name, data, rows) {
      const target = tensors.get(name)!.data as Float32Array
      for (let head = 0; head < heads; head++)
        target.set(data.subarray(head * rows * width, (head + 1) * rows * width), head * capacity * width)
    },
    dispose() {
      for (const tensor of tensors.values()) tensor.dispose()
      tensors = new Map()
      capacity = 0
    },
  }
}

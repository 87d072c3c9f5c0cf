/**
 * Between a table by distance (W = 2·window + 1 columns) and one by position (T columns), for any T and without an index: rows
 * that are read with another length shift by one place a row.
 *
 * @paper arXiv:1803.02155 §3.3
 */

import type { GraphBuilder, Scope, Value } from '../../graph/index.js'

export interface Reach {
  readonly g: GraphBuilder
  /** int64 [1]: T. */
  readonly length: Value
  readonly heads: number
  readonly window: number
}

/**
 * By distance → by position: column r of row i goes to column i + r - window, the rest is 0. [1, H, T, W] → [1, H, T, T]
 * Rows of length T + W read as rows that are one shorter shift by one place a row.
 */
export function spread(reach: Reach, attn: Scope, near: Value): Value {
  const { g, length, heads, window } = reach
  const columns = 2 * window + 1
  const wide = attn.op('Pad', [near, padEnd(reach, attn, 'spread')], {}, 'spread/padded') // [1, H, T, T + W]
  const flat = attn.op('Reshape', [wide, g.int64([1, heads, -1])], {}, 'spread/flat')
  const row = attn.op('Add', [length, g.int64([columns - 1])], {}, 'spread/row')
  const kept = attn.op('Mul', [length, row], {}, 'spread/kept')
  const cut = attn.op('Slice', [flat, g.int64([0]), kept, g.int64([2])], {}, 'spread/cut')
  const shape = attn.op('Concat', [g.int64([1, heads]), length, row], { axis: 0 }, 'spread/shape')
  const shifted = attn.op('Reshape', [cut, shape], {}, 'spread/shifted') // [1, H, T, T + W - 1]
  const end = attn.op('Add', [length, g.int64([window])], {}, 'spread/end')
  const out = attn.op('Slice', [shifted, g.int64([window]), end, g.int64([3])], {}, 'spread/out')
  return g.refine(out, [1, heads, 'T', 'T'])
}

/** The way back: what stands at most `window` away, by distance. [1, H, T, T] → [1, H, T, W] */
export function gathered(reach: Reach, attn: Scope, shares: Value): Value {
  const { g, length, heads, window } = reach
  const columns = 2 * window + 1
  const sides = g.int64([0, 0, 0, window, 0, 0, 0, window])
  const wide = attn.op('Pad', [shares, sides], {}, 'gathered/padded') // [1, H, T, T + W - 1]
  const flat = attn.op('Reshape', [wide, g.int64([1, heads, 1, -1])], {}, 'gathered/flat')
  const longer = attn.op('Pad', [flat, padEnd(reach, attn, 'gathered')], {}, 'gathered/longer')
  const row = attn.op('Add', [length, g.int64([columns])], {}, 'gathered/row')
  const shape = attn.op('Concat', [g.int64([1, heads]), length, row], { axis: 0 }, 'gathered/shape')
  const shifted = attn.op('Reshape', [longer, shape], {}, 'gathered/shifted') // [1, H, T, T + W]
  const out = attn.op('Slice', [shifted, g.int64([0]), g.int64([columns]), g.int64([3])], {}, 'gathered/out')
  return g.refine(out, [1, heads, 'T', columns])
}

/** Pads of four axes: `length` zeros behind the last. */
const padEnd = ({ g, length }: Reach, attn: Scope, name: string): Value =>
  attn.op('Concat', [g.int64([0, 0, 0, 0, 0, 0, 0]), length], { axis: 0 }, `${name}/pads`)

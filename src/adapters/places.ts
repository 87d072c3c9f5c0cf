/**
 * From the rows and columns of a checkpoint's matrices to those of the graph: heads may be padded (core/heads), and Meta-style
 * checkpoints keep rotary pairs interleaved where the graph keeps them in halves.
 */

import { M4Error } from '../core/errors.js'
import { interleavedRow, sourceHeadRow } from '../core/heads.js'
import type { Abi, AbiSite } from '../firmware/manifest.js'
import type { PackedLora } from './types.js'

/** Order of rotary pairs in the checkpoint that an adapter was trained on. */
export type RotaryOrder = 'half' | 'interleaved'

/** Parts whose rows are attention heads; q and k turn with the position. */
const HEAD_ROWS: Readonly<Record<string, { readonly rotary: boolean }>> = Object.freeze({
  q: { rotary: true },
  k: { rotary: true },
  v: { rotary: false },
})
/** Parts whose input is the attention's output, so that their columns are heads. */
const HEAD_COLUMNS: ReadonlySet<string> = new Set(['o'])

/** A place below a layer: `{site: 'qkv', part: 'q'}`. */
export interface Place {
  readonly site: string
  readonly part: string
}

export interface PartShape {
  /** Inputs and outputs in the checkpoint. */
  readonly in: number
  readonly out: number
}

/** Width of a dimension of heads in the checkpoint. */
const unpadded = (abi: Abi, width: number) => (width / abi.headWidth) * abi.sourceHeadWidth

/** Shape of a part in the checkpoint that the adapter was trained on, or undefined where this base has no such place. */
export function partShape(abi: Abi, { site, part }: Place): PartShape | undefined {
  const found = siteOf(abi, site)
  const out = found?.parts.find(({ name }) => name === part)?.out
  if (!found || out === undefined) return undefined
  return {
    in: HEAD_COLUMNS.has(part) ? unpadded(abi, found.in) : found.in,
    out: HEAD_ROWS[part] ? unpadded(abi, out) : out,
  }
}

const siteOf = (abi: Abi, site: string): AbiSite | undefined =>
  Object.hasOwn(abi.sites, site) ? abi.sites[site] : undefined

/** One trained pair, in the checkpoint's layout: y += scale · B·A·x. */
export interface LoraPart {
  readonly rank: number
  readonly a: Float32Array // [r, in]
  readonly b: Float32Array // [out, r]
  readonly scale: number
}

/** Row of the checkpoint's matrix that stands at `row` of the graph's, or -1 for padding. */
function outputRow(abi: Abi, part: string, order: RotaryOrder, row: number): number {
  const heads = HEAD_ROWS[part]
  if (!heads) return row
  const source = sourceHeadRow(row, { from: abi.sourceHeadWidth, to: abi.headWidth, rotary: heads.rotary })
  return heads.rotary && order === 'interleaved' && source >= 0 ? interleavedRow(source, abi.sourceHeadWidth) : source
}

function inputRow(abi: Abi, part: string, row: number): number {
  if (!HEAD_COLUMNS.has(part)) return row
  return sourceHeadRow(row, { from: abi.sourceHeadWidth, to: abi.headWidth, rotary: false })
}

/**
 * The parts of one site side by side: A [in, R], B [R, out] block-diagonal, scale folded into B.
 * @param parts shapes already checked against `partShape`
 * @throws M4Error `UNKNOWN_NAME` when the ABI has no such site
 */
export function packSite(
  abi: Abi,
  siteName: string,
  parts: ReadonlyMap<string, LoraPart>,
  order: RotaryOrder,
): PackedLora {
  const site = siteOf(abi, siteName)
  if (!site) throw new M4Error('UNKNOWN_NAME', `The base has no LoRA site "${siteName}".`)
  const present = site.parts.flatMap(({ name }) => parts.get(name) ?? [])
  const rank = present.reduce((sum, part) => sum + part.rank, 0)
  const out = site.parts.reduce((sum, part) => sum + part.out, 0)
  const a = new Float32Array(site.in * rank)
  const b = new Float32Array(rank * out)
  let [firstRank, firstColumn] = [0, 0]
  for (const { name, out: width } of site.parts) {
    const part = parts.get(name)
    if (part) {
      const inner = part.a.length / part.rank
      for (let row = 0; row < site.in; row++) {
        const source = inputRow(abi, name, row)
        if (source < 0) continue
        for (let r = 0; r < part.rank; r++) a[row * rank + firstRank + r] = part.a[r * inner + source]!
      }
      for (let column = 0; column < width; column++) {
        const source = outputRow(abi, name, order, column)
        if (source < 0) continue
        for (let r = 0; r < part.rank; r++)
          b[(firstRank + r) * out + firstColumn + column] = part.scale * part.b[source * part.rank + r]!
      }
      firstRank += part.rank
    }
    firstColumn += width
  }
  return { rank, a, b }
}

/**
 * Keys and values of virtual tokens, heads as in the graph's cache.
 * @param source element of the checkpoint at (token, head, position inside the head)
 * @param kind keys are laid out as rotary heads (though virtual ones do not turn), values as plain ones
 * @returns [K, n, D]
 */
export function packHeads(
  abi: Abi,
  tokens: number,
  kind: 'key' | 'value',
  source: (token: number, head: number, inside: number) => number,
): Float32Array {
  const { kvHeads, headWidth, sourceHeadWidth } = abi
  const out = new Float32Array(kvHeads * tokens * headWidth)
  for (let inside = 0; inside < headWidth; inside++) {
    const from = sourceHeadRow(inside, { from: sourceHeadWidth, to: headWidth, rotary: kind === 'key' })
    if (from < 0) continue
    for (let head = 0; head < kvHeads; head++)
      for (let token = 0; token < tokens; token++)
        out[(head * tokens + token) * headWidth + inside] = source(token, head, from)
  }
  return out
}

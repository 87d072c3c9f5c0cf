/**
 * From the rows and columns of a checkpoint's matrices to those of the graph: heads may be padded (core/heads), and Meta-style
 * checkpoints keep rotary pairs interleaved where the graph keeps them in halves.
 */

import { M4Error, unknownName } from '../core/errors.js'
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

/** Which inputs and outputs of a part are padding of heads: 1 there, 0 elsewhere. */
export interface PartPadding {
  readonly inputs: Uint8Array // [in]
  readonly outputs: Uint8Array // [out]
}

/**
 * The padding of a part in the graph. What is trained must begin as zero there (A by `inputs`, B by `outputs`): gradients are
 * then zero too, and nothing is lost when the padding is taken out again.
 * @throws M4Error `UNKNOWN_NAME` when the base has no such place
 */
export function partPadding(abi: Abi, place: Place): PartPadding {
  const { inner, out } = graphShape(abi, place)
  const mark = (length: number, source: (row: number) => number) =>
    Uint8Array.from({ length }, (_, row) => (source(row) < 0 ? 1 : 0))
  return {
    inputs: mark(inner, (row) => inputRow(abi, place.part, row)),
    outputs: mark(out, (row) => outputRow(abi, place.part, 'half', row)),
  }
}

/** Inputs and outputs of a part in the graph. */
function graphShape(abi: Abi, { site, part }: Place): { readonly inner: number; readonly out: number } {
  const found = siteOf(abi, site)
  const out = found?.parts.find(({ name }) => name === part)?.out
  if (found && out !== undefined) return { inner: found.in, out }
  const known = Object.entries(abi.sites).flatMap(([name, { parts }]) => parts.map((known) => `${name}/${known.name}`))
  throw unknownName('LoRA place', `${site}/${part}`, known)
}

/**
 * The inverse of `packSite` for one part: A [in, r] and B [r, out] of the graph → A [r, in] and B [out, r] of the checkpoint.
 * Inputs that are padding are left out of A, whatever stands there: they are always zero.
 * @throws M4Error `UNKNOWN_NAME`, `SHAPE_MISMATCH`, `INVALID_REQUEST` when B has learned something in the padding of heads
 */
export function unpackPart(
  abi: Abi,
  place: Place,
  { rank, a, b }: { readonly rank: number; readonly a: Float32Array; readonly b: Float32Array },
  order: RotaryOrder,
): { readonly a: Float32Array; readonly b: Float32Array } {
  const { inner, out } = graphShape(abi, place)
  const shape = partShape(abi, place)!
  if (!Number.isInteger(rank) || rank < 1 || a.length !== inner * rank || b.length !== rank * out)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `${place.site}/${place.part}: rank ${rank} needs A [${inner}, ${rank}] and B [${rank}, ${out}], got ${a.length} and ${b.length} elements.`,
      { details: { place, rank } },
    )
  const [outA, outB] = [new Float32Array(rank * shape.in), new Float32Array(shape.out * rank)]
  for (let row = 0; row < inner; row++) {
    const source = inputRow(abi, place.part, row)
    if (source >= 0) for (let r = 0; r < rank; r++) outA[r * shape.in + source] = a[row * rank + r]!
  }
  for (let column = 0; column < out; column++) {
    const source = outputRow(abi, place.part, order, column)
    for (let r = 0; r < rank; r++) {
      const value = b[r * out + column]!
      if (source >= 0) outB[source * rank + r] = value
      else if (value !== 0) throw learnedPadding(`${place.site}/${place.part}`)
    }
  }
  return { a: outA, b: outB }
}

/**
 * The inverse of `packHeads`: keys or values [K, n, D] of the graph → [n, K·D] of the checkpoint.
 * @throws M4Error `SHAPE_MISMATCH`, `INVALID_REQUEST` when the padding of heads is not zero
 */
export function unpackHeads(abi: Abi, tokens: number, kind: 'key' | 'value', data: Float32Array): Float32Array {
  const { kvHeads, headWidth, sourceHeadWidth } = abi
  if (data.length !== kvHeads * tokens * headWidth)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Prefix ${kind}s: expected [${kvHeads}, ${tokens}, ${headWidth}], got ${data.length} elements.`,
    )
  const out = new Float32Array(tokens * kvHeads * sourceHeadWidth)
  for (let inside = 0; inside < headWidth; inside++) {
    const to = sourceHeadRow(inside, { from: sourceHeadWidth, to: headWidth, rotary: kind === 'key' })
    for (let head = 0; head < kvHeads; head++)
      for (let token = 0; token < tokens; token++) {
        const value = data[(head * tokens + token) * headWidth + inside]!
        if (to >= 0) out[(token * kvHeads + head) * sourceHeadWidth + to] = value
        else if (value !== 0) throw learnedPadding(`prefix ${kind}s`)
      }
  }
  return out
}

const learnedPadding = (place: string) =>
  new M4Error('INVALID_REQUEST', `${place}: the padding of heads was trained; no checkpoint has room for it.`, {
    hint: 'Begin with zeros where partPadding says so.',
    details: { place },
  })

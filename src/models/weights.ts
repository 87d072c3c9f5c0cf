/**
 * From a checkpoint's own tensor names to ours. Each architecture has one literal table per layout; a tensor that the table
 * does not name, a tensor that is missing, and a tensor of another shape are all errors, never guesses.
 */

import { formatDims } from '../core/dims.js'
import { M4Error, nearestNames } from '../core/errors.js'

/** What a model needs of a checkpoint tensor; the readers of `checkpoint/` have this shape. */
export interface WeightTensor {
  readonly name: string
  readonly dims: readonly number[]
  /** Elements as float32: all, or rows `[from, to)` of the first dimension. */
  float32(rows?: Rows): Float32Array
  /** Names of the architecture's table that this is made of, one below the other: set by `withOrigins` for training. */
  readonly origin?: readonly string[]
  /** Where the file stores `code * scale` with one scale per 32 elements: exactly those, so that repacking loses nothing. */
  codes32?(rows?: Rows): BlockCodes | undefined
}

export interface Rows {
  readonly from: number
  readonly to: number
}

export interface BlockCodes {
  readonly codes: Int8Array
  /** One scale for each 32 codes. */
  readonly scales: Float32Array
}

export type Weights = ReadonlyMap<string, WeightTensor>

/** One tensor of the layout: its name with `{}` for the layer, or an equal share of the rows of a fused one. */
export type SourceName = string | { readonly name: string; readonly part: number; readonly of: number }

export interface NameTable {
  /** our name (`{}` for the layer) → theirs */
  readonly names: Readonly<Record<string, SourceName>>
  /** Present in such files and of no use, e.g. rotary frequencies. */
  readonly ignore?: readonly RegExp[]
  /** Our names that such files may leave out, e.g. a tied head. */
  readonly optional?: readonly string[]
}

const fill = (pattern: string, layer: number) => pattern.replace('{}', String(layer))

/**
 * All weights of one model under our names, shapes checked.
 * @param shapes our name (`{}` for the layer) → expected dims
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function resolveWeights(
  weights: Weights,
  table: NameTable,
  layers: number | ((ours: string) => number),
  shapes: Readonly<Record<string, readonly number[]>>,
): Map<string, WeightTensor> {
  const used = new Set<string>()
  const resolved = new Map<string, WeightTensor>()
  const missing: string[] = []
  for (const [ours, source] of Object.entries(table.names)) {
    const count = !ours.includes('{}') ? 1 : typeof layers === 'number' ? layers : layers(ours)
    for (let layer = 0; layer < count; layer++) {
      const theirs = fill(typeof source === 'string' ? source : source.name, layer)
      const tensor = weights.get(theirs)
      if (!tensor) {
        if (!table.optional?.includes(ours)) missing.push(theirs)
        continue
      }
      used.add(theirs)
      const view = typeof source === 'string' ? tensor : rowShare(tensor, source.part, source.of)
      resolved.set(fill(ours, layer), withShape(view, shapes[ours], ours))
    }
  }
  if (missing.length) {
    const near = nearestNames(missing[0]!, weights.keys())
    throw new M4Error('TENSOR_MISSING', `The checkpoint lacks ${list(missing)}.`, {
      hint: near.length ? `It has ${near.join(', ')}: is this the right layout?` : 'Is this the right architecture?',
      details: { missing },
    })
  }
  const unused = [...weights.keys()].filter((name) => !used.has(name) && !table.ignore?.some((rule) => rule.test(name)))
  if (unused.length)
    throw new M4Error('TENSOR_UNUSED', `The checkpoint has ${list(unused)}, which this architecture does not know.`, {
      hint: 'Is the configuration (layers, tied head) the one of this checkpoint?',
      details: { unused },
    })
  return resolved
}

/** The table whose first required names are all present: how a layout is recognised. */
export function findLayout<K extends string>(weights: Weights, tables: Readonly<Record<K, NameTable>>): K {
  for (const layout of Object.keys(tables) as K[]) {
    const { names, optional } = tables[layout]
    const required = Object.entries(names).filter(([ours]) => !optional?.includes(ours))
    if (required.every(([, source]) => weights.has(fill(typeof source === 'string' ? source : source.name, 0))))
      return layout
  }
  const some = [...weights.keys()].slice(0, 5).join(', ')
  throw new M4Error('FORMAT_UNSUPPORTED', `No known layout has tensors named like ${some}.`, {
    hint: `Known layouts: ${Object.keys(tables).join(', ')}.`,
  })
}

/** Shapes agree up to sizes of one: ggml writes a bias as [n, 1]. */
function withShape(tensor: WeightTensor, expected: readonly number[] | undefined, ours: string): WeightTensor {
  if (!expected) throw new M4Error('SHAPE_MISMATCH', `No shape is declared for "${ours}".`)
  const significant = (dims: readonly number[]) => dims.filter((dim) => dim !== 1).join()
  if (significant(tensor.dims) !== significant(expected))
    throw new M4Error(
      'SHAPE_MISMATCH',
      `${tensor.name}: expected ${formatDims(expected)}, the checkpoint has ${formatDims(tensor.dims)}.`,
      { hint: 'Does the configuration belong to this checkpoint?', details: { expected, got: tensor.dims } },
    )
  if (tensor.dims.length === expected.length) return tensor
  return { name: tensor.name, dims: expected, float32: (rows) => tensor.float32(rows) }
}

function rowShare(tensor: WeightTensor, part: number, of: number): WeightTensor {
  const rows = tensor.dims[0]! / of
  const start = part * rows
  const shift = ({ from, to }: Rows = { from: 0, to: rows }): Rows => ({ from: start + from, to: start + to })
  return {
    name: tensor.name,
    dims: [rows, ...tensor.dims.slice(1)],
    float32: (range) => tensor.float32(shift(range)),
    codes32: (range) => tensor.codes32?.(shift(range)),
  }
}

/**
 * The same weights, each knowing its name in the architecture's table: graphs made from them can be trained in full. A tensor that
 * stands under two names (a tied head) keeps the first.
 */
export function withOrigins(weights: ReadonlyMap<string, WeightTensor>): Map<string, WeightTensor> {
  const first = new Map<WeightTensor, string>()
  for (const [name, tensor] of weights) if (!first.has(tensor)) first.set(tensor, name)
  const known = ([name, tensor]: [string, WeightTensor]): [string, WeightTensor] => [
    name,
    { name: tensor.name, dims: tensor.dims, origin: [first.get(tensor)!], float32: (rows) => tensor.float32(rows) },
  ]
  return new Map([...weights].map(known))
}

/** Matrices of one width, one below the other: several products of one input as one. */
export function stackRows(tensors: readonly WeightTensor[]): WeightTensor {
  const all: Rows = { from: 0, to: tensors.reduce((sum, { dims }) => sum + dims[0]!, 0) }
  /** The share of each tensor in rows `[from, to)` of the stack. */
  const shares = ({ from, to }: Rows) => {
    let start = 0
    return tensors.flatMap((tensor) => {
      const rows = { from: Math.max(from - start, 0), to: Math.min(to - start, tensor.dims[0]!) }
      start += tensor.dims[0]!
      return rows.from < rows.to ? [{ tensor, rows }] : []
    })
  }
  return {
    name: tensors.map(({ name }) => name).join(' + '),
    ...(tensors.every(({ origin }) => origin) ? { origin: tensors.flatMap(({ origin }) => origin!) } : {}),
    dims: [all.to, ...tensors[0]!.dims.slice(1)],
    float32: (rows = all) => joinArrays(shares(rows).map((share) => share.tensor.float32(share.rows))),
    codes32: (rows = all) => {
      const parts = shares(rows).map((share) => share.tensor.codes32?.(share.rows))
      if (!parts.every((part) => part !== undefined)) return undefined
      return {
        codes: joinArrays(parts.map(({ codes }) => codes)),
        scales: joinArrays(parts.map(({ scales }) => scales)),
      }
    },
  }
}

function joinArrays<A extends Float32Array | Int8Array>(parts: readonly A[]): A {
  if (parts.length === 1) return parts[0]!
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const joined = new (parts[0]!.constructor as new (length: number) => A)(length)
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

/**
 * A view of `rows` rows whose row `i` is row `source(i)` of the tensor, or zeros where that is negative. Rows move only within
 * attention heads: `group` rows of the view come from `sourceGroup` rows of the tensor.
 */
export function mapRows(
  tensor: WeightTensor,
  layout: { rows: number; group: number; sourceGroup: number },
  source: (row: number) => number,
): WeightTensor {
  const width = tensor.dims.slice(1).reduce((a, b) => a * b, 1)
  const all: Rows = { from: 0, to: layout.rows }
  /** The tensor's rows that hold every source of the view's rows: whole heads. */
  const needed = ({ from, to }: Rows): Rows => ({
    from: Math.floor(from / layout.group) * layout.sourceGroup,
    to: Math.ceil(to / layout.group) * layout.sourceGroup,
  })
  const take = <A extends Float32Array | Int8Array>(data: A, rows: Rows, perRow: number): A => {
    const base = needed(rows).from
    const out = new (data.constructor as new (length: number) => A)((rows.to - rows.from) * perRow)
    for (let row = rows.from; row < rows.to; row++) {
      const at = source(row)
      if (at >= 0) out.set(data.subarray((at - base) * perRow, (at - base + 1) * perRow), (row - rows.from) * perRow)
    }
    return out
  }
  return {
    name: tensor.name,
    dims: [layout.rows, ...tensor.dims.slice(1)],
    float32: (rows = all) => take(tensor.float32(needed(rows)), rows, width),
    codes32: (rows = all) => {
      const stored = tensor.codes32?.(needed(rows))
      return stored && { codes: take(stored.codes, rows, width), scales: take(stored.scales, rows, width / 32) }
    },
  }
}

/** A view of a matrix whose column `i` is column `source(i)`, or zeros where that is negative. */
export function mapColumns(tensor: WeightTensor, columns: number, source: (column: number) => number): WeightTensor {
  const from = Array.from({ length: columns }, (_, i) => source(i))
  const inner = tensor.dims[1]!
  return {
    name: tensor.name,
    dims: [tensor.dims[0]!, columns],
    float32: (rows) => {
      const data = tensor.float32(rows)
      const out = new Float32Array((data.length / inner) * columns)
      for (let row = 0; row < data.length / inner; row++)
        for (let i = 0; i < columns; i++) if (from[i]! >= 0) out[row * columns + i] = data[row * inner + from[i]!]!
      return out
    },
  }
}

const list = (names: readonly string[]) =>
  names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`

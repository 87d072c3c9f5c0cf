/**
 * One table of tensors a network: our name, its shape, and its name in each layout. Sizes vary from level to level, so the
 * table is made from the configuration.
 */

import { M4Error } from '../../core/errors.js'
import type { NameTable, Weights } from '../weights.js'

export interface TensorRow<L extends string> {
  readonly ours: string
  readonly dims: readonly number[]
  readonly theirs: Readonly<Record<L, string>>
}

/** A weight and its bias: [`out`, …] and [`out`]. */
export function biased<L extends string>(
  ours: string,
  dims: readonly number[],
  theirs: Readonly<Record<L, string>>,
): TensorRow<L>[] {
  return [plain(ours, dims, theirs), suffixed(`${ours}/bias`, [dims[0]!], theirs, '.bias')]
}

/** A weight alone. */
export const plain = <L extends string>(
  ours: string,
  dims: readonly number[],
  theirs: Readonly<Record<L, string>>,
): TensorRow<L> => suffixed(ours, dims, theirs, '.weight')

function suffixed<L extends string>(
  ours: string,
  dims: readonly number[],
  theirs: Readonly<Record<L, string>>,
  suffix: string,
): TensorRow<L> {
  const names = Object.entries<string>(theirs).map(([layout, name]) => [layout, name + suffix])
  return { ours, dims, theirs: Object.fromEntries(names) as Record<L, string> }
}

/** Both names of a place, each with a part behind it. */
export const at = <L extends string>(place: Readonly<Record<L, string>>, parts: Readonly<Record<L, string>>) =>
  Object.fromEntries(
    Object.entries<string>(place).map(([layout, name]) => [layout, `${name}.${parts[layout as L]}`]),
  ) as Record<L, string>

/** The same part behind every name of a place. */
export const within = <L extends string>(place: Readonly<Record<L, string>>, part: string) =>
  Object.fromEntries(Object.entries<string>(place).map(([layout, name]) => [layout, `${name}.${part}`])) as Record<
    L,
    string
  >

export const namesIn = <L extends string>(rows: readonly TensorRow<L>[], layout: L): NameTable => ({
  names: Object.fromEntries(rows.map(({ ours, theirs }) => [ours, theirs[layout]])),
})

export const shapesOf = (rows: readonly TensorRow<string>[]): Record<string, readonly number[]> =>
  Object.fromEntries(rows.map(({ ours, dims }) => [ours, dims]))

/** The layout whose telltale tensor is there. @throws M4Error `FORMAT_UNSUPPORTED` */
export function layoutOf<L extends string>(what: string, weights: Weights, telltales: Readonly<Record<L, string>>): L {
  for (const layout of Object.keys(telltales) as L[]) if (weights.has(telltales[layout])) return layout
  const some = [...weights.keys()].slice(0, 3).join(', ') || 'nothing'
  throw new M4Error('FORMAT_UNSUPPORTED', `No known layout of a ${what} has tensors named like ${some}.`, {
    hint: `Expected ${Object.values(telltales).join(' or ')}.`,
  })
}

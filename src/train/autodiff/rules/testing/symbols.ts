/** Cases with sizes that only the run knows. */

import { type Dim, elementCount } from '../../../../core/dims.js'
import type { OpName } from '../../../../graph/index.js'
import type { CaseTensor, OpCase } from '../../../../graph/testing/case-types.js'
import { opened } from './finite-differences.js'

/** Axes of an input that may be open; all where there is no entry. Widths of heads and kernels are known. */
const OPEN_AXES: { readonly [K in OpName]?: (input: number, rank: number) => readonly number[] } = {
  GroupQueryAttention: (_, rank) => (rank === 3 ? [0, 1] : rank === 4 ? [0, 2] : []),
  MultiHeadAttention: (input, rank) =>
    rank === 3 ? [0, 1] : rank === 2 ? [0, 1] : rank === 4 && input !== 5 ? [0, 2] : [0, 2, 3],
  RotaryEmbedding: (input, rank) => (input === 1 ? [0, 1] : input > 1 ? [] : rank === 3 ? [0, 1] : [0, 2]),
  ScatterND: (input, rank) => range(0, input === 1 ? rank - 1 : rank),
  Conv: (input, rank) => (input === 0 ? [0, ...range(2, rank)] : []),
  ConvTranspose: (input, rank) => (input === 0 ? [0, ...range(2, rank)] : []),
}
/** Whole numbers whose own shape may be open: indices, not shapes. */
const INDEXED: readonly OpName[] = [
  'Gather',
  'GatherElements',
  'ScatterElements',
  'ScatterND',
  'RotaryEmbedding',
  'MultiHeadAttention',
]

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/**
 * A size from 2 on becomes a symbol, the same for equal sizes; sizes of weights (constants of the case) stay known.
 * `grow` gives the case with every symbol one larger.
 */
export function symbolised(op: OpName, opCase: OpCase, grow = false) {
  const known = new Set(opCase.inputs.flatMap((tensor) => (tensor?.constant ? tensor.dims : [])))
  const open = opened(opCase)
  const axesOf = (input: number, { dims, dtype, constant }: CaseTensor): readonly number[] => {
    if (constant || opCase.inputs[input]!.constant) return []
    if (dtype.startsWith('int') && !INDEXED.includes(op)) return []
    const axes = OPEN_AXES[op]?.(input, dims.length) ?? range(0, dims.length)
    return axes.filter((axis) => dims[axis]! > 1 && (OPEN_AXES[op] || !known.has(dims[axis]!)))
  }
  const symbols = new Map<CaseTensor, readonly Dim[]>()
  const inputs = open.inputs.map((tensor, i) => {
    if (!tensor) return undefined
    const axes = axesOf(i, tensor)
    const size = (dim: number, axis: number) => (axes.includes(axis) ? dim + 1 : dim)
    const larger = grow ? enlarged(tensor, tensor.dims.map(size)) : tensor
    symbols.set(
      larger,
      tensor.dims.map((dim, axis) => (axes.includes(axis) ? `D${dim}` : dim)),
    )
    return larger
  })
  const any = [...symbols.values()].flat().some((dim) => typeof dim === 'string')
  return { case: { ...open, inputs }, dimsOf: (tensor: CaseTensor) => symbols.get(tensor)!, any }
}

/** The same numbers again and again; those that may be are each a little different, so that none are equal. */
function enlarged(tensor: CaseTensor, dims: readonly number[]): CaseTensor {
  const { dtype, values } = tensor
  const vary = (value: number, i: number) =>
    dtype === 'float32' ? Math.fround(value * (1 + 0.03 * Math.sin(i))) : value
  return {
    ...tensor,
    dims,
    values: Array.from({ length: elementCount(dims) }, (_, i) => vary(values[i % values.length]!, i)),
  }
}

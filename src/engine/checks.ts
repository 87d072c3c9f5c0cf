/** Checks before a run, the same for every backend: names, element types, shapes, one size for one symbol. */

import { type Dim, formatDims } from '../core/dims.js'
import type { DType } from '../core/dtypes.js'
import { M4Error, unknownName } from '../core/errors.js'
import type { ValueInfo } from './types.js'

/** @throws M4Error `UNKNOWN_NAME` with the nearest known names */
export function findValue(values: readonly ValueInfo[], kind: 'input' | 'output', name: string): ValueInfo {
  const found = values.find((value) => value.name === name)
  if (found) return found
  throw unknownName(
    `${kind} of the graph`,
    name,
    values.map((value) => value.name),
  )
}

interface Typed {
  readonly dtype: DType
  readonly dims: readonly number[]
}

/** Element type, rank and the sizes that the graph fixes. @throws M4Error `SHAPE_MISMATCH` */
export function checkTensor(info: ValueInfo, tensor: Typed): void {
  const fits = tensor.dtype === info.dtype && dimsFit(info.dims, tensor.dims)
  if (fits) return
  const expected = `${info.dtype}${formatDims(info.dims)}`
  const got = `${tensor.dtype}${formatDims(tensor.dims)}`
  throw new M4Error('SHAPE_MISMATCH', `"${info.name}" takes ${expected}, got ${got}.`, {
    details: { name: info.name, expected, got },
  })
}

function dimsFit(declared: readonly Dim[], dims: readonly number[]): boolean {
  return declared.length === dims.length && declared.every((dim, i) => typeof dim === 'string' || dim === dims[i])
}

/** One symbol has one size among all inputs of a run. @throws M4Error `SHAPE_MISMATCH` */
export function checkSymbols(bound: Iterable<readonly [info: ValueInfo, tensor: Typed]>): void {
  const sizes = new Map<string, { size: number; name: string }>()
  for (const [info, tensor] of bound)
    for (const [axis, dim] of info.dims.entries()) {
      if (typeof dim !== 'string' || dim === UNNAMED_DIM) continue
      const size = tensor.dims[axis]!
      const before = sizes.get(dim)
      if (!before) sizes.set(dim, { size, name: info.name })
      else if (before.size !== size)
        throw new M4Error(
          'SHAPE_MISMATCH',
          `"${info.name}" takes ${formatDims(info.dims)} and got ${formatDims(tensor.dims)}, but "${before.name}" makes ${dim} = ${before.size}.`,
          { details: { symbol: dim, sizes: [before.size, size] } },
        )
    }
}

/** Every input of the graph must be given. @throws M4Error `USAGE` */
export function checkComplete(inputs: readonly ValueInfo[], given: { has(name: string): boolean }): void {
  const missing = inputs.filter((input) => !given.has(input.name))
  if (missing.length)
    throw new M4Error('USAGE', `The graph needs ${missing.map((input) => `"${input.name}"`).join(', ')}, not given.`, {
      details: { missing: missing.map((input) => input.name) },
    })
}

/** How a size without number or name is written in `ValueInfo.dims`. */
export const UNNAMED_DIM = '?'

/** What onnxruntime-web makes of -1, the size that has neither number nor name. */
const UNSIGNED_MINUS_ONE = 2 ** 32 - 1

/** A size as a backend tells it → `Dim`. */
export function dimOf(size: number, symbol: string | undefined): Dim {
  return size >= 0 && size !== UNSIGNED_MINUS_ONE ? size : symbol || UNNAMED_DIM
}

/** A tensor that a backend did not make, or whose memory has gone, must not reach native code. */
export function foreignTensor(name: string, backend: string): M4Error {
  return new M4Error('USAGE', `The tensor given for "${name}" was not made by the ${backend} engine.`, {
    hint: 'Make tensors with the `tensor` method of the engine that made the session.',
  })
}

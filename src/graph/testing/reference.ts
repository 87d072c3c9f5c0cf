/** The operators' mathematics, written for reading, not for speed: plain loops over row-major numbers. */

import { elementCount } from '../../core/dims.js'
import { bool, type CaseTensor, f32 } from './case-types.js'

type Tensor = CaseTensor

const stridesOf = (dims: readonly number[]): number[] => dims.map((_, i) => elementCount(dims.slice(i + 1)))

/** All index tuples of a shape, in row-major order. */
export function* indices(dims: readonly number[]): Generator<number[]> {
  const at = dims.map(() => 0)
  for (let left = elementCount(dims); left > 0; left--) {
    yield [...at]
    for (let i = dims.length - 1; i >= 0; i--) {
      at[i]! += 1
      if (at[i]! < dims[i]!) break
      at[i] = 0
    }
  }
}

/** Element at `index`, broadcast: missing leading axes and axes of size 1 stand still. */
export function at(tensor: Tensor, index: readonly number[]): number {
  const strides = stridesOf(tensor.dims)
  const skip = index.length - tensor.dims.length
  let offset = 0
  tensor.dims.forEach((size, i) => {
    offset += size === 1 ? 0 : index[i + skip]! * strides[i]!
  })
  return tensor.values[offset]!
}

export function map(x: Tensor, f: (value: number) => number, dtype = x.dtype): Tensor {
  return { dtype, dims: x.dims, values: x.values.map(f) }
}

export function zip(dims: readonly number[], f: (...values: number[]) => number, ...tensors: Tensor[]): Tensor {
  const values = [...indices(dims)].map((index) => f(...tensors.map((tensor) => at(tensor, index))))
  return { dtype: tensors[0]!.dtype, dims, values }
}

export const compare = (dims: readonly number[], f: (a: number, b: number) => boolean, a: Tensor, b: Tensor): Tensor =>
  bool(dims, zip(dims, (x, y) => Number(f(x, y)), a, b).values)

/** Element by element from a function of the index. */
export const generate = (dims: readonly number[], f: (index: readonly number[]) => number): Tensor =>
  f32(dims, [...indices(dims)].map(f))

/** Reduction over `axes`, sizes kept as 1. */
export function reduce(x: Tensor, axes: readonly number[], f: (values: number[]) => number): Tensor {
  const dims = x.dims.map((size, i) => (axes.includes(i) ? 1 : size))
  const groups = new Map<string, number[]>()
  for (const index of indices(x.dims)) {
    const key = index.map((position, i) => (axes.includes(i) ? 0 : position)).join()
    groups.set(key, [...(groups.get(key) ?? []), at(x, index)])
  }
  return { dtype: x.dtype, dims, values: [...groups.values()].map(f) }
}

export const reshaped = (x: Tensor, dims: readonly number[]): Tensor => ({ dtype: x.dtype, dims, values: x.values })

export function transpose(x: Tensor, perm: readonly number[]): Tensor {
  const dims = perm.map((axis) => x.dims[axis]!)
  const values = [...indices(dims)].map((index) =>
    at(
      x,
      perm.map((_, axis) => index[perm.indexOf(axis)]!),
    ),
  )
  return { dtype: x.dtype, dims, values }
}

/** a [..., T, C] · b [C, N] or [..., C, N]. */
export function matMul(a: Tensor, b: Tensor, dims: readonly number[]): Tensor {
  const inner = a.dims.at(-1)!
  return generate(dims, (index) => {
    let sum = 0
    for (let c = 0; c < inner; c++)
      sum += at(a, [...index.slice(0, -1), c]) * at(b, [...index.slice(0, -2), c, index.at(-1)!])
    return sum
  })
}

export function softmaxRow(row: readonly number[]): number[] {
  const top = Math.max(...row)
  const weights = row.map((value) => Math.exp(value - top))
  const sum = weights.reduce((a, b) => a + b, 0)
  return weights.map((weight) => weight / sum)
}

/** Softmax along the last axis. */
export function softmax(x: Tensor): Tensor {
  const width = x.dims.at(-1)!
  const values: number[] = []
  for (let from = 0; from < x.values.length; from += width)
    values.push(...softmaxRow(x.values.slice(from, from + width)))
  return { ...x, values }
}

/** Rows normalised to mean 0 (unless `rms`) and length 1, then scaled and shifted. */
export function normalise(x: Tensor, scale: Tensor, shift: Tensor | undefined, epsilon: number, rms: boolean): Tensor {
  const width = x.dims.at(-1)!
  const values: number[] = []
  for (let from = 0; from < x.values.length; from += width) {
    const row = x.values.slice(from, from + width)
    const mean = rms ? 0 : row.reduce((a, b) => a + b, 0) / width
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width
    row.forEach((value, i) => {
      values.push(((value - mean) / Math.sqrt(variance + epsilon)) * scale.values[i]! + (shift?.values[i] ?? 0))
    })
  }
  return { ...x, values }
}

/** Abramowitz and Stegun 7.1.26 is too coarse here: the series converges quickly for the small numbers of the cases. */
export function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; n < 60; n++) {
    term *= -(x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

export interface ConvSettings {
  readonly stride?: number
  readonly pad?: number
  readonly dilation?: number
  readonly group?: number
}

/** x [B, C, N], w [M, C/group, k] → `dims`. */
export function conv1d(
  x: Tensor,
  w: Tensor,
  bias: Tensor | undefined,
  dims: readonly number[],
  settings: ConvSettings = {},
): Tensor {
  const { stride = 1, pad = 0, dilation = 1, group = 1 } = settings
  const [filters, channels, kernel] = w.dims as [number, number, number]
  return generate(dims, ([b, m, n]) => {
    let sum = bias?.values[m!] ?? 0
    const first = Math.floor(m! / (filters / group)) * channels
    for (let c = 0; c < channels; c++)
      for (let k = 0; k < kernel; k++) {
        const position = n! * stride + k * dilation - pad
        if (position >= 0 && position < x.dims[2]!) sum += at(x, [b!, first + c, position]) * at(w, [m!, c, k])
      }
    return sum
  })
}

/** x [B, C, Y, X], w [M, C, k, k] → `dims`. */
export function conv2d(x: Tensor, w: Tensor, dims: readonly number[], stride: number, pad: number): Tensor {
  const [, channels, height, width] = w.dims as [number, number, number, number]
  return generate(dims, ([b, m, i, j]) => {
    let sum = 0
    for (let c = 0; c < channels; c++)
      for (let u = 0; u < height; u++)
        for (let v = 0; v < width; v++) {
          const [row, column] = [i! * stride + u - pad, j! * stride + v - pad]
          const inside = row >= 0 && column >= 0 && row < x.dims[2]! && column < x.dims[3]!
          if (inside) sum += at(x, [b!, c, row, column]) * at(w, [m!, c, u, v])
        }
    return sum
  })
}

/** Shape rules of the operators that only gradients use. */

import { type Dim, formatDims } from '../../core/dims.js'
import { addDims, mulDims, subDims, unifyDims } from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  input,
  mismatch,
  normalAxis,
  type RuleContext,
  type ShapeRule,
  sameDtype,
  wantDims,
  wantDtype,
  wantRank,
} from './context.js'
import { matMulDims } from './products.js'

/** Last two axes swapped. */
const swapped = (dims: readonly Dim[], swap: boolean): readonly Dim[] =>
  swap && dims.length > 1 ? [...dims.slice(0, -2), dims.at(-1)!, dims.at(-2)!] : dims

const fusedMatMul: ShapeRule<'FusedMatMul'> = (context) => {
  const [a, b] = [input(context, 0), input(context, 1)]
  const { transA, transB, transBatchA, transBatchB } = context.attributes
  if (transBatchA || transBatchB) mismatch(context, 'transBatchA and transBatchB 0', '1', 'M4 has no use for them.')
  wantDtype(context, a, ['float32'], 'a')
  const dims = matMulDims(context, swapped(a.dims, transA === 1), swapped(b.dims, transB === 1))
  return [{ dtype: sameDtype(context, a, b), dims }]
}

/** Rotates [B, H, T, D] or [B, T, H*D] by the rows of [positions, D/2] that `position_ids` [B, T] or [1] names. */
const rotary: ShapeRule<'RotaryEmbedding'> = (context) => {
  const [x, ids, cos, sin] = [input(context, 0), input(context, 1), input(context, 2), input(context, 3)]
  wantRank(context, x, [3, 4], 'input')
  wantDtype(context, ids, ['int64'], 'position_ids')
  wantRank(context, ids, [1, 2], 'position_ids')
  wantRank(context, cos, [2], 'cos_cache')
  wantDims(context, sin, cos.dims, 'sin_cache')
  return [{ dtype: sameDtype(context, x, cos, sin), dims: x.dims }]
}

const convTranspose: ShapeRule<'ConvTranspose'> = (context) => {
  const [x, w, bias] = [input(context, 0), input(context, 1), context.inputs[2]] // [B, C, ...], [C, M/group, ...]
  const { group, auto_pad: autoPad, output_shape: given } = context.attributes
  const spatial = x.dims.length - 2
  if (spatial < 1) mismatch(context, 'x of at least 3 dimensions', formatDims(x.dims))
  wantRank(context, w, [x.dims.length], 'w')
  if (autoPad !== 'NOTSET' || given) mismatch(context, 'pads, not auto_pad or output_shape', autoPad!)
  if (unifyDims(x.dims[1]!, w.dims[0]!) === undefined)
    mismatch(context, formatDims(x.dims.with(1, w.dims[0]!)), formatDims(x.dims))
  const filters = mulDims(w.dims[1]!, group!)
  if (bias) wantDims(context, bias, [filters], 'bias')
  const out = Array.from({ length: spatial }, (_, i) => transposedDim(context, i, x.dims[i + 2]!, w.dims[i + 2]!))
  return [{ dtype: sameDtype(context, x, w, bias), dims: [x.dims[0]!, filters, ...out] }]
}

/** stride · (size - 1) + output_padding + dilation · (kernel - 1) + 1 - pads */
function transposedDim(context: RuleContext<'ConvTranspose'>, axis: number, size: Dim, kernel: Dim): Dim {
  const { strides, dilations, pads, output_padding: extra } = context.attributes
  const spatial = context.inputs[0]!.dims.length - 2
  const reach = addDims(mulDims(subDims(kernel, 1), dilations?.[axis] ?? 1), 1)
  const padding = (pads?.[axis] ?? 0) + (pads?.[axis + spatial] ?? 0)
  return addDims(mulDims(subDims(size, 1), strides?.[axis] ?? 1), addDims(reach, (extra?.[axis] ?? 0) - padding))
}

const gatherElements: ShapeRule<'GatherElements'> = (context) => {
  const [data, indices] = [input(context, 0), input(context, 1)]
  normalAxis(context, context.attributes.axis!, data.dims.length)
  wantRank(context, indices, [data.dims.length], 'indices')
  wantDtype(context, indices, ['int64', 'int32'], 'indices')
  return [{ dtype: data.dtype, dims: indices.dims }]
}

const scatterElements: ShapeRule<'ScatterElements'> = (context) => {
  const [data, indices, updates] = [input(context, 0), input(context, 1), input(context, 2)]
  normalAxis(context, context.attributes.axis!, data.dims.length)
  wantDtype(context, indices, ['int64', 'int32'], 'indices')
  wantDims(context, updates, indices.dims, 'updates')
  return [{ dtype: sameDtype(context, data, updates), dims: data.dims }]
}

/** Rows of `data` named by `indices` [..., n] are replaced by `updates`. */
const scatterNd: ShapeRule<'ScatterND'> = (context) => {
  const [data, indices, updates] = [input(context, 0), input(context, 1), input(context, 2)]
  wantDtype(context, indices, ['int64'], 'indices')
  const depth = indices.dims.at(-1)
  if (typeof depth !== 'number' || depth < 1 || depth > data.dims.length)
    mismatch(context, `indices whose last size is 1…${data.dims.length}`, formatDims(indices.dims))
  wantDims(context, updates, [...indices.dims.slice(0, -1), ...data.dims.slice(depth)], 'updates')
  return [{ dtype: sameDtype(context, data, updates), dims: data.dims }]
}

const unique: ShapeRule<'Unique'> = (context) => {
  const x = input(context, 0)
  if (context.attributes.axis !== undefined) mismatch(context, 'no axis: M4 makes whole tensors unique', 'one')
  const count = context.fresh()
  const elements = x.dims.reduce<Dim>((product, dim) => mulDims(product, dim), 1)
  return [
    { dtype: x.dtype, dims: [count] },
    { dtype: 'int64', dims: [count] },
    { dtype: 'int64', dims: [elements] },
    { dtype: 'int64', dims: [count] },
  ]
}

export const TRAINING_RULES = {
  FusedMatMul: fusedMatMul,
  RotaryEmbedding: rotary,
  ConvTranspose: convTranspose,
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  Unique: unique,
} as const satisfies { [K in OpName]?: ShapeRule<K> }

/** Shape rules of matrix products, convolution and norms. */

import { type Dim, formatDims } from '../../core/dims.js'
import { addDims, broadcastShapes, divideExactly, floorDivDims, mulDims, subDims, unifyDims } from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  input,
  mismatch,
  normalAxis,
  type Place,
  type RuleContext,
  type ShapeRule,
  sameDtype,
  wantDims,
  wantFloat,
  wantRank,
} from './context.js'

/** NumPy's matmul: a 1-D operand gains an axis that is dropped again, leading axes broadcast. */
export function matMulDims(place: Place, a: readonly Dim[], b: readonly Dim[]): readonly Dim[] {
  if (a.length === 0 || b.length === 0) mismatch(place, 'matrices or vectors', `${formatDims(a)} and ${formatDims(b)}`)
  const left = a.length === 1 ? [1, ...a] : a // [..., T, C]
  const right = b.length === 1 ? [...b, 1] : b // [..., C, N]
  const rows = right.at(-2)!
  if (unifyDims(left.at(-1)!, rows) === undefined)
    mismatch(place, `${formatDims(a.with(-1, rows))} to multiply ${formatDims(b)}`, formatDims(a))
  const lead = broadcastShapes(left.slice(0, -2), right.slice(0, -2))
  if (!lead) mismatch(place, 'leading axes that broadcast', `${formatDims(a)} and ${formatDims(b)}`)
  const dims = [...lead]
  if (a.length > 1) dims.push(left.at(-2)!)
  if (b.length > 1) dims.push(right.at(-1)!)
  return dims
}

const matMul: ShapeRule<'MatMul'> = (context) => {
  const [a, b] = [input(context, 0), input(context, 1)]
  return [{ dtype: sameDtype(context, a, b), dims: matMulDims(context, a.dims, b.dims) }]
}

const AUTO_PADS = ['NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID']

const conv: ShapeRule<'Conv'> = (context) => {
  const [x, w, bias] = [input(context, 0), input(context, 1), context.inputs[2]] // [B, C, ...], [M, C/group, ...]
  const spatial = x.dims.length - 2
  if (spatial < 1) mismatch(context, 'x of at least 3 dimensions', formatDims(x.dims))
  wantRank(context, w, [x.dims.length], 'w')
  const { auto_pad: autoPad, group } = context.attributes
  if (!AUTO_PADS.includes(autoPad!)) mismatch(context, `auto_pad ${AUTO_PADS.join(', ')}`, autoPad!)
  const channels = mulDims(w.dims[1]!, group!)
  if (unifyDims(x.dims[1]!, channels) === undefined)
    mismatch(context, formatDims(x.dims.with(1, channels)), formatDims(x.dims))
  const [filters] = w.dims
  if (divideExactly(filters!, group!) === undefined) mismatch(context, `filters in ${group} groups`, String(filters))
  if (bias) wantDims(context, bias, [filters!], 'bias')
  const kernel = context.attributes.kernel_shape
  if (kernel?.some((size, i) => unifyDims(size, w.dims[i + 2]!) === undefined))
    mismatch(context, `kernel_shape ${formatDims(w.dims.slice(2))}`, formatDims(kernel))
  const out = Array.from({ length: spatial }, (_, i) => convDim(context, i, spatial, x.dims[i + 2]!, w.dims[i + 2]!))
  return [{ dtype: sameDtype(context, x, w, bias), dims: [x.dims[0]!, filters!, ...out] }]
}

/** One spatial size of the result: floor((size + pads - reach) / stride) + 1. */
function convDim(context: RuleContext<'Conv'>, axis: number, spatial: number, size: Dim, kernel: Dim): Dim {
  const { auto_pad: autoPad, strides, dilations, pads } = context.attributes
  for (const [what, list, length] of [
    ['strides', strides, spatial],
    ['dilations', dilations, spatial],
    ['pads', pads, 2 * spatial],
  ] as const)
    if (list && list.length !== length) mismatch(context, `${length} ${what}`, String(list.length))
  const stride = strides?.[axis] ?? 1
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER') return floorDivDims(addDims(size, stride - 1), stride)
  const reach = addDims(mulDims(subDims(kernel, 1), dilations?.[axis] ?? 1), 1)
  const padding = autoPad === 'VALID' || !pads ? 0 : pads[axis]! + pads[axis + spatial]!
  const dim = addDims(floorDivDims(subDims(addDims(size, padding), reach), stride), 1)
  if (typeof dim === 'number' && dim < 1)
    mismatch(context, `an input no smaller than the filter, ${reach}`, `${size} on axis ${axis + 2}`)
  return dim
}

type Norm = 'LayerNormalization' | 'SimplifiedLayerNormalization'

/** Scale and shift must broadcast to the input; statistics are float32 with the normalised axes as 1. */
const norm =
  <K extends Norm>(statistics: number): ShapeRule<K> =>
  (context) => {
    const { axis: from } = (context as unknown as RuleContext<Norm>).attributes
    const [x, scale] = [input(context, 0), input(context, 1)]
    const bias = context.inputs[2]
    wantFloat(context, x)
    const axis = normalAxis(context, from!, x.dims.length)
    for (const type of bias ? [scale, bias] : [scale]) {
      const fits = type.dims.length <= x.dims.length && broadcastShapes(x.dims, type.dims)
      if (!fits) mismatch(context, `scale ${formatDims(x.dims.slice(axis))}`, formatDims(type.dims))
      type.dims.forEach((dim, i) => {
        const own = x.dims[i - type.dims.length + x.dims.length]!
        if (unifyDims(dim, own) === undefined && dim !== 1)
          mismatch(context, `scale ${formatDims(x.dims.slice(axis))}`, formatDims(type.dims))
      })
    }
    const reduced = x.dims.map((dim, i) => (i < axis ? dim : 1))
    return [
      { dtype: x.dtype, dims: x.dims },
      ...Array.from({ length: statistics }, () => ({ dtype: 'float32' as const, dims: reduced })),
    ]
  }

/** Adds, then normalises the sum: [B, T, C] or [T, C]; `skip` may lack the batch. */
const skipNorm: ShapeRule<'SkipSimplifiedLayerNormalization'> = (context) => {
  const [x, skip, gamma, bias] = [input(context, 0), input(context, 1), input(context, 2), context.inputs[3]]
  wantFloat(context, x)
  wantRank(context, x, [2, 3], 'input')
  const fits = skip.dims.length <= x.dims.length && broadcastShapes(x.dims, skip.dims)
  if (!fits) mismatch(context, `skip ${formatDims(x.dims)}`, formatDims(skip.dims))
  wantDims(context, gamma, [x.dims.at(-1)!], 'gamma')
  if (bias) wantDims(context, bias, [x.dims.at(-1)!], 'bias')
  const dtype = sameDtype(context, x, skip, gamma, bias)
  const reduced = x.dims.with(-1, 1)
  return [
    { dtype, dims: x.dims },
    { dtype: 'float32', dims: reduced },
    { dtype: 'float32', dims: reduced },
    { dtype, dims: x.dims },
  ]
}

export const PRODUCT_RULES = {
  MatMul: matMul,
  Conv: conv,
  LayerNormalization: norm(2),
  SimplifiedLayerNormalization: norm(1),
  SkipSimplifiedLayerNormalization: skipNorm,
} as const satisfies { [K in OpName]?: ShapeRule<K> }

/** Shape rules of operators that move, cut, join and reshape. They also carry the contents of shape tensors along. */

import { type Dim, formatDims } from '../../core/dims.js'
import { dtypeFromOnnx } from '../../core/dtypes.js'
import {
  addDims,
  broadcastDim,
  divideExactly,
  isUnknown,
  mulDims,
  productOfDims,
  sameDim,
  subDims,
  unifyDims,
} from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  input,
  knownIntegers,
  mismatch,
  normalAxis,
  present,
  type RuleContext,
  type ShapeRule,
  sameDtype,
  type Typed,
  wantDtype,
  wantIntegers,
  wantLength,
  wantRank,
} from './context.js'

const identity: ShapeRule<'Identity'> = (context) => [input(context, 0)]

const cast: ShapeRule<'Cast'> = (context) => {
  const dtype = dtypeFromOnnx(context.attributes.to)
  if (!dtype) mismatch(context, 'to = an element type that M4 knows', String(context.attributes.to))
  const { dims, content } = input(context, 0)
  return [{ dtype, dims, content: dtype === 'int64' || dtype === 'int32' ? content : undefined }]
}

const shape: ShapeRule<'Shape'> = (context) => {
  const { dims } = input(context, 0)
  const clamp = (at: number) => Math.min(Math.max(at < 0 ? at + dims.length : at, 0), dims.length)
  const { start, end } = context.attributes
  const content = dims.slice(clamp(start!), end === undefined ? dims.length : clamp(end))
  return [{ dtype: 'int64', dims: [content.length], content: content.some(isUnknown) ? undefined : content }]
}

const reshape: ShapeRule<'Reshape'> = (context) => {
  const [data, target] = [input(context, 0), input(context, 1)]
  wantDtype(context, target, ['int64'], 'shape')
  const wanted = target.content ?? Array.from({ length: wantLength(context, target, 'shape') }, () => context.fresh())
  const dims = wanted.map((dim, i) => {
    if (dim !== 0 || context.attributes.allowzero) return dim
    return data.dims[i] ?? mismatch(context, `at most ${data.dims.length} sizes of 0 (copy)`, formatDims(wanted))
  })
  const open = dims.indexOf(-1)
  if (open < 0) {
    const [before, after] = [productOfDims(data.dims), productOfDims(dims)]
    const known = typeof before === 'number' && typeof after === 'number'
    if (known && before !== after)
      mismatch(context, `${before} elements (${formatDims(data.dims)})`, `${after} in ${formatDims(dims)}`)
    return [{ dtype: data.dtype, dims }]
  }
  if (dims.lastIndexOf(-1) !== open) mismatch(context, 'one -1 at most', formatDims(wanted))
  const others = dims.filter((_, i) => i !== open)
  return [{ dtype: data.dtype, dims: dims.with(open, openDim(context, data.dims, others)) }]
}

/** The size that -1 stands for: all elements of `data` divided by the other sizes. */
function openDim(context: RuleContext<'Reshape'>, data: readonly Dim[], others: readonly Dim[]): Dim {
  // Equal sizes are struck out first: it keeps unknown ones out of the division.
  const rest = [...others]
  const left = data.filter((dim) => {
    const at = rest.findIndex((other) => sameDim(other, dim))
    if (at >= 0) rest.splice(at, 1)
    return at < 0
  })
  const [total, divisor] = [productOfDims(left), productOfDims(rest)]
  const exact = divideExactly(total, divisor)
  if (exact !== undefined && !isUnknown(exact)) return exact
  if (typeof total === 'number' && typeof divisor === 'number' && divisor !== 0)
    mismatch(context, `a size that divides ${formatDims(data)}`, `${formatDims(others)} beside -1`)
  return context.fresh()
}

const transpose: ShapeRule<'Transpose'> = (context) => {
  const { dtype, dims } = input(context, 0)
  const perm = context.attributes.perm ?? dims.map((_, i) => dims.length - 1 - i)
  const valid = perm.length === dims.length && new Set(perm).size === dims.length && perm.every((i) => i in dims)
  if (!valid) mismatch(context, `perm as an order of ${dims.length} axes of ${formatDims(dims)}`, formatDims(perm))
  return [{ dtype, dims: perm.map((i) => dims[i]!) }]
}

const unsqueeze: ShapeRule<'Unsqueeze'> = (context) => {
  const data = input(context, 0)
  const axes = wantIntegers(context, input(context, 1), 'axes')
  const rank = data.dims.length + axes.length
  const at = new Set(axes.map((axis) => normalAxis(context, axis, rank)))
  if (at.size !== axes.length) mismatch(context, 'different axes', formatDims(axes))
  const rest = data.dims[Symbol.iterator]()
  const dims = Array.from({ length: rank }, (_, i) => (at.has(i) ? 1 : (rest.next().value as Dim)))
  return [{ dtype: data.dtype, dims, content: data.content }]
}

const squeeze: ShapeRule<'Squeeze'> = (context) => {
  const data = input(context, 0)
  const given = context.inputs[1] && wantIntegers(context, context.inputs[1], 'axes')
  const axes = new Set(given?.map((axis) => normalAxis(context, axis, data.dims.length)))
  for (const axis of axes)
    if (typeof data.dims[axis] === 'number' && data.dims[axis] !== 1)
      mismatch(context, `size 1 on axis ${axis}`, formatDims(data.dims))
  const dims = data.dims.filter((dim, i) => (given ? !axes.has(i) : dim !== 1))
  return [{ dtype: data.dtype, dims, content: data.content }]
}

const expand: ShapeRule<'Expand'> = (context) => {
  const [data, target] = [input(context, 0), input(context, 1)]
  wantDtype(context, target, ['int64'], 'shape')
  const length = target.content?.length ?? wantLength(context, target, 'shape')
  const rank = Math.max(length, data.dims.length)
  const dims = Array.from({ length: rank }, (_, i) => {
    const own = data.dims[i - rank + data.dims.length] ?? 1
    const at = i - rank + length
    if (at < 0) return own
    if (!target.content) return own === 1 ? context.fresh() : own
    return (
      broadcastDim(own, target.content[at]!) ??
      mismatch(context, `a shape that ${formatDims(data.dims)} broadcasts to`, formatDims(target.content))
    )
  })
  return [{ dtype: data.dtype, dims }]
}

const concat: ShapeRule<'Concat'> = (context) => {
  const types = present(context)
  const first = types[0]!
  const axis = normalAxis(context, context.attributes.axis, first.dims.length)
  let dims = first.dims
  for (const type of types.slice(1)) {
    wantRank(context, type, [first.dims.length], 'inputs')
    dims = dims.map((dim, i) => {
      if (i === axis) return addDims(dim, type.dims[i]!)
      const all = types.map((each) => formatDims(each.dims)).join(' and ')
      return unifyDims(dim, type.dims[i]!) ?? mismatch(context, `inputs that differ on axis ${axis} only`, all)
    })
  }
  const joined = first.dims.length === 1 && types.every((type) => type.content)
  const content = joined ? types.flatMap((type) => type.content!) : undefined
  return [{ dtype: sameDtype(context, ...types), dims, content }]
}

const split: ShapeRule<'Split'> = (context) => {
  const { dtype, dims } = input(context, 0)
  const axis = normalAxis(context, context.attributes.axis!, dims.length)
  const count = context.outputs
  const wanted = context.attributes.num_outputs
  if (wanted !== undefined && context.inputs[1]) mismatch(context, 'either `split` or num_outputs', 'both')
  if (wanted !== undefined && wanted !== count) mismatch(context, `${wanted} outputs`, String(count))
  const sizes = context.inputs[1]?.content ?? (context.inputs[1] ? undefined : evenParts(dims[axis]!, count))
  if (sizes && sizes.length !== count) mismatch(context, `${count} sizes, one an output`, formatDims(sizes))
  const total = sizes?.reduce(addDims, 0)
  if (typeof total === 'number' && typeof dims[axis] === 'number' && total !== dims[axis])
    mismatch(context, `sizes that add up to ${dims[axis]}`, formatDims(sizes!))
  return Array.from({ length: count }, (_, i) => ({ dtype, dims: dims.with(axis, sizes?.[i] ?? context.fresh()) }))
}

/** Equal parts, the last one smaller where they do not fit. */
function evenParts(total: Dim, count: number): readonly Dim[] | undefined {
  if (typeof total !== 'number') {
    const part = divideExactly(total, count)
    return part === undefined ? undefined : Array.from({ length: count }, () => part)
  }
  const part = Math.ceil(total / count)
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(part, total - i * part)))
}

const slice: ShapeRule<'Slice'> = (context) => {
  const data = input(context, 0)
  const rank = data.dims.length
  const starts = input(context, 1)
  const count = starts.content?.length ?? wantLength(context, starts, 'starts')
  const ends = input(context, 2).content
  const axes = context.inputs[3]
    ? wantIntegers(context, context.inputs[3], 'axes').map((axis) => normalAxis(context, axis, rank))
    : Array.from({ length: count }, (_, i) => i)
  const steps = context.inputs[4] ? knownIntegers(context.inputs[4]) : axes.map(() => 1)
  if (axes.length !== count || axes.some((axis) => axis >= rank))
    mismatch(
      context,
      `starts, ends and axes of ${formatDims(data.dims)}`,
      `${count} starts for axes ${formatDims(axes)}`,
    )
  const dims = [...data.dims]
  axes.forEach((axis, i) => {
    dims[axis] = sliceDim(data.dims[axis]!, starts.content?.[i], ends?.[i], steps?.[i]) ?? context.fresh()
  })
  return [{ dtype: data.dtype, dims, content: sliceContent(data, starts.content?.[0], ends?.[0], steps?.[0]) }]
}

function sliceContent(data: Typed, start: Dim | undefined, end: Dim | undefined, step: number | undefined) {
  const known = data.dims.length === 1 && step === 1 && typeof start === 'number' && typeof end === 'number'
  return known ? data.content?.slice(start, end) : undefined
}

/** Length of `start:end:step` on an axis of `size`, or undefined when only the run knows. */
function sliceDim(size: Dim, start: Dim | undefined, end: Dim | undefined, step: number | undefined): Dim | undefined {
  if (start === undefined || end === undefined || step === undefined || step === 0) return undefined
  if (typeof size === 'number' && typeof start === 'number' && typeof end === 'number') {
    const low = step > 0 ? 0 : -1
    const high = step > 0 ? size : size - 1
    const clamp = (at: number) => Math.min(Math.max(at < 0 ? at + size : at, low), high)
    return Math.max(0, Math.ceil((clamp(end) - clamp(start)) / step))
  }
  if (step !== 1 || isUnknown(size)) return undefined
  // A symbolic axis: from the front or the back by a known number, to an end that is surely the end or surely inside.
  const toEnd = typeof end === 'number' ? end >= 2 ** 31 - 1 : sameDim(end, size)
  if (toEnd && start === 0) return size
  if (toEnd && typeof start === 'number' && start < 0) return undefined
  if (start === 0 && typeof end === 'string' && typeof size === 'string' && size.split('+').includes(end)) return end
  if (toEnd && typeof start === 'string' && typeof size === 'string' && size.split('+').includes(start))
    return subDims(size, start)
  return undefined
}

const gather: ShapeRule<'Gather'> = (context) => {
  const [data, indices] = [input(context, 0), input(context, 1)]
  wantDtype(context, indices, ['int64', 'int32'], 'indices')
  const axis = normalAxis(context, context.attributes.axis!, data.dims.length)
  const dims = [...data.dims.slice(0, axis), ...indices.dims, ...data.dims.slice(axis + 1)]
  const at = data.dims.length === 1 && data.content ? knownIntegers(indices) : undefined
  const content = at?.map(
    (i) => data.content!.at(i) ?? mismatch(context, `indices inside ${formatDims(data.dims)}`, `${i}`),
  )
  return [{ dtype: data.dtype, dims, content }]
}

const PAD_MODES = ['constant', 'reflect', 'edge', 'wrap']

const pad: ShapeRule<'Pad'> = (context) => {
  const [data, pads] = [input(context, 0), input(context, 1)]
  const mode = context.attributes.mode!
  if (!PAD_MODES.includes(mode)) mismatch(context, `mode ${PAD_MODES.join(', ')}`, mode)
  const rank = data.dims.length
  const axes = context.inputs[3]
    ? wantIntegers(context, context.inputs[3], 'axes').map((axis) => normalAxis(context, axis, rank))
    : [...data.dims.keys()]
  const sizes = pads.content
  if (sizes && sizes.length !== 2 * axes.length)
    mismatch(context, `${2 * axes.length} pads, begins then ends`, formatDims(sizes))
  if (context.inputs[2]) sameDtype(context, data, context.inputs[2])
  const dims = [...data.dims]
  axes.forEach((axis, i) => {
    dims[axis] = sizes ? addDims(dims[axis]!, addDims(sizes[i]!, sizes[i + axes.length]!)) : context.fresh()
  })
  return [{ dtype: data.dtype, dims }]
}

const range: ShapeRule<'Range'> = (context) => {
  const [start, limit, delta] = [input(context, 0), input(context, 1), input(context, 2)]
  const dtype = sameDtype(context, start, limit, delta)
  for (const type of [start, limit, delta]) wantRank(context, type, [0], 'start, limit and delta')
  const [from, to, step] = [start, limit, delta].map((type: Typed) => type.content?.[0])
  return [{ dtype, dims: [rangeLength(from, to, step) ?? context.fresh()] }]
}

function rangeLength(from: Dim | undefined, to: Dim | undefined, step: Dim | undefined): Dim | undefined {
  if (from === undefined || to === undefined || typeof step !== 'number' || step === 0) return undefined
  if (typeof from === 'number' && typeof to === 'number') return Math.max(0, Math.ceil((to - from) / step))
  return step === 1 ? mulDims(subDims(to, from), 1) : undefined
}

export const MOVEMENT_RULES = {
  Identity: identity,
  Cast: cast,
  Shape: shape,
  Reshape: reshape,
  Transpose: transpose,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Expand: expand,
  Concat: concat,
  Split: split,
  Slice: slice,
  Gather: gather,
  Pad: pad,
  Range: range,
} as const satisfies { [K in OpName]?: ShapeRule<K> }

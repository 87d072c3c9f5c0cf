/** Shape rules of the quantised operators. Block layouts as MatMulNBits keeps them: N rows of ceil(K / block) blocks. */

import { elementCount, formatDims } from '../../core/dims.js'
import { mulDims } from '../dims-algebra.js'
import type { OpName } from '../ops.js'
import {
  input,
  mismatch,
  normalAxis,
  type Place,
  type ShapeRule,
  sameDtype,
  type Typed,
  wantDims,
  wantDtype,
  wantFloat,
  wantSame,
} from './context.js'
import { matMulDims } from './products.js'

const dynamicQuantize: ShapeRule<'DynamicQuantizeLinear'> = (context) => {
  const x = input(context, 0)
  wantDtype(context, x, ['float32'], 'x')
  return [
    { dtype: 'uint8', dims: x.dims },
    { dtype: 'float32', dims: [] },
    { dtype: 'uint8', dims: [] },
  ]
}

const dequantize: ShapeRule<'DequantizeLinear'> = (context) => {
  const [x, scale, zeroPoint] = [input(context, 0), input(context, 1), context.inputs[2]]
  wantDtype(context, x, ['int8', 'uint8', 'int16', 'uint16', 'int32'], 'x')
  wantFloat(context, scale, 'x_scale')
  if (zeroPoint) {
    sameDtype(context, x, zeroPoint)
    wantDims(context, zeroPoint, scale.dims, 'x_zero_point')
  }
  const { axis: from, block_size: block } = context.attributes
  if (scale.dims.length === 1 && !block) {
    const axis = normalAxis(context, from!, x.dims.length)
    if (scale.dims[0] !== 1) wantSame(context, x.dims[axis]!, scale.dims[0]!, 'scales on the quantised axis')
  } else if (scale.dims.length > 1 || block) {
    const axis = normalAxis(context, from!, x.dims.length)
    const size = x.dims[axis]
    if (!block) mismatch(context, 'x_scale with one dimension at most, or a block_size', formatDims(scale.dims))
    const blocks = typeof size === 'number' ? Math.ceil(size / block) : '?'
    wantDims(context, scale, x.dims.with(axis, blocks), 'x_scale')
  }
  return [{ dtype: scale.dtype, dims: x.dims }]
}

const matMulInteger: ShapeRule<'MatMulInteger'> = (context) => {
  const [a, b] = [input(context, 0), input(context, 1)]
  wantDtype(context, a, ['uint8', 'int8'], 'a')
  wantDtype(context, b, ['uint8', 'int8'], 'b')
  if (context.inputs[2]) sameDtype(context, a, context.inputs[2])
  if (context.inputs[3]) sameDtype(context, b, context.inputs[3])
  return [{ dtype: 'int32', dims: matMulDims(context, a.dims, b.dims) }]
}

const dynamicMatMul: ShapeRule<'DynamicQuantizeMatMul'> = (context) => {
  const [a, b, scale] = [input(context, 0), input(context, 1), input(context, 2)]
  wantDtype(context, a, ['float32'], 'a')
  wantDtype(context, b, ['uint8', 'int8'], 'b')
  wantDtype(context, scale, ['float32'], 'b_scale')
  const columns = b.dims.at(-1)! // [C, N]
  const perColumn = (type: Typed, what: string) => {
    if (elementCountOf(type) !== 1) wantDims(context, type, [columns], what)
  }
  perColumn(scale, 'b_scale')
  if (context.inputs[3]) {
    sameDtype(context, b, context.inputs[3])
    perColumn(context.inputs[3], 'b_zero_point')
  }
  if (context.inputs[4]) wantDims(context, context.inputs[4], [columns], 'bias')
  return [{ dtype: 'float32', dims: matMulDims(context, a.dims, b.dims) }]
}

const elementCountOf = ({ dims }: Typed): number | undefined =>
  dims.every((dim) => typeof dim === 'number') ? elementCount(dims as readonly number[]) : undefined

function wantBlockSize(place: Place, block: number): void {
  if (block < 16 || !Number.isInteger(Math.log2(block)))
    mismatch(place, 'block_size a power of 2 from 16 on', `${block}`)
}

const matMulNBits: ShapeRule<'MatMulNBits'> = (context) => {
  const [a, b, scales, zeroPoints] = [input(context, 0), input(context, 1), input(context, 2), context.inputs[3]]
  const { K: width, N: rows, bits, block_size: block } = context.attributes
  wantFloat(context, a, 'a')
  wantBlockSize(context, block)
  if (![2, 4, 8].includes(bits!)) mismatch(context, 'bits 2, 4 or 8', String(bits))
  const blocks = Math.ceil(width / block)
  wantDtype(context, b, ['uint8'], 'b')
  wantDims(context, b, [rows, blocks, (block * bits!) / 8], 'b')
  sameDtype(context, a, scales, context.inputs[5])
  wantTable(context, scales, rows, blocks, 'scales')
  if (zeroPoints?.dtype === 'uint8')
    wantTable(context, zeroPoints, rows, Math.ceil((blocks * bits!) / 8), 'zero_points')
  else if (zeroPoints) wantTable(context, zeroPoints, rows, blocks, 'zero_points')
  if (context.inputs[5]) wantDims(context, context.inputs[5], [rows], 'bias')
  if (a.dims.length === 0) mismatch(context, `a [..., ${width}]`, formatDims(a.dims))
  wantSame(context, width, a.dims.at(-1)!, 'last size')
  return [{ dtype: a.dtype, dims: a.dims.with(-1, rows) }]
}

/** [rows, columns], or the same flat, as older files have it. */
function wantTable(place: Place, type: Typed, rows: number, columns: number, what: string): void {
  if (type.dims.length !== 1 || type.dims[0] !== rows * columns) wantDims(place, type, [rows, columns], what)
}

/** Only uint8 data: 4-bit and 2-bit values lie packed along the last axis, low bits first. */
const gatherQuantised: ShapeRule<'GatherBlockQuantized'> = (context) => {
  const [data, indices, scales] = [input(context, 0), input(context, 1), input(context, 2)]
  const { bits, block_size: block, gather_axis: gatherAxis, quantize_axis: quantAxis } = context.attributes
  wantDtype(context, data, ['uint8'], 'data')
  wantDtype(context, indices, ['int64', 'int32'], 'indices')
  wantFloat(context, scales, 'scales')
  wantBlockSize(context, block!)
  if (![2, 4, 8].includes(bits!)) mismatch(context, 'bits 2, 4 or 8', String(bits))
  const rank = data.dims.length
  const axis = normalAxis(context, gatherAxis!, rank)
  if (axis !== 0) mismatch(context, 'gather_axis 0, as uint8 data needs', String(gatherAxis))
  const unpacked = data.dims.with(-1, mulDims(data.dims.at(-1)!, 8 / bits!))
  const quantised = normalAxis(context, quantAxis!, rank)
  if (quantised !== rank - 1) mismatch(context, `quantize_axis ${rank - 1}, as uint8 data needs`, String(quantAxis))
  const size = unpacked[quantised]
  const blocks = typeof size === 'number' ? Math.ceil(size / block!) : '?'
  wantDims(context, scales, unpacked.with(quantised, blocks), 'scales')
  if (context.inputs[3]) sameDtype(context, data, context.inputs[3])
  return [{ dtype: scales.dtype, dims: [...indices.dims, ...unpacked.slice(1)] }]
}

export const QUANTISED_RULES = {
  DynamicQuantizeLinear: dynamicQuantize,
  DequantizeLinear: dequantize,
  MatMulInteger: matMulInteger,
  DynamicQuantizeMatMul: dynamicMatMul,
  MatMulNBits: matMulNBits,
  GatherBlockQuantized: gatherQuantised,
} as const satisfies { [K in OpName]?: ShapeRule<K> }

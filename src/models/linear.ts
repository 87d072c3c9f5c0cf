/**
 * Linear layers in the forms that the engine multiplies fast, and how a weight matrix becomes one.
 *
 *   fp32         MatMul over float32, stored as float32
 *   fp16         the same, stored as float16 (widened once, at load)
 *   int8-b32     MatMulNBits, 8 bit, one scale per 32 inputs; lossless where the source stores such blocks itself
 *   int8-b128    the same with one scale per 128 inputs
 *   int6-b32     6 bit in the file, made the blocks of int8-b32 by the graph itself at load
 *   int4-b32     MatMulNBits, 4 bit, scale of each block by least squares
 *   int4-b128
 *   w8a8         DynamicQuantizeMatMul: int8 weights with a scale per output, int8 activations with a scale per token.
 *                One scale for all tokens destroys LLaMA (perplexity 35 → 178): its activations have outlier rows.
 */

import { allocate, DTYPES, toHalf } from '../core/dtypes.js'
import { unknownName } from '../core/errors.js'
import { bytesOf } from '../core/tensor.js'
import { lazyTensor, type Scope, type Value } from '../graph/index.js'
import { matrixDims, type Quantised, quantiseBlocks, quantiseBlocks6, quantisePerOutput } from './pack.js'
import type { WeightTensor } from './weights.js'

export const LINEAR_KINDS = {
  fp32: { bits: 32 },
  fp16: { bits: 16 },
  'int8-b32': { bits: 8, block: 32 },
  'int8-b128': { bits: 8, block: 128 },
  'int6-b32': { bits: 6, block: 32 },
  'int4-b32': { bits: 4, block: 32 },
  'int4-b128': { bits: 4, block: 128 },
  w8a8: { bits: 8 },
} as const satisfies Record<string, { bits: number; block?: number }>

export type LinearKind = keyof typeof LINEAR_KINDS

/** Which matrices take which form: the last rule whose pattern fits decides. `*` stands for a layer number. */
export interface QuantisationPlan {
  readonly default: LinearKind
  readonly rules?: readonly { readonly match: string; readonly kind: LinearKind }[]
}

/** The form of one matrix. @throws M4Error `UNKNOWN_NAME` for a form that does not exist. */
export function linearKindOf(plan: QuantisationPlan, path: string): LinearKind {
  let kind = plan.default
  for (const rule of plan.rules ?? []) if (globToRegExp(rule.match).test(path)) kind = rule.kind
  if (!(kind in LINEAR_KINDS)) throw unknownName('quantisation', kind, Object.keys(LINEAR_KINDS))
  return kind
}

const globToRegExp = (glob: string) =>
  new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '[^/]*')}$`)

/** y = x · Wᵀ (+ bias) for W [out, in] in the chosen form. x [.., in] → [.., out]. */
export function linear(
  scope: Scope,
  x: Value,
  weight: WeightTensor,
  kind: LinearKind,
  name: string,
  bias?: WeightTensor,
): Value {
  const y = EMIT[kind](scope, x, weight, name)
  return bias ? scope.op('Add', [y, vector(scope, bias, `${name}/bias`)], {}, `${name}/biased`) : y
}

/** A whole tensor as one initializer, in float32 or rounded to float16. */
export function table(scope: Scope, tensor: WeightTensor, dtype: 'float32' | 'float16', name: string): Value {
  const bytes = dtype === 'float32' ? () => bytesOf(tensor.float32()) : () => bytesOf(toHalf(tensor.float32()))
  return scope.initializer(name, { ...lazyTensor(dtype, tensor.dims, bytes), ...originOf(tensor, false) })
}

/** Of what a float32 initializer is made, for those who train it. */
const originOf = ({ origin }: WeightTensor, transposed: boolean) =>
  origin ? { origin: { names: origin, transposed } } : {}

/** A vector or another small tensor in float32. */
export const vector = (scope: Scope, tensor: WeightTensor, name: string): Value => table(scope, tensor, 'float32', name)

type Emit = (scope: Scope, x: Value, weight: WeightTensor, name: string) => Value

const EMIT: { readonly [K in LinearKind]: Emit } = {
  fp32: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const data = {
      ...lazyTensor('float32', [inner, out], () => bytesOf(transpose(weight.float32(), out, inner))),
      ...originOf(weight, true),
    }
    return scope.op('MatMul', [x, scope.initializer(`${name}/weight`, data)], {}, name)
  },
  fp16: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const data = lazyTensor('float16', [inner, out], () => bytesOf(toHalf(transpose(weight.float32(), out, inner))))
    const wide = scope.op(
      'Cast',
      [scope.initializer(`${name}/weight`, data)],
      { to: DTYPES.float32.onnx },
      `${name}/widened`,
    )
    return scope.op('MatMul', [x, wide], {}, name)
  },
  'int8-b32': (scope, x, weight, name) => blockwise(scope, x, weight, name, 8, 32),
  'int8-b128': (scope, x, weight, name) => blockwise(scope, x, weight, name, 8, 128),
  'int6-b32': (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const packed = pairOnce(() => quantiseBlocks6(weight))
    const dims = [out, Math.ceil(inner / 32), 24]
    const codes = scope.initializer(`${name}/weight`, lazyTensor('uint8', dims, packed.first))
    const scales = lazyTensor('float32', [dims[0]! * dims[1]!], packed.second)
    const inputs = [x, expanded6(scope, codes, name), scope.initializer(`${name}/scales`, scales)]
    return scope.op('MatMulNBits', inputs, { K: inner, N: out, bits: 8, block_size: 32, accuracy_level: 4 }, name)
  },
  'int4-b32': (scope, x, weight, name) => blockwise(scope, x, weight, name, 4, 32),
  'int4-b128': (scope, x, weight, name) => blockwise(scope, x, weight, name, 4, 128),
  w8a8: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const packed = pairOnce(() => quantisePerOutput(weight))
    const codes = scope.initializer(`${name}/weight`, lazyTensor('int8', [inner, out], packed.first))
    const scales = scope.initializer(`${name}/scales`, lazyTensor('float32', [out], packed.second))
    return int8Product(scope, x, codes, scales, name)
  },
}

/**
 * x · codes · scales in int8: x / max|x| per row before, · max|x| behind, so that every row uses the whole int8 range.
 * x [.., in], codes int8 [in, out], scales [out] → [.., out]
 */
export function int8Product(scope: Scope, x: Value, codes: Value, scales: Value, name: string): Value {
  const magnitude = scope.op(
    'ReduceMax',
    [scope.op('Abs', [x], {}, `${name}/abs`), scope.int64([-1])],
    { keepdims: 1 },
    `${name}/rowMax`,
  )
  const rowScale = scope.op('Max', [magnitude, scope.float32(1e-12)], {}, `${name}/rowScale`)
  const unit = scope.op('Div', [x, rowScale], {}, `${name}/unit`)
  const y = scope.op('DynamicQuantizeMatMul', [unit, codes, scales, undefined, undefined], {}, `${name}/unitOut`)
  return scope.op('Mul', [y, rowScale], {}, name)
}

function blockwise(scope: Scope, x: Value, weight: WeightTensor, name: string, bits: 4 | 8, block: 32 | 128): Value {
  const [out, inner] = matrixDims(weight)
  const blocks = Math.ceil(inner / block)
  const packed = pairOnce(() => quantiseBlocks(weight, bits, block))
  const bytesPerBlock = (block * bits) / 8
  const codes = lazyTensor('uint8', [out, blocks, bytesPerBlock], packed.first)
  const scales = lazyTensor('float32', [out * blocks], packed.second)
  const inputs = [x, scope.initializer(`${name}/weight`, codes), scope.initializer(`${name}/scales`, scales)]
  // accuracy_level 4: int8 activations per block, as llama.cpp does; level 0 (float32) is 1.3–2.7 times slower.
  return scope.op('MatMulNBits', inputs, { K: inner, N: out, bits, block_size: block, accuracy_level: 4 }, name)
}

/**
 * The bytes of `quantiseBlocks6` [out, blocks, 24] → codes of 8-bit blocks [out, blocks, 32]: each 6-bit code times 4. Nothing in it
 * depends on an input: ONNX Runtime computes it once, at load, and packs the result as it packs a stored matrix. All of it is
 * uint8, for what lies between is kept until the graph is loaded: 3.5 times the memory of int8-b32 then (float32: 20 times).
 */
function expanded6(scope: Scope, packed: Value, name: string): Value {
  const constant = (values: readonly number[], part: string) =>
    scope.initializer(
      `${name}/${part}`,
      lazyTensor('uint8', [values.length], () => Uint8Array.from(values)),
    )
  const low = scope.op('Mul', [packed, constant([4], 'four')], {}, `${name}/low`) // wraps: the high two bits fall out
  const high = scope.op('Div', [packed, constant([64], 'sixtyFour')], {}, `${name}/high`)
  const places = Array.from({ length: 24 }, (_, j) => 4 ** (1 + (j >> 3)))
  const placed = scope.op('Mul', [high, constant(places, 'places')], {}, `${name}/placed`)
  const names = [`${name}/first`, `${name}/second`, `${name}/third`] as const
  const [first, second, third] = scope.ops('Split', [placed], { axis: -1, num_outputs: 3 }, names)
  const two = scope.op('Add', [first, second], {}, `${name}/two`)
  const rest = scope.op('Add', [two, third], {}, `${name}/rest`) // [out, blocks, 8]
  return scope.op('Concat', [low, rest], { axis: -1 }, `${name}/expanded`)
}

/** Codes and scales come from one pass; the codec asks for them one after the other, so the second is kept until then. */
function pairOnce(make: () => Quantised): { first: () => Uint8Array; second: () => Uint8Array } {
  let kept: Float32Array | undefined
  return {
    first: () => {
      const { codes, scales } = make()
      kept = scales
      return codes
    },
    second: () => {
      const scales = kept ?? make().scales
      kept = undefined
      return bytesOf(scales)
    },
  }
}

/** [rows, columns] → [columns, rows], in squares that stay in the cache. */
export function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = allocate('float32', data.length)
  const side = 32
  for (let r0 = 0; r0 < rows; r0 += side)
    for (let c0 = 0; c0 < columns; c0 += side)
      for (let r = r0; r < Math.min(r0 + side, rows); r++)
        for (let c = c0; c < Math.min(c0 + side, columns); c++) out[c * rows + r] = data[r * columns + c]!
  return out
}

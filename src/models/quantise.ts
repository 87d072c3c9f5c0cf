/**
 * Linear layers in the forms that the engine multiplies fast, and how a weight matrix becomes one.
 *
 *   fp32         MatMul over float32, stored as float32
 *   fp16         the same, stored as float16 (widened once, at load)
 *   int8-b32     MatMulNBits, 8 bit, one scale per 32 inputs; lossless where the source stores such blocks itself
 *   int8-b128    the same with one scale per 128 inputs
 *   int4-b32     MatMulNBits, 4 bit, scale of each block by least squares
 *   int4-b128
 *   w8a8         DynamicQuantizeMatMul: int8 weights with a scale per output, int8 activations with a scale per token.
 *                One scale for all tokens destroys LLaMA (perplexity 35 → 178): its activations have outlier rows.
 */

import { allocate, DTYPES, floatToHalf } from '../core/dtypes.js'
import { M4Error, unknownName } from '../core/errors.js'
import { bytesOf } from '../core/tensor.js'
import { lazyTensor, type Scope, type Value } from '../graph/index.js'
import type { BlockCodes, Rows, WeightTensor } from './weights.js'

export const LINEAR_KINDS = {
  fp32: { bits: 32 },
  fp16: { bits: 16 },
  'int8-b32': { bits: 8, block: 32 },
  'int8-b128': { bits: 8, block: 128 },
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
  const _count = tensor.dims.reduce((a, b) => a * b, 1)
  const bytes =
    dtype === 'float32'
      ? () => bytesOf(tensor.float32())
      : () => bytesOf(Uint16Array.from(tensor.float32(), floatToHalf))
  return scope.initializer(name, lazyTensor(dtype, tensor.dims, bytes))
}

/** A vector or another small tensor in float32. */
export const vector = (scope: Scope, tensor: WeightTensor, name: string): Value => table(scope, tensor, 'float32', name)

type Emit = (scope: Scope, x: Value, weight: WeightTensor, name: string) => Value

const EMIT: { readonly [K in LinearKind]: Emit } = {
  fp32: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const data = lazyTensor('float32', [inner, out], () => bytesOf(transpose(weight.float32(), out, inner)))
    return scope.op('MatMul', [x, scope.initializer(`${name}/weight`, data)], {}, name)
  },
  fp16: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const halves = () => Uint16Array.from(transpose(weight.float32(), out, inner), floatToHalf)
    const data = lazyTensor('float16', [inner, out], () => bytesOf(halves()))
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
  'int4-b32': (scope, x, weight, name) => blockwise(scope, x, weight, name, 4, 32),
  'int4-b128': (scope, x, weight, name) => blockwise(scope, x, weight, name, 4, 128),
  w8a8: (scope, x, weight, name) => {
    const [out, inner] = matrixDims(weight)
    const packed = pairOnce(() => quantisePerOutput(weight))
    const codes = scope.initializer(`${name}/weight`, lazyTensor('int8', [inner, out], packed.first))
    const scales = scope.initializer(`${name}/scales`, lazyTensor('float32', [out], packed.second))
    // x / max|x| per token before, · max|x| behind: every token uses the whole int8 range.
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
  },
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

export interface Quantised {
  /** Packed weights. */
  readonly codes: Uint8Array
  readonly scales: Float32Array
}

/** Rows that are converted at a time: bounds the memory above the packed matrix to some tens of MB. */
const ROWS_AT_ONCE = 512

/**
 * MatMulNBits layout: per row and block, `block·bits/8` bytes (4 bit: low nibble = even input) and one scale, zero points 8 and 128.
 * The last block of a row is padded with zeros.
 */
export function quantiseBlocks(weight: WeightTensor, bits: 4 | 8, block: 32 | 128): Quantised {
  const [out, inner] = matrixDims(weight)
  const blocks = Math.ceil(inner / block)
  const bytesPerBlock = (block * bits) / 8
  const codes = new Uint8Array(out * blocks * bytesPerBlock).fill(bits === 8 ? 128 : 0x88)
  const scales = new Float32Array(out * blocks)
  const pack = bits === 8 ? packBlock8 : packBlock4
  for (let from = 0; from < out; from += ROWS_AT_ONCE) {
    const to = Math.min(out, from + ROWS_AT_ONCE)
    const exact = block === 32 && inner % 32 === 0 ? weight.codes32?.({ from, to }) : undefined
    if (exact && bits === 8) {
      copyCodes8(exact, codes, scales, from * blocks)
      continue
    }
    const values = weight.float32({ from, to })
    for (let row = from; row < to; row++)
      for (let b = 0; b < blocks; b++) {
        const start = (row - from) * inner + b * block
        const index = row * blocks + b
        scales[index] = pack(values, start, Math.min(block, inner - b * block), codes, index * bytesPerBlock)
      }
  }
  return { codes, scales }
}

function copyCodes8(exact: BlockCodes, codes: Uint8Array, scales: Float32Array, firstBlock: number): void {
  scales.set(exact.scales, firstBlock)
  const start = firstBlock * 32
  for (let i = 0; i < exact.codes.length; i++) codes[start + i] = exact.codes[i]! + 128
}

function packBlock8(values: Float32Array, start: number, count: number, codes: Uint8Array, at: number): number {
  let max = 0
  for (let i = 0; i < count; i++) max = Math.max(max, Math.abs(values[start + i]!))
  const scale = max / 127
  const inverse = scale > 0 ? 1 / scale : 0
  for (let i = 0; i < count; i++) codes[at + i] = Math.round(values[start + i]! * inverse) + 128
  return scale
}

/**
 * Largest magnitudes tried for the 4-bit code of the block's largest value. 5 is exact for IQ2_XXS (levels 8:25:43 ≈ 1:3:5).
 * -8 uses the code that only the negative side has.
 */
const PEAK_CODES = [7, 5, 6, -8] as const
const best = new Int8Array(128)
const trial = new Int8Array(128)

/** Codes by rounding at each candidate scale, then the least-squares scale for those codes; the smallest error wins. */
function packBlock4(values: Float32Array, start: number, count: number, codes: Uint8Array, at: number): number {
  let peak = 0
  let energy = 0
  for (let i = 0; i < count; i++) {
    const v = values[start + i]!
    energy += v * v
    if (Math.abs(v) > Math.abs(peak)) peak = v
  }
  if (peak === 0) return 0
  let bestGain = -1
  let bestScale = 0
  for (const peakCode of PEAK_CODES) {
    const inverse = (peakCode === -8 ? -8 : Math.sign(peak) * peakCode) / peak
    let dot = 0
    let norm = 0
    for (let i = 0; i < count; i++) {
      const v = values[start + i]!
      const scaled = v * inverse
      let q = (scaled + 128.5) | 0 // round: scaled is in [-8, 8]
      q = q > 135 ? 7 : q - 128
      trial[i] = q
      dot += v * q
      norm += q * q
    }
    // min over s of |v − s·q|² = |v|² − (v·q)²/|q|²: the largest gain is the smallest error.
    const gain = (dot * dot) / norm
    if (gain > bestGain) {
      bestGain = gain
      bestScale = dot / norm
      best.set(trial.subarray(0, count))
      if (energy - gain <= energy * 1e-9) break
    }
  }
  for (let i = 0; i < count; i += 2)
    codes[at + (i >> 1)] = (best[i]! + 8) | ((i + 1 < count ? best[i + 1]! + 8 : 8) << 4)
  return bestScale
}

/** int8 weights with one scale per output, transposed to [in, out]. */
function quantisePerOutput(weight: WeightTensor): Quantised {
  const [out, inner] = matrixDims(weight)
  const codes = new Uint8Array(out * inner)
  const scales = new Float32Array(out)
  for (let from = 0; from < out; from += ROWS_AT_ONCE) {
    const rows: Rows = { from, to: Math.min(out, from + ROWS_AT_ONCE) }
    const values = weight.float32(rows)
    for (let row = rows.from; row < rows.to; row++) {
      const start = (row - from) * inner
      let max = 0
      for (let i = 0; i < inner; i++) max = Math.max(max, Math.abs(values[start + i]!))
      scales[row] = max / 127
      const inverse = max > 0 ? 127 / max : 0
      for (let i = 0; i < inner; i++) codes[i * out + row] = Math.round(values[start + i]! * inverse)
    }
  }
  return { codes, scales }
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

export function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = allocate('float32', data.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!
  return out
}

function matrixDims(weight: WeightTensor): [number, number] {
  const [out, inner] = weight.dims
  if (weight.dims.length !== 2 || !out || !inner)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `${weight.name}: a linear layer needs a matrix, got [${weight.dims.join(', ')}].`,
    )
  return [out, inner]
}

/**
 * Weight matrices as the quantised products of ONNX Runtime want them (layouts: com.microsoft MatMulNBits and
 * DynamicQuantizeMatMul). Rows are converted a few hundred at a time, so only the packed matrix is held whole.
 */

import { M4Error } from '../core/errors.js'
import type { BlockCodes, Rows, WeightTensor } from './weights.js'

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
  let levels: LevelChoice | undefined
  for (let from = 0; from < out; from += ROWS_AT_ONCE) {
    const to = Math.min(out, from + ROWS_AT_ONCE)
    const exact = block === 32 && inner % 32 === 0 ? weight.codes32?.({ from, to }) : undefined
    if (exact && bits === 8) {
      copyCodes8(exact, codes, scales, from * blocks)
      continue
    }
    if (exact) {
      levels ??= new LevelChoice(exact.codes)
      if (levels.few) {
        packCodes4(exact, levels, codes, scales, from * blocks)
        continue
      }
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

/** Returns the scale of the block. */
function packBlock4(values: Float32Array, start: number, count: number, codes: Uint8Array, at: number): number {
  const scale = fitBlock(values, start, count, PEAK_CODES)
  if (scale === 0) return 0
  for (let i = 0; i < count; i += 2)
    codes[at + (i >> 1)] = (best[i]! + 8) | ((i + 1 < count ? best[i + 1]! + 8 : 8) << 4)
  return scale
}

/**
 * Codes by rounding at each candidate scale, then the least-squares scale for those codes; the smallest error wins. The codes are
 * left in `best`. Returns the scale, 0 for a block of zeros.
 * @param peaks codes tried for the largest value: the first is the largest code, one below zero the smallest, one further
 */
function fitBlock(values: Float32Array, start: number, count: number, peaks: readonly number[]): number {
  const top = peaks[0]!
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
  for (const peakCode of peaks) {
    const inverse = (peakCode < 0 ? peakCode : Math.sign(peak) * peakCode) / peak
    let dot = 0
    let norm = 0
    for (let i = 0; i < count; i++) {
      const v = values[start + i]!
      const scaled = v * inverse
      let q = ((scaled + 128.5) | 0) - 128 // round: scaled is in [-top - 1, top + 1]
      if (q > top) q = top
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
  return bestScale
}

/** As `PEAK_CODES`, for 6 bits. */
const PEAK_CODES_6 = [31, 29, 27, -32] as const
const BYTES_6 = 24

/**
 * 6-bit codes in blocks of 32, 24 bytes each: byte j holds code j in its low six bits, and in its high two bits part ⌊j / 8⌋ (from
 * the lowest) of code 24 + j mod 8. Codes are stored with 32 added. Four codes take three bytes.
 * The scales are those of 8-bit blocks whose codes are four times these: zero point 128 is then that of both.
 */
export function quantiseBlocks6(weight: WeightTensor): Quantised {
  const [out, inner] = matrixDims(weight)
  const blocks = Math.ceil(inner / 32)
  const codes = new Uint8Array(out * blocks * BYTES_6)
  const scales = new Float32Array(out * blocks)
  for (let from = 0; from < out; from += ROWS_AT_ONCE) {
    const to = Math.min(out, from + ROWS_AT_ONCE)
    const values = weight.float32({ from, to })
    for (let row = from; row < to; row++)
      for (let b = 0; b < blocks; b++) {
        const count = Math.min(32, inner - b * 32)
        const index = row * blocks + b
        const scale = fitBlock(values, (row - from) * inner + b * 32, count, PEAK_CODES_6)
        scales[index] = scale / 4
        best.fill(0, scale === 0 ? 0 : count, 32)
        packCodes6(codes, index * BYTES_6)
      }
  }
  return { codes, scales }
}

function packCodes6(codes: Uint8Array, at: number): void {
  for (let j = 0; j < BYTES_6; j++) {
    const part = ((best[24 + (j & 7)]! + 32) >> (2 * (j >> 3))) & 3
    codes[at + j] = (best[j]! + 32) | (part << 6)
  }
}

/**
 * 4-bit levels for the codes of a source that itself has only a few (IQ2_XXS: 8, 25, 43): which peak level serves a block best
 * depends on its largest code alone, so it is found once for each, not once a block.
 */
class LevelChoice {
  readonly few: boolean
  /** The source's magnitudes, ascending. */
  readonly #magnitudes: readonly number[]
  /** Largest magnitude of a block → level of each code + 128. */
  readonly #tables: (Int8Array | undefined)[] = []

  constructor(sample: Int8Array) {
    const seen = new Set<number>()
    for (let i = 0; i < sample.length && seen.size <= MAX_FEW; i++) seen.add(Math.abs(sample[i]!))
    this.few = seen.size <= MAX_FEW
    this.#magnitudes = [...seen].filter((m) => m > 0).sort((a, b) => a - b)
  }

  levelsFor(peak: number): Int8Array {
    this.#tables[peak] ??= this.#best(peak)
    return this.#tables[peak]
  }

  /** The peak level whose rounding keeps most of the energy, all magnitudes up to the peak being equally likely. */
  #best(peak: number): Int8Array {
    const used = this.#magnitudes.filter((m) => m <= peak)
    let bestGain = -1
    let bestLevel = 7
    for (const level of PEAK_CODES) {
      if (level < 0) continue
      let dot = 0
      let norm = 0
      for (const m of used) {
        const q = Math.round((m * level) / peak)
        dot += m * q
        norm += q * q
      }
      if ((dot * dot) / norm > bestGain) {
        bestGain = (dot * dot) / norm
        bestLevel = level
      }
    }
    return Int8Array.from({ length: 256 }, (_, i) =>
      Math.max(-8, Math.min(7, Math.round(((i - 128) * bestLevel) / peak))),
    )
  }
}

const MAX_FEW = 8

function packCodes4(
  exact: BlockCodes,
  choice: LevelChoice,
  codes: Uint8Array,
  scales: Float32Array,
  firstBlock: number,
): void {
  const source = exact.codes
  for (let b = 0; b < exact.scales.length; b++) {
    const start = b * 32
    let peak = 0
    for (let i = start; i < start + 32; i++) {
      const magnitude = source[i]! < 0 ? -source[i]! : source[i]!
      if (magnitude > peak) peak = magnitude
    }
    if (peak === 0) continue // zeros are what the arrays hold already
    const levels = choice.levelsFor(peak)
    let dot = 0
    let norm = 0
    let at = (firstBlock + b) * 16
    for (let i = start; i < start + 32; i += 2) {
      const low = levels[source[i]! + 128]!
      const high = levels[source[i + 1]! + 128]!
      dot += source[i]! * low + source[i + 1]! * high
      norm += low * low + high * high
      codes[at++] = (low + 8) | ((high + 8) << 4)
    }
    scales[firstBlock + b] = (exact.scales[b]! * dot) / norm
  }
}

/** int8 weights with one scale per output, transposed to [in, out]. */
export function quantisePerOutput(weight: WeightTensor): Quantised {
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

/** @throws M4Error `SHAPE_MISMATCH` for anything but a matrix */
export function matrixDims(weight: WeightTensor): [number, number] {
  const [out, inner] = weight.dims
  if (weight.dims.length !== 2 || !out || !inner)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `${weight.name}: a linear layer needs a matrix, got [${weight.dims.join(', ')}].`,
    )
  return [out, inner]
}

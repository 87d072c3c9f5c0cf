/**
 * lit-llama's GPTQ checkpoints (`llama-gptq.4bit.pth`): each linear layer as `quant_weight` uint8 [out, in·bits/8] (low bits =
 * even input), `scales` and `zeros` [out, groups]; w = (q - zero) · scale.
 *
 * @reference Lightning-AI/lit-llama@2a464de quantize/gptq.py
 */

import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import type { Rows, Weights, WeightTensor } from './weights.js'

const PACKED = '.quant_weight'
/** Its packed rows tell the number of bits: their true width is that of the embedding. */
const EMBEDDING = 'transformer.wte.weight'

/**
 * The same weights with every packed matrix as a plain `weight`; other checkpoints come back as they are.
 * @throws M4Error `FORMAT_INVALID` when sizes do not agree
 */
export function withGptq(weights: Weights): Weights {
  const packed = [...weights.keys()].filter((name) => name.endsWith(PACKED))
  if (!packed.length) return weights
  const bits = bitsOf(weights, packed)
  const out = new Map(weights)
  for (const name of packed) {
    const layer = name.slice(0, -PACKED.length)
    const [codes, scales, zeros] = [PACKED, '.scales', '.zeros'].map((part) => {
      const tensor = weights.get(layer + part)
      if (!tensor) throw invalid(`${layer} has no tensor "${part.slice(1)}"`)
      out.delete(layer + part)
      return tensor
    }) as [WeightTensor, WeightTensor, WeightTensor]
    out.set(`${layer}.weight`, unpacked(`${layer}.weight`, codes, scales, zeros, bits))
  }
  return out
}

function bitsOf(weights: Weights, packed: readonly string[]): number {
  const width = weights.get(EMBEDDING)?.dims[1]
  const first = packed.find((name) => name.endsWith(`c_attn${PACKED}`)) ?? packed[0]!
  const bytes = weights.get(first)!.dims[1]!
  const bits = width === undefined ? Number.NaN : (8 * bytes) / width
  if (![2, 4, 8].includes(bits))
    throw invalid(`${first} has ${bytes} bytes a row for ${width} inputs, expected 2, 4 or 8 bits each`)
  return bits
}

function unpacked(
  name: string,
  codes: WeightTensor,
  scales: WeightTensor,
  zeros: WeightTensor,
  bits: number,
): WeightTensor {
  const [rows, bytes] = codes.dims as [number, number]
  const perByte = 8 / bits
  const columns = bytes * perByte
  const groups = scales.dims[1] ?? 1
  if (scales.dims[0] !== rows || zeros.dims.join() !== scales.dims.join() || columns % groups !== 0)
    throw invalid(
      `${name}: scales ${formatDims(scales.dims)} and zeros ${formatDims(zeros.dims)} do not fit ${rows} rows`,
    )
  const group = columns / groups
  const mask = 2 ** bits - 1
  return {
    name,
    dims: [rows, columns],
    float32: (range: Rows = { from: 0, to: rows }) => {
      const [q, s, z] = [codes.float32(range), scales.float32(range), zeros.float32(range)]
      const out = new Float32Array((range.to - range.from) * columns)
      for (let i = 0; i < out.length; i++) {
        const row = Math.floor(i / columns)
        const column = i - row * columns
        const byte = q[row * bytes + Math.floor(column / perByte)]!
        const code = (byte >> (bits * (column % perByte))) & mask
        const scale = row * groups + Math.floor(column / group)
        out[i] = (code - z[scale]!) * s[scale]!
      }
      return out
    },
  }
}

const invalid = (what: string) =>
  new M4Error('FORMAT_INVALID', `GPTQ checkpoint: ${what}.`, { hint: 'Expected the files of lit-llama.' })

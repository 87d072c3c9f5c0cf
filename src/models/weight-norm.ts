/**
 * Weight normalisation, folded when a graph is built: w = g · v / ‖v‖, the norm over all axes but the first (arXiv:1602.07868).
 * For transposed convolutions PyTorch's first axis is the input channels; the rule is the same.
 */

import { M4Error } from '../core/errors.js'
import type { Rows, Weights, WeightTensor } from './weights.js'

/** Endings of the pair under PyTorch's two spellings: `weight_norm`, and `parametrizations.weight_norm`. */
const SPELLINGS = [
  { gain: '.weight_g', direction: '.weight_v' },
  { gain: '.parametrizations.weight.original0', direction: '.parametrizations.weight.original1' },
] as const

/**
 * The same tensors with every pair of gain and direction as one `….weight`. Half of a pair stays as it is, for the name table to
 * refuse. @throws M4Error `SHAPE_MISMATCH` when a gain does not have one number for each row of its direction
 */
export function foldWeightNorm(weights: Weights): Weights {
  const folded = new Map(weights)
  for (const [name, gain] of weights)
    for (const spelling of SPELLINGS) {
      if (!name.endsWith(spelling.gain)) continue
      const stem = name.slice(0, -spelling.gain.length)
      const direction = weights.get(stem + spelling.direction)
      if (!direction) continue
      folded.delete(name)
      folded.delete(stem + spelling.direction)
      folded.set(`${stem}.weight`, normalised(`${stem}.weight`, gain, direction))
    }
  return folded
}

function normalised(name: string, gain: WeightTensor, direction: WeightTensor): WeightTensor {
  const [rows] = direction.dims as [number]
  const perRow = direction.dims.slice(1).reduce((a, b) => a * b, 1)
  if (gain.dims.reduce((a, b) => a * b, 1) !== rows)
    throw new M4Error('SHAPE_MISMATCH', `${gain.name}: expected ${rows} gains, got [${gain.dims.join(', ')}].`, {
      hint: 'Only weight normalisation over all axes but the first (PyTorch dim=0) is read.',
    })
  const read = ({ from, to }: Rows) => {
    const gains = gain.float32()
    const out = direction.float32({ from, to }).slice()
    for (let row = from; row < to; row++) {
      const start = (row - from) * perRow
      let squares = 0
      for (let i = 0; i < perRow; i++) squares += out[start + i]! ** 2
      const scale = gains[row]! / Math.sqrt(squares)
      for (let i = 0; i < perRow; i++) out[start + i]! *= scale
    }
    return out
  }
  return { name, dims: direction.dims, float32: (range) => read(range ?? { from: 0, to: rows }) }
}

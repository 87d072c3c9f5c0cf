/** Seeded weights in place of a checkpoint: for toy images in tests, and for full-size images whose weights cannot be had. */

import { randomSource } from '../core/random.js'
import type { Rows, WeightTensor } from './weights.js'

/**
 * One tensor for each of our names: norms are 1, biases 0, the rest uniform with deviation 1/√inputs, so that activations keep
 * their scale through the layers; uniform, for billions of normal numbers take an hour. Rows are seeded one by one: any range of
 * rows can be made without the rest.
 */
export function randomWeights(
  shapes: Readonly<Record<string, readonly number[]>>,
  layersOf: (name: string) => number,
  seed: number,
): Map<string, WeightTensor> {
  const weights = new Map<string, WeightTensor>()
  for (const [pattern, dims] of Object.entries(shapes)) {
    const count = pattern.includes('{}') ? layersOf(pattern) : 1
    for (let layer = 0; layer < count; layer++) {
      const name = pattern.replace('{}', String(layer))
      weights.set(name, { name, dims, float32: (rows) => values(name, dims, seed, rows) })
    }
  }
  return weights
}

function values(name: string, dims: readonly number[], seed: number, rows?: Rows): Float32Array {
  const { from, to } = rows ?? { from: 0, to: dims[0]! }
  const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
  const out = new Float32Array((to - from) * perRow)
  if (name.endsWith('/bias')) return out
  if (name.endsWith('norm')) return out.fill(1)
  const span = 2 * Math.sqrt(3 / perRow)
  for (let row = from; row < to; row++) {
    const next = randomSource(hash(name, seed, row))
    const start = (row - from) * perRow
    for (let i = 0; i < perRow; i++) out[start + i] = (next() - 0.5) * span
  }
  return out
}

/** FNV-1a over name, seed and row. */
function hash(name: string, seed: number, row: number): number {
  let h = 0x811c9dc5
  const mix = (value: number) => {
    h = Math.imul(h ^ value, 0x01000193) >>> 0
  }
  for (let i = 0; i < name.length; i++) mix(name.charCodeAt(i))
  for (const word of [seed, row]) for (let shift = 0; shift < 32; shift += 8) mix((word >>> shift) & 0xff)
  return h
}

/** Reading hyper-parameters out of what a checkpoint says of itself. */

import { M4Error } from '../core/errors.js'
import type { Weights } from './weights.js'

/**
 * The first of `keys` that holds a number. A nested object is reached with a path of two keys: `config/rope_theta`.
 * @throws M4Error `FORMAT_INVALID` when none does and no fall-back is given
 */
export function numberFact(
  metadata: Readonly<Record<string, unknown>>,
  keys: readonly string[],
  fallback?: number,
): number {
  for (const key of keys) {
    const value = factAt(metadata, key)
    if (typeof value === 'number' && Number.isFinite(value)) return value
  }
  if (fallback !== undefined) return fallback
  throw new M4Error('FORMAT_INVALID', `The checkpoint does not say ${keys.join(' or ')}.`, {
    hint: 'Keep config.json or params.json beside the weights.',
    details: { keys },
  })
}

/** The value under a key, or under a path of keys: `config/hidden_act`. */
export function factAt(metadata: Readonly<Record<string, unknown>>, key: string): unknown {
  if (key in metadata) return metadata[key]
  let value: unknown = metadata
  for (const part of key.split('/')) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

/** Dims of the first of `names` that the checkpoint has. @throws M4Error `TENSOR_MISSING` */
export function dimsOf(weights: Weights, names: readonly string[]): readonly number[] {
  for (const name of names) {
    const tensor = weights.get(name)
    if (tensor) return tensor.dims
  }
  throw new M4Error('TENSOR_MISSING', `The checkpoint has none of ${names.join(', ')}.`, {
    hint: 'Is this the right architecture?',
  })
}

/** How many layers there are: one more than the highest number where `{}` stands. */
export function countLayers(weights: Weights, patterns: readonly string[]): number {
  const rules = patterns.map((pattern) => new RegExp(`^${pattern.replace(/[.]/g, '\\.').replace('{}', '(\\d+)')}$`))
  let layers = 0
  for (const name of weights.keys())
    for (const rule of rules) {
      const match = rule.exec(name)
      if (match) layers = Math.max(layers, Number(match[1]) + 1)
    }
  return layers
}

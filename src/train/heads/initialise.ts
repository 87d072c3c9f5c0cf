/** First values of parameters. A parameter's depend on the seed and its name alone, not on what else is trained. */

import { elementCount } from '../../core/dims.js'
import { randomSource } from '../../core/random.js'
import type { HeadParameter } from './types.js'

export function initialValues(parameters: readonly HeadParameter[], seed: number): Map<string, Float32Array> {
  return new Map(parameters.map((parameter) => [parameter.name, firstValues(parameter, seed)]))
}

export function firstValues({ name, dims, start }: HeadParameter, seed: number): Float32Array {
  const data = new Float32Array(elementCount(dims))
  if ('constant' in start) return data.fill(start.constant)
  // As torch.nn.Linear: uniform, ±1/√inputs.
  const next = randomSource(nameHash(name, seed))
  const span = 2 / Math.sqrt(start.fanIn)
  for (let i = 0; i < data.length; i++) data[i] = (next() - 0.5) * span
  return data
}

/** FNV-1a over seed and name. */
function nameHash(name: string, seed: number): number {
  let h = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193) >>> 0
  return h
}

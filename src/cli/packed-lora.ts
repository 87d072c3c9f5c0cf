/** From packed LoRA back to its parts, for formats that keep q, k and v apart. */

import type { LoraPartName, TrainedLora, TrainedPart } from '../adapters/index.js'
import type { AdapterTensors } from '../adapters/types.js'
import { M4Error } from '../core/errors.js'
import type { Abi } from '../firmware/manifest.js'

/**
 * The parts of packed LoRA. Each part keeps those columns of A [in, R] whose row of B [R, out] is not zero in its outputs, so
 * that x·A·B is the same sum, term by term. The scale is in B, so alpha is the rank.
 * @throws M4Error `UNKNOWN_NAME` for a place that the base has not
 */
export function unpackLora(abi: Abi, { lora }: Pick<AdapterTensors, 'lora'>): TrainedLora {
  const parts: TrainedPart[] = []
  for (const [path, { rank, a, b }] of lora) {
    const [, layer, below] = /^layers\.(\d+)\/(.+)$/.exec(path) ?? []
    const [site, facts] = Object.entries(abi.sites).find(([, entry]) => entry.path === below) ?? []
    if (!site || !facts) throw new M4Error('UNKNOWN_NAME', `The base has no LoRA place "${path}".`)
    const out = facts.parts.reduce((sum, part) => sum + part.out, 0)
    let first = 0
    for (const { name, out: width } of facts.parts) {
      const start = first
      first += width
      const rows = (r: number) => b.subarray(r * out + start, r * out + start + width)
      const kept = Array.from({ length: rank }, (_, r) => r).filter((r) => rows(r).some((value) => value !== 0))
      if (!kept.length) continue
      const [partA, partB] = [new Float32Array(facts.in * kept.length), new Float32Array(kept.length * width)]
      for (const [k, r] of kept.entries()) {
        for (let row = 0; row < facts.in; row++) partA[row * kept.length + k] = a[row * rank + r]!
        partB.set(rows(r), k * width)
      }
      const part = name as LoraPartName
      parts.push({ layer: Number(layer), site, part, rank: kept.length, alpha: kept.length, a: partA, b: partB })
    }
  }
  return { kind: 'lora', rsLora: false, parts }
}

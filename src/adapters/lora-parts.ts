/** Pairs of A and B, gathered from whatever file, checked against the base and packed by place. */

import { formatDims } from '../core/dims.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding } from './findings.js'
import { type LoraPart, type Place, packSite, partShape, type RotaryOrder } from './places.js'
import type { PackedLora } from './types.js'

/** One pair as it lies in the file; a half may be missing. */
export interface LoraCandidate {
  readonly layer: number
  readonly place: Place
  /** What people call it, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly label: string
  a?: Matrix
  b?: Matrix
  /** Rank that the configuration says, where it says one. */
  readonly rank: number | undefined
  readonly scale: number
}

export interface Matrix {
  readonly tensor: string
  readonly dims: readonly number[]
  readonly data: Float32Array
}

export interface GatheredLora {
  readonly lora: ReadonlyMap<string, PackedLora>
  readonly findings: readonly AdapterFinding[]
  /** Matrices that were packed. */
  readonly matched: number
}

export function gatherLora(abi: Abi, candidates: Iterable<LoraCandidate>, order: RotaryOrder): GatheredLora {
  const findings: AdapterFinding[] = []
  const sites = new Map<string, { readonly site: string; readonly parts: Map<string, LoraPart> }>()
  let matched = 0
  let [places, zeros] = [0, 0]
  for (const candidate of candidates) {
    const part = checkCandidate(abi, candidate, findings)
    if (!part) continue
    matched += 2
    places++
    if (part.b.every((value) => value === 0) || part.a.every((value) => value === 0) || part.scale === 0) {
      zeros++
      findings.push(
        finding('zero-place', 'warning', `${candidate.label}: A·B is zero, it changes nothing.`, candidate.b?.tensor),
      )
    }
    const { site, part: name } = candidate.place
    const path = `layers.${candidate.layer}/${abi.sites[site]!.path}`
    if (!sites.has(path)) sites.set(path, { site, parts: new Map() })
    sites.get(path)!.parts.set(name, part)
  }
  if (places === zeros)
    findings.push(
      finding(
        'no-effect',
        'error',
        places ? 'every pair is zero: the adapter is the base model.' : 'no pair of A and B fits this base model.',
      ),
    )
  const lora = new Map([...sites].map(([path, { site, parts }]) => [path, packSite(abi, site, parts, order)]))
  return { lora, findings, matched }
}

/** The pair when it is whole, of the right shape and finite. */
function checkCandidate(abi: Abi, candidate: LoraCandidate, findings: AdapterFinding[]): LoraPart | undefined {
  const { a, b, label, place, layer } = candidate
  const fail = (code: AdapterFinding['code'], message: string, tensor?: string) => {
    findings.push(finding(code, 'error', `${label}: ${message}`, tensor))
    return undefined
  }
  const shape = layer < abi.layers ? partShape(abi, place) : undefined
  if (!shape) {
    const known = Object.values(abi.sites).flatMap(({ parts }) => parts.map(({ name }) => name))
    return fail(
      'unknown-site',
      `this base takes adapters at ${known.join(', ') || 'no place'} of ${abi.layers} layers.`,
      (a ?? b)?.tensor,
    )
  }
  if (!a || !b) return fail('incomplete-pair', `lora_${a ? 'B' : 'A'} is missing.`, (a ?? b)?.tensor)
  const rank = candidate.rank ?? a.dims[0]!
  const fits = (matrix: Matrix, rows: number, columns: number) =>
    matrix.dims.length === 2 && matrix.dims[0] === rows && matrix.dims[1] === columns
  if (rank < 1 || !fits(a, rank, shape.in))
    return fail('wrong-shape', `lora_A: expected ${formatDims([rank, shape.in])}, got ${formatDims(a.dims)}.`, a.tensor)
  if (!fits(b, shape.out, rank))
    return fail(
      'wrong-shape',
      `lora_B: expected ${formatDims([shape.out, rank])}, got ${formatDims(b.dims)}.`,
      b.tensor,
    )
  for (const { data, tensor } of [a, b])
    if (!data.every(Number.isFinite)) return fail('not-finite', 'it holds a value that is not finite.', tensor)
  return { rank, a: a.data, b: b.data, scale: candidate.scale }
}

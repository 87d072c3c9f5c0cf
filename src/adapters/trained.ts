/** What a trainer hands over: tensors in the layout of the graph, before any file format. */

import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import type { Abi } from '../firmware/manifest.js'
import type { LoraPart } from './places.js'
import type { AdapterTensors, PackedLora } from './types.js'

export type LoraPartName = 'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down'

/** One trained pair: y += scale · x·A·B, scale = alpha / rank, or alpha / √rank with rsLoRA (arXiv:2312.03732). */
export interface TrainedPart {
  readonly layer: number
  /** `qkv`, `o`, `gateUp`, `down`: a key of `Abi.sites`. */
  readonly site: string
  readonly part: LoraPartName
  readonly rank: number
  readonly alpha: number
  readonly a: Float32Array // [in, r]
  readonly b: Float32Array // [r, out], the scale not in it
}

export interface TrainedLora {
  readonly kind: 'lora'
  readonly rsLora: boolean
  readonly parts: readonly TrainedPart[]
}

export interface TrainedPrompt {
  readonly kind: 'prompt'
  readonly tokens: number
  readonly embeddings: Float32Array // [n, C]
}

export interface TrainedPrefix {
  readonly kind: 'prefix'
  readonly tokens: number
  /** Of every layer; keys are not rotated. */
  readonly layers: readonly { readonly key: Float32Array; readonly value: Float32Array }[] // [K, n, D]
}

export type TrainedAdapter = TrainedLora | TrainedPrompt | TrainedPrefix

export const loraScale = ({ rank, alpha }: Pick<TrainedPart, 'rank' | 'alpha'>, rsLora: boolean): number =>
  alpha / (rsLora ? Math.sqrt(rank) : rank)

/**
 * The adapter as the runtime takes it, without a detour through files: the scale goes into B, nothing else changes.
 * @throws M4Error `SHAPE_MISMATCH` when a part does not fit the base, `INVALID_REQUEST` for two pairs of one place
 */
export function packTrained(abi: Abi, name: string, trained: TrainedAdapter): AdapterTensors {
  checkTrained(abi, trained)
  if (trained.kind === 'prompt')
    return { name, lora: new Map(), softPrompt: { tokens: trained.tokens, embeddings: trained.embeddings } }
  if (trained.kind === 'prefix')
    return { name, lora: new Map(), prefix: { tokens: trained.tokens, layers: trained.layers } }
  const sites = new Map<string, { readonly site: string; readonly parts: Map<string, LoraPart> }>()
  for (const part of trained.parts) {
    const path = `layers.${part.layer}/${abi.sites[part.site]!.path}`
    if (!sites.has(path)) sites.set(path, { site: part.site, parts: new Map() })
    sites.get(path)!.parts.set(part.part, { ...part, scale: loraScale(part, trained.rsLora) })
  }
  return { name, lora: new Map([...sites].map(([path, { site, parts }]) => [path, sideBySide(abi, site, parts)])) }
}

/** A [in, R] from the parts' columns, B [R, out] block-diagonal. */
function sideBySide(abi: Abi, siteName: string, parts: ReadonlyMap<string, LoraPart>): PackedLora {
  const site = abi.sites[siteName]!
  const rank = [...parts.values()].reduce((sum, part) => sum + part.rank, 0)
  const out = site.parts.reduce((sum, part) => sum + part.out, 0)
  const [a, b] = [new Float32Array(site.in * rank), new Float32Array(rank * out)]
  let [firstRank, firstColumn] = [0, 0]
  for (const { name, out: width } of site.parts) {
    const part = parts.get(name)
    for (let r = 0; part && r < part.rank; r++) {
      for (let row = 0; row < site.in; row++) a[row * rank + firstRank + r] = part.a[row * part.rank + r]!
      for (let column = 0; column < width; column++)
        b[(firstRank + r) * out + firstColumn + column] = part.scale * part.b[r * width + column]!
    }
    firstRank += part?.rank ?? 0
    firstColumn += width
  }
  return { rank, a, b }
}

/**
 * Whether the tensors have the shapes that this base needs and hold numbers.
 * @throws M4Error `SHAPE_MISMATCH`, `INVALID_REQUEST` (a value is not finite, nothing to store, or one place twice)
 */
export function checkTrained(abi: Abi, trained: TrainedAdapter): void {
  if (trained.kind === 'lora') {
    if (!trained.parts.length)
      throw new M4Error('INVALID_REQUEST', 'The adapter has no part: there is nothing to store.', {
        hint: 'Train at least one place.',
      })
    const seen = new Set<string>()
    for (const part of trained.parts) checkPart(abi, part, seen)
    return
  }
  const need = (what: string, dims: readonly number[], data: Float32Array) => {
    if (data.length !== dims.reduce((x, y) => x * y, 1))
      throw mismatch(what, formatDims(dims), `${data.length} elements`)
    requireFinite(what, data)
  }
  const { tokens } = trained
  if (!Number.isInteger(tokens) || tokens < 1) throw mismatch('virtual tokens', '1 or more', String(tokens))
  if (trained.kind === 'prompt') {
    need('prompt embeddings', [tokens, abi.width], trained.embeddings)
    return
  }
  if (trained.layers.length !== abi.layers)
    throw mismatch('prefix', `${abi.layers} layers`, `${trained.layers.length} layers`)
  for (const [l, layer] of trained.layers.entries())
    for (const kind of ['key', 'value'] as const)
      need(`prefix of layer ${l}, ${kind}s`, [abi.kvHeads, tokens, abi.headWidth], layer[kind])
}

function checkPart(abi: Abi, { layer, site, part, rank, alpha, a, b }: TrainedPart, seen: Set<string>): void {
  const label = `layers.${layer}/${site}/${part}`
  const found = Object.hasOwn(abi.sites, site) ? abi.sites[site] : undefined
  const out = found?.parts.find(({ name }) => name === part)?.out
  if (!found || out === undefined || !Number.isInteger(layer) || layer < 0 || layer >= abi.layers)
    throw mismatch(
      label,
      `a place of a base with ${abi.layers} layers and sites ${Object.keys(abi.sites).join(', ')}`,
      label,
    )
  if (seen.has(label))
    throw new M4Error('INVALID_REQUEST', `${label} has two pairs.`, { hint: 'Add their products, or keep one.' })
  seen.add(label)
  if (!Number.isInteger(rank) || rank < 1) throw mismatch(label, 'a rank of 1 or more', String(rank))
  if (!Number.isFinite(alpha)) throw mismatch(label, 'a finite alpha', String(alpha))
  if (a.length !== found.in * rank || b.length !== rank * out)
    throw mismatch(label, `A [${found.in}, ${rank}] and B [${rank}, ${out}]`, `${a.length} and ${b.length} elements`)
  requireFinite(label, a)
  requireFinite(label, b)
}

function requireFinite(what: string, data: Float32Array): void {
  const at = data.findIndex((value) => !Number.isFinite(value))
  if (at < 0) return
  throw new M4Error('INVALID_REQUEST', `${what}: element ${at} is ${data[at]}, expected a finite number.`, {
    hint: 'Training has diverged: lower the learning rate or clip gradients, and train again.',
    details: { what, element: at },
  })
}

const mismatch = (what: string, expected: string, got: string) =>
  new M4Error('SHAPE_MISMATCH', `${what}: expected ${expected}, got ${got}.`, {
    hint: 'The adapter must be of the base that it is stored for.',
    details: { what, expected, got },
  })

/** Trained parameters of the backbone: where they attach, how they begin, and the adapter that they make. */

import type { LoraPartName, TrainedAdapter } from '../../adapters/trained.js'
import { M4Error, unknownName } from '../../core/errors.js'
import { sourceHeadRow } from '../../core/heads.js'
import { normalSource, randomSource } from '../../core/random.js'
import type { Abi } from '../../firmware/manifest.js'
import { type LoraPlace, loraName, type Trained, trainedShapes } from './program.js'

export interface AdapterOptions {
  readonly kind: 'lora' | 'prompt' | 'prefix'
  /** LoRA: parts of the ABI, e.g. `['q', 'v']`; with a rank of their own, `['q:4', 'v:16']`; with an alpha too, `['q:16:32']`. */
  readonly parts: readonly string[]
  readonly rank: number
  /** Of parts without one of their own. Default 2 · rank of each part. */
  readonly alpha?: number | undefined
  readonly rsLora: boolean
  /** Prompt and prefix tuning. */
  readonly tokens: number
}

type PartChoice = Omit<LoraPlace, 'layer'>

/** `q`, `q:16` or `q:16:32`: a part, its rank, its alpha. */
const PART = /^([^:]+)(?::(\d+)(?::(\d+|\d*\.\d+))?)?$/

/** @throws M4Error `UNKNOWN_NAME` for a part that the base has not, `INVALID_REQUEST` for ranks, alphas and lengths that make no sense */
export function trainedOf(abi: Abi, options: AdapterOptions): Trained {
  if (options.kind !== 'lora') {
    if (!Number.isInteger(options.tokens) || options.tokens < 1 || options.tokens > 512)
      throw new M4Error('INVALID_REQUEST', `tokens: expected 1 to 512 virtual tokens, got ${options.tokens}.`)
    return { kind: options.kind, tokens: options.tokens }
  }
  const choices = partChoices(abi, options)
  const places = Array.from({ length: abi.layers }, (_, layer) =>
    choices.map((choice): LoraPlace => ({ layer, ...choice })),
  ).flat()
  return { kind: 'lora', rsLora: options.rsLora, places }
}

function partChoices(abi: Abi, options: Pick<AdapterOptions, 'parts' | 'rank' | 'alpha'>): PartChoice[] {
  const known = new Map(
    Object.entries(abi.sites).flatMap(([site, facts]) => facts.parts.map(({ name }) => [name, site] as const)),
  )
  const seen = new Set<string>()
  const choices = options.parts.map((text): PartChoice => {
    const [matched, part = '', ownRank, ownAlpha] = PART.exec(text) ?? []
    if (matched === undefined)
      throw new M4Error('INVALID_REQUEST', `LoRA part "${text}": expected a part, its rank, its alpha.`, {
        hint: 'For example q, q:16 or q:16:32.',
        details: { part: text },
      })
    const site = known.get(part)
    if (!site) throw unknownName('LoRA part of this base', part, known.keys())
    const rank = ownRank === undefined ? options.rank : Number(ownRank)
    if (!Number.isInteger(rank) || rank < 1 || rank > 256)
      throw new M4Error('INVALID_REQUEST', `Rank of ${part}: expected 1 to 256, got ${rank}.`)
    const alpha = ownAlpha === undefined ? (options.alpha ?? 2 * rank) : Number(ownAlpha)
    if (!(Number.isFinite(alpha) && alpha > 0))
      throw new M4Error('INVALID_REQUEST', `Alpha of ${part}: expected a number above 0, got ${alpha}.`, {
        hint: 'The scale of a LoRA is alpha/rank: at 0 it changes nothing.',
      })
    if (seen.has(part)) throw new M4Error('INVALID_REQUEST', `The part ${part} is named twice.`)
    seen.add(part)
    return { site, part, rank, alpha }
  })
  if (!choices.length)
    throw new M4Error('INVALID_REQUEST', 'LoRA needs at least one part.', {
      hint: `This base has ${[...known.keys()].join(', ')}.`,
    })
  return choices
}

/** How a prompt or prefix begins: rows that mean something to the model already. */
export interface InitialRows {
  /** [n, C] */
  readonly embeddings?: Float32Array
  /** Of each layer, [K, n, D]. */
  readonly cache?: readonly { readonly key: Float32Array; readonly value: Float32Array }[]
}

/**
 * First values: A uniform in ±1/√in (PEFT's Kaiming form with a = √5) and B zero, so that training begins at the base; virtual
 * tokens as given. Padding of heads begins at zero, and by the rules of the graph stays there.
 */
export function initialValues(
  abi: Abi,
  trained: Trained,
  seed: number,
  rows: InitialRows = {},
): Map<string, Float32Array> {
  const shapes = trainedShapes(abi, trained)
  const count = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
  if (trained.kind === 'prompt')
    return new Map([['prompt', rows.embeddings ?? normals(count(shapes[0]!.dims), seed, 0.02)]])
  if (trained.kind === 'prefix') return prefixValues(abi, trained.tokens, seed, rows)
  if (trained.kind === 'full') return new Map()
  const random = randomSource(seed)
  const values = new Map<string, Float32Array>()
  for (const place of trained.places) {
    const inner = abi.sites[place.site]!.in
    const bound = 1 / Math.sqrt(inner)
    const isPadding = (row: number) =>
      place.part === 'o' && sourceHeadRow(row, { from: abi.sourceHeadWidth, to: abi.headWidth, rotary: false }) < 0
    const a = Float32Array.from({ length: inner * place.rank }, (_, i) => {
      const value = (2 * random() - 1) * bound
      return isPadding(Math.floor(i / place.rank)) ? 0 : value
    })
    values.set(loraName(abi, place, 'A'), a)
  }
  for (const { name, dims } of shapes) if (!values.has(name)) values.set(name, new Float32Array(count(dims)))
  return values
}

function prefixValues(abi: Abi, tokens: number, seed: number, { cache }: InitialRows): Map<string, Float32Array> {
  const entries = Array.from({ length: abi.layers }, (_, l) =>
    (['key', 'value'] as const).map((kind, i): [string, Float32Array] => {
      const given = cache?.[l]?.[kind]
      return [`prefix/layers.${l}/${kind}`, given ?? paddedNormals(abi, tokens, kind, seed * 1000 + 2 * l + i)]
    }),
  ).flat()
  return new Map(entries)
}

function paddedNormals(abi: Abi, tokens: number, kind: 'key' | 'value', seed: number): Float32Array {
  const values = normals(abi.kvHeads * tokens * abi.headWidth, seed, 0.02)
  for (let i = 0; i < values.length; i++)
    if (sourceHeadRow(i % abi.headWidth, { from: abi.sourceHeadWidth, to: abi.headWidth, rotary: kind === 'key' }) < 0)
      values[i] = 0
  return values
}

function normals(count: number, seed: number, deviation: number): Float32Array {
  const normal = normalSource(seed)
  return Float32Array.from({ length: count }, () => normal() * deviation)
}

/** The parameters as adapters know them. `tensor` gives the values of a parameter. */
export function trainedAdapter(abi: Abi, trained: Trained, tensor: (name: string) => Float32Array): TrainedAdapter {
  if (trained.kind === 'prompt') return { kind: 'prompt', tokens: trained.tokens, embeddings: tensor('prompt').slice() }
  if (trained.kind === 'prefix') {
    const layers = Array.from({ length: abi.layers }, (_, l) => ({
      key: tensor(`prefix/layers.${l}/key`).slice(),
      value: tensor(`prefix/layers.${l}/value`).slice(),
    }))
    return { kind: 'prefix', tokens: trained.tokens, layers }
  }
  if (trained.kind === 'full') throw new M4Error('USAGE', 'A model trained in full is no adapter.')
  const parts = trained.places.map((place) => ({
    ...place,
    part: place.part as LoraPartName,
    a: tensor(loraName(abi, place, 'A')).slice(),
    b: tensor(loraName(abi, place, 'B')).slice(),
  }))
  return { kind: 'lora', rsLora: trained.rsLora, parts }
}

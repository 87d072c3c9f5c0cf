/**
 * `.onnx_adapter`: packed LoRA as ONNX Runtime takes it (`CreateLoraAdapter`, `RunOptionsAddActiveLoraAdapter`): each parameter
 * is named like the graph input that it becomes, `lora/layers.3/attn/qkv/A` [1, in, R] and `…/B` [1, R, out].
 *
 * @reference microsoft/onnxruntime onnxruntime/lora/adapter_format/adapter_schema.fbs, format version 1
 */

import { formatDims } from '../core/dims.js'
import { halfToFloat } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { bytesOf, viewAs } from '../core/tensor.js'
import type { Abi } from '../firmware/manifest.js'
import { type AdapterFinding, finding, type ReadAdapter } from './findings.js'
import { type FlatReader, type FlatTable, readFlatBuffer, writeFlatBuffer } from './flatbuffers.js'
import type { AdapterTensors, PackedLora } from './types.js'
import { type StorageDType, stored } from './write-peft.js'

const IDENTIFIER = 'TORT'
const FORMAT_VERSION = 1
/** `TensorDataType` of the schema; the numbers of ONNX. */
const DATA_TYPES = { float32: 1, float16: 10 } as const
/** Ids of fields, in the order of the schema. */
const ADAPTER = { formatVersion: 0, adapterVersion: 1, modelVersion: 2, parameters: 3 } as const
const PARAMETER = { name: 0, dims: 1, dataType: 2, rawData: 3 } as const
const INPUT = /^lora\/(layers\.(\d+)\/(.+))\/([AB])$/

/** The file's `model_version`: 31 bits of the ABI id, so that a file of another base is noticed. */
export const modelVersion = (abi: Pick<Abi, 'id'>): number => Number.parseInt(abi.id.slice(-8), 16) & 0x7fffffff

export interface OnnxAdapterOptions {
  /** Default 1. */
  readonly adapterVersion?: number
  /** Graphs of M4 take float32, the default. */
  readonly dtype?: StorageDType
  /**
   * `all` (default): every LoRA input of the graph, those without an adapter as zeros, so that ONNX Runtime needs no other
   * feed for them; places of one site share one rank. `trained`: only what the adapter has.
   */
  readonly places?: 'all' | 'trained'
}

/**
 * @throws M4Error `FORMAT_UNSUPPORTED` for virtual tokens, which the format has not; `SHAPE_MISMATCH` when a pair does not fit
 */
export function writeOnnxAdapter(abi: Abi, adapter: AdapterTensors, options: OnnxAdapterOptions = {}): Uint8Array {
  if (!adapter.lora.size || adapter.softPrompt || adapter.prefix || adapter.gatedPrompt)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `Adapter ${adapter.name} is not LoRA alone, and .onnx_adapter holds nothing else.`,
    )
  const { adapterVersion = 1, places = 'all', dtype = 'float32' } = options
  const parameters: FlatTable[] = []
  const add = (name: string, dims: readonly number[], data: Float32Array) =>
    parameters.push([
      { string: name },
      { int64s: dims },
      { int32: DATA_TYPES[dtype] },
      { bytes: bytesOf(stored(name, dims, data, { dtype }).data) },
    ])
  const known = loraPlaces(abi)
  for (const [path, packed] of adapter.lora) requireFit(known, path, packed)
  for (const [path, { in: inner, out, site }] of known) {
    const packed = adapter.lora.get(path)
    if (!packed && places === 'trained') continue
    const rank = places === 'trained' ? packed!.rank : siteRank(known, adapter, site)
    add(
      `lora/${path}/A`,
      [1, inner, rank],
      packed ? widen(packed.a, inner, packed.rank, rank) : new Float32Array(inner * rank),
    )
    const b = new Float32Array(rank * out)
    if (packed) b.set(packed.b)
    add(`lora/${path}/B`, [1, rank, out], b)
  }
  return writeFlatBuffer(IDENTIFIER, [
    { int32: FORMAT_VERSION },
    { int32: adapterVersion },
    { int32: modelVersion(abi) },
    { tables: parameters },
  ])
}

interface PlaceShape {
  readonly site: string
  readonly in: number
  readonly out: number
}

/** Every LoRA place of the base by its path. */
function loraPlaces(abi: Abi): Map<string, PlaceShape> {
  const places = new Map<string, PlaceShape>()
  for (let layer = 0; layer < abi.layers; layer++)
    for (const [site, { path, in: inner, parts }] of Object.entries(abi.sites))
      places.set(`layers.${layer}/${path}`, { site, in: inner, out: parts.reduce((sum, part) => sum + part.out, 0) })
  return places
}

/** The largest rank of a site over the layers: the graph has one symbol for it. */
function siteRank(places: ReadonlyMap<string, PlaceShape>, { lora }: AdapterTensors, site: string): number {
  let rank = 0
  for (const [path, packed] of lora) if (places.get(path)!.site === site) rank = Math.max(rank, packed.rank)
  return rank
}

function requireFit(places: ReadonlyMap<string, PlaceShape>, path: string, { rank, a, b }: PackedLora): void {
  const place = places.get(path)
  if (place && a.length === place.in * rank && b.length === rank * place.out) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `${path}: expected ${place ? `A [${place.in}, ${rank}] and B [${rank}, ${place.out}]` : 'a place of this base'}, got ${a.length} and ${b.length} elements.`,
    { hint: 'Was it made for this base model?', details: { path } },
  )
}

/** [rows, from] → [rows, to], zeros at the right. */
function widen(data: Float32Array, rows: number, from: number, to: number): Float32Array {
  if (from === to) return data
  const out = new Float32Array(rows * to)
  for (let row = 0; row < rows; row++) out.set(data.subarray(row * from, (row + 1) * from), row * to)
  return out
}

/** A parameter as the file has it. */
interface Parameter {
  readonly name: string
  readonly dims: readonly number[]
  readonly data: Float32Array
}

/**
 * Reads such a file for a base. Places of zeros (padding of `places: 'all'`) are left out; what does not fit is told as findings.
 * @param name of the adapter, and for messages
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for another format version or element type
 */
export function readOnnxAdapter(file: Uint8Array, abi: Abi, name: string): ReadAdapter {
  const root = readFlatBuffer(file, IDENTIFIER, name)
  const version = root.int32(ADAPTER.formatVersion)
  if (version !== FORMAT_VERSION)
    throw new M4Error('FORMAT_UNSUPPORTED', `${name}: format version ${version}, expected ${FORMAT_VERSION}.`)
  const findings: AdapterFinding[] = []
  if (root.int32(ADAPTER.modelVersion) !== modelVersion(abi))
    findings.push(finding('other-base', 'warning', 'its model_version is not that of this base.'))
  const parameters = readParameters(root, name, file.length)
  const places = loraPlaces(abi)
  const lora = new Map<string, PackedLora>()
  let matched = 0
  for (const a of parameters.values()) {
    const [, path, , , half] = INPUT.exec(a.name) ?? []
    if (!path) {
      findings.push(finding('unknown-tensor', 'error', `${a.name} is no LoRA input.`, a.name))
      continue
    }
    const b = parameters.get(`lora/${path}/${half === 'A' ? 'B' : 'A'}`)
    const place = places.get(path)
    if (!place) findings.push(finding('unknown-site', 'error', `${a.name}: this base has no such place.`, a.name))
    else if (!b) findings.push(finding('incomplete-pair', 'error', `${a.name} has no other half.`, a.name))
    else if (half === 'A') {
      const packed = packedPair(place, a, b, findings)
      if (!packed) continue
      matched += 2
      if (packed.a.some(isNotZero) && packed.b.some(isNotZero)) lora.set(path, packed)
    }
  }
  if (!lora.size)
    findings.push(finding('no-effect', 'error', 'every pair is zero or does not fit: the adapter is the base model.'))
  return { adapter: { name, lora }, findings, matched, total: parameters.size }
}

const isNotZero = (value: number) => value !== 0

function packedPair(
  { in: inner, out }: PlaceShape,
  a: Parameter,
  b: Parameter,
  findings: AdapterFinding[],
): PackedLora | undefined {
  const rank = a.dims[2] ?? 0
  for (const [{ name, dims, data }, expected] of [
    [a, [1, inner, rank]],
    [b, [1, rank, out]],
  ] as const) {
    if (dims.length !== 3 || dims.some((dim, i) => dim !== expected[i]))
      findings.push(
        finding('wrong-shape', 'error', `${name}: expected ${formatDims(expected)}, got ${formatDims(dims)}.`, name),
      )
    else if (!data.every(Number.isFinite))
      findings.push(finding('not-finite', 'error', `${name} holds a value that is not finite.`, name))
    else continue
    return undefined
  }
  return { rank, a: a.data, b: b.data }
}

/** @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` */
function readParameters(root: FlatReader, file: string, fileBytes: number): Map<string, Parameter> {
  const invalid = (what: string) =>
    new M4Error('FORMAT_INVALID', `${file}: ${what}.`, { hint: 'Fetch the file again.' })
  const parameters = new Map<string, Parameter>()
  let total = 0
  for (const table of root.tables(ADAPTER.parameters)) {
    const name = table.string(PARAMETER.name) ?? ''
    const dims = table.int64s(PARAMETER.dims)
    const type = table.int32(PARAMETER.dataType)
    const bytes = table.bytes(PARAMETER.rawData)
    if (parameters.has(name)) throw invalid(`two parameters are named "${name}"`)
    const dtype = Object.entries(DATA_TYPES).find(([, number]) => number === type)?.[0] as StorageDType | undefined
    if (!dtype)
      throw new M4Error(
        'FORMAT_UNSUPPORTED',
        `${file}: ${name} has the element type ${type}, expected float32 or float16.`,
      )
    const count = dims.reduce((product, dim) => product * dim, 1)
    if (dims.some((dim) => dim < 0) || bytes.length !== count * (dtype === 'float32' ? 4 : 2))
      throw invalid(`${name} is ${formatDims(dims)} ${dtype} but has ${bytes.length} bytes`)
    // Many parameters may point at one piece of the file; each becomes memory of its own.
    total += bytes.length
    if (total > fileBytes) throw invalid('its parameters are larger than the file')
    parameters.set(name, { name, dims, data: floats(dtype, bytes) })
  }
  return parameters
}

function floats(dtype: StorageDType, bytes: Uint8Array): Float32Array {
  if (dtype === 'float32') return viewAs('float32', bytes).slice()
  return Float32Array.from(viewAs('float16', bytes), halfToFloat)
}

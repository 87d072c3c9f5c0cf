/**
 * The manifest of a firmware image: the contract between those who build, sign and flash it, those who run it, and those who
 * make adapters for it. An image is a folder:
 *
 *   manifest.json            this, canonical JSON (sorted keys, no spaces), so that one image has one digest
 *   blobs/sha256-<hex>       graphs (.onnx protobuf), their weights (ONNX external data), tokenizers; each once
 */

import { createHash } from 'node:crypto'
import { M4Error } from '../core/errors.js'

export const MANIFEST_FORMAT = 'm4fm-image/1'

/** `sha256-` and 64 hex digits: the name of a blob, and its digest. */
export type BlobName = `sha256-${string}`

/** The paper's names of the modules (DESIGN §2). */
export const ROLES = ['IMG', 'TXT', 'IMU', 'AUD-B', 'AUD-I', 'backbone', 'TTS', 'IMG-gen'] as const
export type Role = (typeof ROLES)[number]

export interface Manifest {
  readonly format: typeof MANIFEST_FORMAT
  /** Recipe name, e.g. `lite`. */
  readonly name: string
  /** Semantic version of the image. */
  readonly version: string
  /** Never decreases on a device: flashing a lower one is refused. */
  readonly rollbackIndex: number
  /** `random` images measure size and speed; nothing may report accuracy from them. */
  readonly weights: 'pretrained' | 'random'
  /** m4fm version that built it, and the ONNX Runtime that its operators were proven on. */
  readonly builtWith: { readonly m4fm: string; readonly onnxruntime: string }
  readonly abi: Abi
  readonly modules: Readonly<Partial<Record<Role, ModuleEntry>>>
  readonly blobs: Readonly<Record<BlobName, { readonly bytes: number }>>
  /** Census over all graphs. */
  readonly operators: { readonly types: readonly string[]; readonly counts: Readonly<Record<string, number>> }
  /** Where every weight came from. */
  readonly provenance: readonly Provenance[]
}

/** What an adapter depends on. Two images with one `id` take the same adapters. */
export interface Abi {
  /** `abi-` and 16 hex digits of the sha-256 of everything below. */
  readonly id: string
  readonly layers: number
  readonly width: number
  readonly vocabulary: number
  readonly kvHeads: number
  /** Head width of the graph, and of the checkpoint that adapters were trained on (see core/heads). */
  readonly headWidth: number
  readonly sourceHeadWidth: number
  /** Per site (`qkv`, `o`, …): path below a layer (`attn/qkv`), input width and the parts side by side in A, in order. */
  readonly sites: Readonly<Record<string, AbiSite>>
}

export interface AbiSite {
  readonly path: string
  readonly in: number
  readonly parts: readonly { readonly name: string; readonly out: number }[]
}

export interface ModuleEntry {
  /** File in `models/`: `llama`, `whisper`, `bert`. */
  readonly architecture: string
  /** The module whose weights it reads: they lie in that module's blobs, and nowhere else. */
  readonly view?: Role
  /** What it is, e.g. `Whisper base.en`. */
  readonly title: string
  /** Hyper-parameters of that architecture, as its model file types them. */
  readonly config: Readonly<Record<string, unknown>>
  /** Purpose (`embed`, `decode`, `encode`, …) → graph. */
  readonly graphs: Readonly<Record<string, GraphEntry>>
  /** Purpose (`tokenizer`, `chatTemplate`, …) → blob. */
  readonly files: Readonly<Record<string, BlobName>>
  readonly parameters: number
  /** Bytes of weights that its graphs read; those of a view lie on disk with the module that it looks at. */
  readonly weightBytes: number
  readonly quantisation: string
}

/** The text around soft tokens that a projection was trained with; in the backbone's configuration as `softPrompt`. */
export interface SoftPrompt {
  /** In front of them. */
  readonly before: string
  /** A question behind them, at `{}`; the answer follows directly. Earlier turns stand in front in the same form. */
  readonly question: string
  /** Where an answer ends; it is no part of it. */
  readonly end: string
}

export interface GraphEntry {
  readonly model: BlobName
  /** Files of external data that the model names, all in `blobs/`. */
  readonly data: readonly BlobName[]
  /** Symbolic dimensions (core/dims letters) of inputs and outputs, for `inspect`. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

export interface Provenance {
  readonly role: Role
  /** What it is, e.g. `TinyLlama-1.1B-Chat-v1.0`. */
  readonly title: string
  readonly uris: readonly string[]
  readonly sha256: string
  readonly bytes: number
  /** SPDX id of the upstream model, not of the package that carried it. */
  readonly licence: string
  readonly publisher?: string
  /** What a reader should know, e.g. that no public digest of it exists. */
  readonly note?: string
}

/** JSON with sorted keys and no spaces: equal manifests have equal bytes. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const entries = Object.entries(value as Record<string, unknown>).filter(([, v]) => v !== undefined)
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, v]) => `${JSON.stringify(key)}:${canonicalJson(v)}`).join(',')}}`
}

/** The digest that names an image: sha-256 of its canonical manifest. */
export function manifestDigest(manifest: Manifest): string {
  return createHash('sha256').update(canonicalJson(manifest)).digest('hex')
}

/** `abi-…` over all that an adapter depends on. */
export function abiId(abi: Omit<Abi, 'id'>): string {
  const { layers, width, vocabulary, kvHeads, headWidth, sourceHeadWidth, sites } = abi
  const facts = canonicalJson({ layers, width, vocabulary, kvHeads, headWidth, sourceHeadWidth, sites })
  return `abi-${createHash('sha256').update(facts).digest('hex').slice(0, 16)}`
}

const BLOB = /^sha256-[0-9a-f]{64}$/

export function isBlobName(name: unknown): name is BlobName {
  return typeof name === 'string' && BLOB.test(name)
}

/**
 * Parses and checks a manifest: known format, every blob named is declared, every declared blob is used, ABI id true.
 * @throws M4Error `IMAGE_INVALID`
 */
export function parseManifest(text: string): Manifest {
  const fail = (what: string): never => {
    throw new M4Error('IMAGE_INVALID', `manifest.json: ${what}`, { hint: 'Build or pull the image again.' })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    fail(`not JSON (${(error as Error).message}).`)
  }
  const isObject = (v: unknown): v is Record<string, unknown> =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
  if (!isObject(value)) return fail('expected an object.')
  if (value.format !== MANIFEST_FORMAT)
    fail(`expected format "${MANIFEST_FORMAT}", got ${JSON.stringify(value.format)}.`)
  for (const key of ['name', 'version'] as const) if (typeof value[key] !== 'string') fail(`"${key}" must be text.`)
  if (!Number.isSafeInteger(value.rollbackIndex) || (value.rollbackIndex as number) < 0)
    fail('"rollbackIndex" must be a whole number, 0 or more.')
  for (const key of ['abi', 'modules', 'blobs', 'operators', 'builtWith'] as const)
    if (!isObject(value[key])) fail(`"${key}" must be an object.`)
  if (!Array.isArray(value.provenance)) fail('"provenance" must be a list.')
  const manifest = value as unknown as Manifest
  for (const [name, blob] of Object.entries(manifest.blobs))
    if (!isBlobName(name) || !Number.isSafeInteger(blob?.bytes) || blob.bytes < 0) fail(`blob "${name}" is malformed.`)
  const used = new Set<string>()
  for (const [role, module] of Object.entries(manifest.modules)) {
    if (!(ROLES as readonly string[]).includes(role)) fail(`unknown module role "${role}".`)
    if (!isObject(module) || !isObject(module.graphs) || !isObject(module.files)) fail(`module ${role} is malformed.`)
    for (const name of blobsOf(module as ModuleEntry)) {
      if (!isBlobName(name)) fail(`module ${role} names "${name}", which is not a blob name.`)
      if (!(name in manifest.blobs)) fail(`module ${role} needs ${name}, which "blobs" does not declare.`)
      used.add(name)
    }
  }
  const unused = Object.keys(manifest.blobs).find((name) => !used.has(name))
  if (unused) fail(`blob ${unused} belongs to no module.`)
  if (manifest.abi.id !== abiId(manifest.abi)) fail(`the ABI id ${manifest.abi.id} does not fit its sites.`)
  return manifest
}

/** Every blob that a module needs. */
export function blobsOf(module: ModuleEntry): BlobName[] {
  return [
    ...Object.values(module.graphs).flatMap(({ model, data }) => [model, ...data]),
    ...Object.values(module.files),
  ]
}

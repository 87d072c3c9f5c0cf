/**
 * Recipe → firmware image. One of the three files to read first: the whole build in order.
 *
 *   pull sources ─► open checkpoint ─► our names ─► graphs ─► ONNX + weights as blobs ─► manifest
 *
 * Same recipe and sources, same bytes: nothing in an image depends on the time, the machine or the order of files.
 */

import { readFileSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Checkpoint, nativeCodes, openCheckpoint } from '../checkpoint/index.js'
import { type DiskAccess, pullFolder, pullSource, type Source, type SourceFolder } from '../checkpoint/sources/index.js'
import { M4Error, unknownName, wrapSystemError } from '../core/errors.js'
import { acquireLock, atomicWriteFile, m4fmHome, removeTemporariesBeside, temporaryBeside } from '../core/files.js'
import { replaceFolder } from '../core/folders.js'
import type { LongOperation } from '../core/progress.js'
import { censusOf, decodeModel, encodeModel, type Graph } from '../graph/index.js'
import {
  architecture,
  type CheckpointFacts,
  type ModuleOptions,
  type QuantisationPlan,
  type Weights,
  type WeightTensor,
  withDelta,
  withGptq,
} from '../models/index.js'
import { fromSentencePiece } from '../tokenizers/index.js'
import { type BlobStore, createBlobStore } from './blobs.js'
import { abiOf, describeGraph, emptyAbi } from './describe.js'
import {
  type Abi,
  type BlobName,
  canonicalJson,
  type GraphEntry,
  MANIFEST_FORMAT,
  type Manifest,
  type ModuleEntry,
  manifestDigest,
  type Provenance,
  type Role,
} from './manifest.js'
import { filesOf, type ModuleRecipe, type Recipe } from './recipes.js'
import { textFacts } from './text-facts.js'
import { BUILT_WITH } from './version.js'

export interface BuildOptions extends LongOperation {
  /** Folder of the image. Default: `<home>/images/<name>`. */
  readonly out?: string
  readonly home?: string
  /** A named quantisation of the backbone; default: the recipe's first. */
  readonly quantisation?: string
  readonly offline?: boolean
  readonly onWarning?: (message: string) => void
  /** How the disk is reached; replaced in tests that need a full one. */
  readonly disk?: DiskAccess
}

export interface BuiltImage {
  readonly path: string
  readonly manifest: Manifest
  readonly digest: string
}

/**
 * Builds an image; the folder appears whole or not at all.
 * @throws M4Error `UNKNOWN_NAME`, `NETWORK`, `OFFLINE`, `DIGEST_MISMATCH`, `FORMAT_INVALID`, `TENSOR_MISSING`, `TENSOR_UNUSED`,
 * `SHAPE_MISMATCH`, `DISK_FULL`, `LOCKED`, `ABORTED`
 */
export async function buildFirmware(recipe: Recipe, options: BuildOptions = {}): Promise<BuiltImage> {
  const home = options.home ?? m4fmHome()
  const name = imageName(recipe, options.quantisation)
  const out = options.out ?? join(home, 'images', name)
  await using _lock = await acquireLock(`${out}.lock`, options.signal ? { signal: options.signal } : {})
  await removeTemporariesBeside(out)
  const staging = temporaryBeside(out)
  try {
    const store = await createBlobStore(staging, options.disk?.write)
    const built: BuiltModule[] = []
    for (const [role, module] of Object.entries(recipe.modules) as [Role, ModuleRecipe][])
      built.push(await buildModule(role, module, store, { ...options, home }))
    const manifest = assembleManifest(recipe, name, built, store)
    await atomicWriteFile(join(staging, 'manifest.json'), canonicalJson(manifest))
    await replaceFolder(staging, out)
    return { path: out, manifest, digest: manifestDigest(manifest) }
  } catch (error) {
    await rm(staging, { recursive: true, force: true })
    throw wrapSystemError(error, `Building ${name}`)
  }
}

/** `lite`, or `lite-int8` when another than the default quantisation is chosen. @throws M4Error `UNKNOWN_NAME` */
export function imageName(recipe: Recipe, quantisation?: string): string {
  const choices = Object.keys(recipe.modules.backbone?.quantisations ?? {})
  if (quantisation === undefined || quantisation === choices[0]) return recipe.name
  if (!choices.includes(quantisation)) throw unknownName('quantisation', quantisation, choices)
  return `${recipe.name}-${quantisation}`
}

interface BuiltModule {
  readonly role: Role
  readonly entry: ModuleEntry
  readonly random: boolean
  readonly abi: Abi | undefined
  /** For the census only: their weights may no longer be read. */
  readonly graphs: readonly Graph[]
  readonly provenance: readonly Provenance[]
}

type ModuleBuild = BuildOptions & { readonly home: string }

async function buildModule(
  role: Role,
  recipe: ModuleRecipe,
  store: BlobStore,
  options: ModuleBuild,
): Promise<BuiltModule> {
  const model = architecture(recipe.architecture)
  const sources: Source[] = []
  const pull = async (source: Source) => {
    sources.push(source)
    return pullSource(source, options)
  }
  const pullWeights = async (from: Source | SourceFolder) => {
    if (!('files' in from)) return pull(from)
    sources.push(...filesOf(from))
    return pullFolder(from, options)
  }
  const path = 'random' in recipe.weights ? undefined : await pullWeights(recipe.weights)
  using checkpoint = path === undefined ? undefined : openCheckpoint(path)
  using delta = recipe.delta ? openCheckpoint(await pullWeights(recipe.delta)) : undefined
  const tensors = checkpoint && plainWeights(checkpoint, delta)
  const config =
    'random' in recipe.weights
      ? recipe.weights.random.config
      : model.configure(factsOf(checkpoint!, tensors!, path!, recipe.config))
  const weights =
    'random' in recipe.weights
      ? model.random(config as never, recipe.weights.random.seed)
      : model.weights(config as never, tensors!)
  const choice = quantisationOf(recipe, role === 'backbone' ? options.quantisation : undefined)
  const moduleOptions: ModuleOptions = {
    quantisation: choice.plan,
    embedding: recipe.embedding ?? 'fp32',
    loraSites: recipe.loraSites ?? [],
  }

  const graphs: Record<string, GraphEntry> = {}
  const made: Graph[] = []
  for (const [purpose, make] of Object.entries(model.graphs(config as never, weights, moduleOptions))) {
    const graph = make()
    made.push(graph)
    graphs[purpose] = await writeGraph(graph, `${role}.${purpose}`, store, options)
  }

  const tokenizerFile =
    'source' in recipe.tokenizer ? readTokenizer(await readFile(await pull(recipe.tokenizer.source))) : undefined
  const text = textFacts(recipe.architecture, recipe.tokenizer, checkpoint, tokenizerFile)
  const files: Record<string, BlobName> = { tokenizer: await store.add(canonicalJson(text.tokenizer)) }
  if (text.chatTemplate) files.chatTemplate = await store.add(text.chatTemplate)
  for (const [name, source] of Object.entries(recipe.files ?? {}))
    files[name] = await store.add(await readFile(await pull(source)))

  const surface = model.adapters?.(config as never, moduleOptions)
  return {
    role,
    random: 'random' in recipe.weights,
    abi: surface && abiOf(surface),
    graphs: made,
    provenance: sources.map((source) => provenanceOf(role, recipe.title, source)),
    entry: {
      architecture: recipe.architecture,
      title: recipe.title,
      config: { ...model.runtimeConfig(config as never), ...text.config },
      graphs,
      files,
      parameters: countParameters(weights),
      weightBytes: Object.values(graphs).reduce(
        (sum, { data }) => sum + data.reduce((n, blob) => n + store.sizes.get(blob)!, 0),
        0,
      ),
      quantisation: choice.name,
    },
  }
}

/** The graph's weights as one blob, the graph as another that names it. */
async function writeGraph(graph: Graph, task: string, store: BlobStore, options: LongOperation): Promise<GraphEntry> {
  const data = await store.writer()
  let dataBlob: BlobName | undefined
  let written = 0
  try {
    const model = await encodeModel(graph, {
      externalData: {
        // Asked for when all weights are written: only then is their digest, and so their name, known.
        location: async () => {
          dataBlob = await data.finish()
          return dataBlob
        },
        write: async (chunk) => {
          written += chunk.length
          await data.write(chunk)
        },
      },
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.onProgress
        ? { onProgress: (progress) => options.onProgress!({ ...progress, task: `build ${task}` }) }
        : {}),
    })
    if (!dataBlob || written === 0) await data.discard()
    return { model: await store.add(model), data: dataBlob ? [dataBlob] : [], ...describeGraph(graph) }
  } catch (error) {
    await data.discard()
    throw error
  }
}

/** JSON, or the vocabulary of SentencePiece. */
function readTokenizer(bytes: Uint8Array): unknown {
  return bytes[0] === '{'.charCodeAt(0) ? JSON.parse(new TextDecoder().decode(bytes)) : fromSentencePiece(bytes)
}

function quantisationOf(recipe: ModuleRecipe, asked: string | undefined): { name: string; plan: QuantisationPlan } {
  const name = asked ?? Object.keys(recipe.quantisations)[0]!
  const plan = recipe.quantisations[name]
  if (!plan) throw unknownName('quantisation', name, Object.keys(recipe.quantisations))
  return { name, plan }
}

/** The checkpoint's own facts, with what the recipe adds under `config`. */
function factsOf(
  checkpoint: Checkpoint,
  weights: Weights,
  path: string,
  added: Readonly<Record<string, unknown>> = {},
): CheckpointFacts {
  const own = checkpoint.metadata.config as Record<string, unknown> | undefined
  return {
    format: checkpoint.format,
    metadata: { ...checkpoint.metadata, config: { ...own, ...added } },
    weights,
    ...(checkpoint.format === 'onnx' ? { graph: () => decodeModel(readFileSync(path)) } : {}),
  }
}

/** What the architecture reads: GPTQ's codes as matrices, a delta added to its base. */
function plainWeights(checkpoint: Checkpoint, delta: Checkpoint | undefined): Weights {
  const base = withGptq(weightsOf(checkpoint))
  return delta ? withDelta(base, weightsOf(delta)) : base
}

/** Tensors as models want them: blocks that need no second rounding are handed over as they are. */
export function weightsOf(checkpoint: Checkpoint): Weights {
  const weights = new Map<string, WeightTensor>()
  for (const [name, tensor] of checkpoint.tensors)
    weights.set(name, {
      name,
      dims: tensor.dims,
      float32: (rows) => tensor.float32(rows),
      codes32: (rows) => nativeCodes(tensor, rows),
    })
  return weights
}

/** Distinct tensors only: a tied head is one. */
function countParameters(weights: ReadonlyMap<string, WeightTensor>): number {
  let count = 0
  for (const tensor of new Set(weights.values())) count += tensor.dims.reduce((a, b) => a * b, 1)
  return count
}

const provenanceOf = (role: Role, title: string, source: Source): Provenance => ({
  role,
  title: source.name ?? title,
  uris: source.uris.length ? source.uris : (source.parts ?? []).flatMap(({ uris }) => uris),
  sha256: source.sha256,
  bytes: source.bytes,
  licence: source.licence,
  ...(source.publisher ? { publisher: source.publisher } : {}),
  ...(source.note ? { note: source.note } : {}),
})

function assembleManifest(recipe: Recipe, name: string, built: readonly BuiltModule[], store: BlobStore): Manifest {
  const census = censusOf(built.flatMap(({ graphs }) => graphs))
  const surfaces = built.flatMap(({ abi }) => (abi ? [abi] : []))
  if (surfaces.length > 1) throw new M4Error('USAGE', `Recipe ${recipe.name}: adapters can attach to one module only.`)
  return {
    format: MANIFEST_FORMAT,
    name,
    version: recipe.version,
    rollbackIndex: recipe.rollbackIndex,
    weights: built.some(({ random }) => random) ? 'random' : 'pretrained',
    builtWith: BUILT_WITH,
    abi: surfaces[0] ?? emptyAbi(),
    modules: Object.fromEntries(built.map(({ role, entry }) => [role, entry])),
    blobs: Object.fromEntries([...store.sizes].map(([blob, bytes]) => [blob, { bytes }])),
    operators: { types: census.types, counts: census.counts },
    provenance: built.flatMap(({ provenance }) => provenance),
  }
}

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
import { gunzipSync } from 'node:zlib'
import { type Checkpoint, nativeCodes, openCheckpoint } from '../checkpoint/index.js'
import {
  type DiskAccess,
  pinSource,
  pullFolder,
  pullSource,
  type RecipeSource,
  type Source,
  type SourceFolder,
} from '../checkpoint/sources/index.js'
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
import { filesOf, type GraphRecipe, type ModuleRecipe, type Recipe, type TokenizerRecipe } from './recipes.js'
import { textFacts } from './text-facts.js'
import { BUILT_WITH } from './version.js'

export interface BuildOptions extends LongOperation {
  /** Folder of the image. Default: `<home>/images/<name>`. */
  readonly out?: string
  readonly home?: string
  /** A named quantisation of the backbone, and of every other module that has one of that name; default: each one's first. */
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
    const { quantisation: asked, ...rest } = options
    // The backbone's first is the recipe's default, and then every module's own first is meant.
    const other = name === recipe.name ? {} : { quantisation: asked! }
    for (const [role, module] of Object.entries(recipe.modules) as [Role, ModuleRecipe][])
      built.push(await buildModule(role, module, store, { ...rest, ...other, home }))
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
  const sources: Source[] = []
  const pulls = pulling(sources, options)
  const choice = quantisationOf(recipe, options.quantisation)
  const moduleOptions: ModuleOptions = {
    quantisation: choice.plan,
    embedding: recipe.embedding ?? 'fp32',
    loraSites: recipe.loraSites ?? [],
    encoderAdapters: recipe.encoderAdapters ?? false,
    gatedPrompt: recipe.gatedPrompt ?? false,
  }
  using own = await openModel(recipe, pulls)
  const { model, config, checkpoint } = own
  const made = await writeGraphs(role, own, moduleOptions, store, options)
  let random = own.random
  let parameters = countParameters(own.weights)
  for (const [name, part] of Object.entries(recipe.graphs ?? {})) {
    if (Object.hasOwn(made.entries, name))
      throw new M4Error('USAGE', `Module ${role}: graphs.${name}: the architecture has a graph of this name itself.`, {
        hint: 'Give the part another name in the recipe.',
      })
    using opened = await openModel(part, pulls)
    const written = await writeGraphs(role, opened, partOptions(part), store, options, name)
    Object.assign(made.entries, written.entries)
    made.graphs.push(...written.graphs)
    parameters += countParameters(opened.weights)
    random ||= opened.random
  }

  const tokenizerFile = recipe.tokenizer && (await readTokenizer(recipe.tokenizer, pulls))
  const text = textFacts(recipe.architecture, recipe.tokenizer, checkpoint, tokenizerFile)
  const files: Record<string, BlobName> = {}
  if (text.tokenizer) files.tokenizer = await store.add(canonicalJson(text.tokenizer))
  const chatTemplate = recipe.chatTemplate ?? text.chatTemplate
  if (chatTemplate) files.chatTemplate = await store.add(chatTemplate)
  for (const [name, source] of Object.entries(recipe.files ?? {}))
    files[name] = await store.add(await readFile(await pulls.file(source)))

  const surface = model.adapters?.(config as never, moduleOptions)
  return {
    role,
    random,
    abi: surface && abiOf(surface),
    graphs: made.graphs,
    provenance: sources.map((source) => provenanceOf(role, recipe.title, source)),
    entry: {
      architecture: recipe.architecture,
      title: recipe.title,
      config: {
        ...model.runtimeConfig(config as never),
        ...text.config,
        ...(recipe.space ? { space: recipe.space } : {}),
      },
      graphs: made.entries,
      files,
      parameters,
      weightBytes: Object.values(made.entries).reduce(
        (sum, { data }) => sum + data.reduce((n, blob) => n + store.sizes.get(blob)!, 0),
        0,
      ),
      quantisation: choice.name,
    },
  }
}

/** Options of a graph that stands in another's module. */
export const partOptions = ({ quantisation, embedding = 'fp32' }: GraphRecipe): ModuleOptions => ({
  quantisation,
  embedding,
  loraSites: [],
})

interface Pulls {
  file(source: RecipeSource): Promise<string>
  weights(from: RecipeSource | SourceFolder): Promise<string>
}

/** Pulls files, and notes each with its digest. */
function pulling(sources: Source[], options: ModuleBuild): Pulls {
  const pin = async (source: RecipeSource) => {
    const pinned = await pinSource(source, options)
    sources.push(pinned)
    return pinned
  }
  return {
    file: async (source) => pullSource(await pin(source), options),
    async weights(from) {
      if (!('files' in from)) return pullSource(await pin(from), options)
      for (const file of filesOf(from)) await pin(file)
      return pullFolder(from, options)
    },
  }
}

interface OpenedModel extends Disposable {
  readonly model: ReturnType<typeof architecture>
  readonly config: unknown
  readonly weights: ReadonlyMap<string, WeightTensor>
  readonly random: boolean
  readonly checkpoint: Checkpoint | undefined
}

/** A model with its weights under our names, to be read while its files are open. */
async function openModel(recipe: ModuleRecipe | GraphRecipe, pulls: Pulls): Promise<OpenedModel> {
  const model = architecture(recipe.architecture)
  if ('random' in recipe.weights) {
    const { config, seed } = recipe.weights.random
    const weights = model.random(config as never, seed)
    return { model, config, weights, random: true, checkpoint: undefined, [Symbol.dispose]() {} }
  }
  const path = await pulls.weights(recipe.weights)
  const from = 'delta' in recipe ? recipe.delta : undefined
  const deltaPath = from && (await pulls.weights(from))
  const opened: Checkpoint[] = []
  const close = () => {
    for (const file of opened) file[Symbol.dispose]()
  }
  try {
    const checkpoint = openCheckpoint(path)
    opened.push(checkpoint)
    const delta = deltaPath === undefined ? undefined : openCheckpoint(deltaPath)
    if (delta) opened.push(delta)
    const tensors = plainWeights(checkpoint, delta)
    const config = model.configure(factsOf(checkpoint, tensors, path, recipe.config))
    const weights = model.weights(config as never, tensors)
    return { model, config, weights, random: false, checkpoint, [Symbol.dispose]: close }
  } catch (error) {
    close()
    throw error
  }
}

/** @param only the name of the one graph of a part */
async function writeGraphs(
  role: Role,
  { model, config, weights }: OpenedModel,
  moduleOptions: ModuleOptions,
  store: BlobStore,
  options: ModuleBuild,
  only?: string,
): Promise<{ readonly entries: Record<string, GraphEntry>; readonly graphs: Graph[] }> {
  const entries: Record<string, GraphEntry> = {}
  const graphs: Graph[] = []
  for (const [purpose, make] of Object.entries(model.graphs(config as never, weights, moduleOptions))) {
    const graph = make()
    const name = only ?? purpose
    graphs.push(graph)
    entries[name] = await writeGraph(graph, `${role}.${name}`, store, options)
  }
  return { entries, graphs }
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

/** What `textFacts` reads: JSON parsed, CLIP's merges as text. */
async function readTokenizer(recipe: TokenizerRecipe, pulls: Pulls): Promise<unknown> {
  if (!('source' in recipe)) return undefined
  const bytes = await readFile(await pulls.file(recipe.source))
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes
  const text = () => new TextDecoder().decode(plain)
  if (recipe.from === 'clip') return text()
  return plain[0] === '{'.charCodeAt(0) ? JSON.parse(text()) : fromSentencePiece(plain)
}

/** The recipe's default means each module's first; another name means that of every module that has one. */
function quantisationOf(recipe: ModuleRecipe, asked: string | undefined): { name: string; plan: QuantisationPlan } {
  const names = Object.keys(recipe.quantisations)
  const name = asked !== undefined && names.includes(asked) ? asked : names[0]!
  return { name, plan: recipe.quantisations[name]! }
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

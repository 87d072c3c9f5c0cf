/** An opened firmware image: the manifest, and where its graphs and files are. Opening checks sizes; `verify` checks digests. */

import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isM4Error, M4Error, unknownName, wrapSystemError } from '../core/errors.js'
import { m4fmHome } from '../core/files.js'
import { readDevice, slotFolder } from './device.js'
import {
  type GraphEntry,
  type Manifest,
  type ModuleEntry,
  manifestDigest,
  parseManifest,
  type Role,
} from './manifest.js'
import { type PrepackedIndex, prepackedFolder, readPrepackedIndex } from './prepacked.js'

export interface Image {
  /** Absolute path of the folder. */
  readonly path: string
  readonly manifest: Manifest
  /** sha-256 of the canonical manifest, 64 hex digits. */
  readonly digest: string
  /** True when at least one graph is opened prepacked for this CPU. */
  readonly prepacked: boolean
  /** Path of a graph's model file, prepacked where it is. @throws M4Error `UNKNOWN_NAME` */
  graphPath(role: Role, graph: string): string
  /** Bytes of a table such as a tokenizer. @throws M4Error `UNKNOWN_NAME`, `IMAGE_INVALID` */
  readFile(role: Role, file: string): Promise<Uint8Array>
}

export interface OpenImageOptions {
  /** What `cpuKey(engine)` of room engine says. Without it, or where it differs from that of flashing, the blobs are used. */
  readonly cpuKey?: string
}

/**
 * Opens the image in folder `path`: its manifest is sound and every blob is there with its declared size. Hashes nothing.
 * @throws M4Error `FILE_NOT_FOUND` (no such folder), `IMAGE_INVALID` naming the blob, `IO`
 */
export async function openImage(path: string, options: OpenImageOptions = {}): Promise<Image> {
  const root = resolve(path)
  const manifest = await readManifest(root)
  const digest = manifestDigest(manifest)
  for (const [name, { bytes }] of Object.entries(manifest.blobs)) await requireSize(root, join('blobs', name), bytes)
  const index = options.cpuKey === undefined ? undefined : await readPrepackedIndex(root, options.cpuKey, digest)
  const prepacked = new Map(index ? await prepackedModels(root, index) : [])

  const moduleOf = (role: Role): ModuleEntry => {
    const module = Object.hasOwn(manifest.modules, role) ? manifest.modules[role] : undefined
    if (!module) throw unknownName(`module of image ${manifest.name}`, role, Object.keys(manifest.modules))
    return module
  }
  return {
    path: root,
    manifest,
    digest,
    prepacked: prepacked.size > 0,
    graphPath(role, graph) {
      const { graphs } = moduleOf(role)
      if (!Object.hasOwn(graphs, graph)) throw unknownName(`graph of module ${role}`, graph, Object.keys(graphs))
      return prepacked.get(`${role}.${graph}`) ?? join(root, 'blobs', graphs[graph]!.model)
    },
    async readFile(role, file) {
      const { files } = moduleOf(role)
      if (!Object.hasOwn(files, file)) throw unknownName(`file of module ${role}`, file, Object.keys(files))
      const blob = files[file]!
      const bytes = await readFile(join(root, 'blobs', blob)).catch((error) => {
        throw wrapSystemError(error, `Reading ${file} of module ${role}`)
      })
      if (bytes.length !== manifest.blobs[blob]!.bytes)
        throw wrongSize(root, join('blobs', blob), manifest.blobs[blob]!.bytes, bytes.length)
      return bytes
    },
  }
}

/** Every graph of an image, with the bytes of its external data. */
export function graphsOf(manifest: Manifest): { role: Role; graph: string; entry: GraphEntry; dataBytes: number }[] {
  return Object.entries(manifest.modules).flatMap(([role, module]) =>
    Object.entries(module.graphs).map(([graph, entry]) => ({
      role: role as Role,
      graph,
      entry,
      dataBytes: [...new Set(entry.data)].reduce((sum, blob) => sum + manifest.blobs[blob]!.bytes, 0),
    })),
  )
}

/** @throws M4Error `FILE_NOT_FOUND` when the folder has no manifest.json, `IMAGE_INVALID` */
export async function readManifest(image: string): Promise<Manifest> {
  const path = join(image, 'manifest.json')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const wrapped = wrapSystemError(error, `Opening image ${image}`)
    if (!isM4Error(wrapped, 'FILE_NOT_FOUND')) throw wrapped
    throw new M4Error('FILE_NOT_FOUND', `${image} is not a firmware image: it has no manifest.json.`, {
      hint: 'Build one with `m4fm build lite`, or give the folder that holds manifest.json and blobs/.',
      details: { path },
      cause: error,
    })
  }
  return parseManifest(text)
}

async function prepackedModels(image: string, index: PrepackedIndex): Promise<[string, string][]> {
  const folder = prepackedFolder(image, index.cpuKey)
  const models: [string, string][] = []
  for (const [name, { model, data }] of Object.entries(index.graphs)) {
    for (const { file, bytes } of [model, data]) await requireSize(image, join('prepacked', index.cpuKey, file), bytes)
    models.push([name, join(folder, model.file)])
  }
  return models
}

async function requireSize(image: string, file: string, bytes: number): Promise<void> {
  let size: number | undefined
  try {
    const found = await stat(join(image, file))
    if (found.isFile()) size = found.size
  } catch (error) {
    const wrapped = wrapSystemError(error, `Opening image ${image}`)
    if (!isM4Error(wrapped, 'FILE_NOT_FOUND')) throw wrapped
  }
  if (size !== bytes) throw wrongSize(image, file, bytes, size)
}

function wrongSize(image: string, file: string, expected: number, got: number | undefined): M4Error {
  const found = got === undefined ? 'is missing' : `has ${got}`
  return new M4Error('IMAGE_INVALID', `Image ${image}: expected ${expected} bytes in ${file}, it ${found}.`, {
    hint: 'Run `m4fm verify` for all that is wrong, then build or flash the image again.',
    details: { image, file, expected, got },
  })
}

/**
 * The folder of an image, by name: `device` is the active slot, an image folder is itself, anything else a recipe that was
 * built under `<home>/images/`. A folder called like a recipe is meant with `./lite`.
 * @throws M4Error `FILE_NOT_FOUND` with the next step, `IMAGE_INVALID` when the active slot is not what was flashed
 */
export async function resolveImage(nameOrPath: string, options: { readonly home?: string } = {}): Promise<string> {
  const home = options.home ?? m4fmHome()
  if (nameOrPath === 'device') return activeSlot(home)
  if (await hasManifest(nameOrPath)) return resolve(nameOrPath)
  if (/^\.|[/\\]/.test(nameOrPath))
    throw new M4Error('FILE_NOT_FOUND', `${nameOrPath} is not a firmware image: it has no manifest.json.`, {
      hint: 'Give the folder that holds manifest.json and blobs/, or build one with `m4fm build lite`.',
      details: { path: nameOrPath },
    })
  const built = join(home, 'images', nameOrPath)
  if (nameOrPath !== '' && (await hasManifest(built))) return built
  throw new M4Error(
    'FILE_NOT_FOUND',
    `No image "${nameOrPath}": neither a folder nor built in ${join(home, 'images')}.`,
    {
      hint: `Build it with \`m4fm build ${nameOrPath || 'lite'}\` (recipes: \`m4fm build --list\`; \`m4fm build lite\` is the default).`,
      details: { name: nameOrPath, home },
    },
  )
}

const hasManifest = (folder: string): Promise<boolean> =>
  stat(join(folder, 'manifest.json')).then(
    (found) => found.isFile(),
    () => false,
  )

async function activeSlot(home: string): Promise<string> {
  const { active, slots } = await readDevice(home)
  const record = active ? slots[active] : undefined
  if (!active || record?.state !== 'good')
    throw new M4Error('FILE_NOT_FOUND', `Nothing is flashed on this device (${home}).`, {
      hint: 'Build and flash an image: `m4fm build lite`, then `m4fm flash lite`.',
      details: { home },
    })
  const folder = slotFolder(home, active)
  const digest = manifestDigest(await readManifest(folder))
  if (digest !== record.digest)
    throw new M4Error('IMAGE_INVALID', `Slot ${active}: expected image ${record.digest}, got ${digest}.`, {
      hint: 'Flash the image again, or run `m4fm rollback`.',
      details: { slot: active, expected: record.digest, got: digest },
    })
  return folder
}

/**
 * The adapter package: a PEFT folder that also says what it is for, what it was made for and how good it is.
 *
 *   adapter_config.json, adapter_model.safetensors   PEFT; not with kind `head`
 *   m4fm.json                                        package-manifest.ts
 *   eval.jsonl                                       samples to measure it again on another base, one JSON object a line
 *   head.safetensors                                 a task head
 *   README.md                                        for people
 *
 * All together at most 10 MB (paper §3.3: an app ships an adapter of at most 10 MB instead of a model).
 */

import { lstat, readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeSafetensors } from '../checkpoint/index.js'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'
import { sha256Hex } from '../core/hash.js'
import { wrongField } from './json-shape.js'
import {
  type AdapterFacts,
  type AdapterManifest,
  CONTENT_FILES,
  checkManifest,
  EVAL_FILE,
  formatManifest,
  HEAD_FILE,
  PACKAGE_FILE,
  PACKAGE_FORMAT,
  type PackageKind,
  packageDigest,
  parsePackageManifest,
  README_FILE,
} from './package-manifest.js'
import { type PeftType, parsePeftConfig } from './peft-config.js'
import { PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE } from './peft-names.js'
import { type DiskWrite, writeFolder } from './write-folder.js'
import { type StorageDType, stored } from './write-peft.js'

/** Of the whole folder, `m4fm.json` included. */
export const ADAPTER_MAX_BYTES = 10_000_000

export interface PackageParts {
  readonly facts: AdapterFacts
  /** As `peftFiles` gives them. */
  readonly peft?: ReadonlyMap<string, Uint8Array>
  readonly head?: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: Float32Array }>>
  /** How tensors of the head are stored. Default float32. */
  readonly dtype?: StorageDType
  /** Samples that the metric was measured on. */
  readonly evaluation?: readonly object[]
  readonly readme?: string
}

export interface AdapterPackage {
  /** Absolute path of the folder. */
  readonly path: string
  readonly manifest: AdapterManifest
  /** sha-256 of the canonical manifest without its signature: names the adapter in caches and reports. */
  readonly digest: string
  /** Of all files. */
  readonly bytes: number
}

const KIND_OF: Readonly<Record<PeftType, PackageKind>> = Object.freeze({
  LORA: 'lora',
  PROMPT_TUNING: 'prompt',
  PREFIX_TUNING: 'prefix',
})

/**
 * Writes a package, whole or not at all. Another package in that place is replaced, any other folder is not.
 * @throws M4Error `FORMAT_INVALID` naming the field, `INVALID_REQUEST` when it is larger than `ADAPTER_MAX_BYTES`
 *   (`details.reason` is `adapter-too-large`) or something else is in its place, `DISK_FULL`, `IO`
 */
export async function writeAdapterPackage(
  folder: string,
  parts: PackageParts,
  options: { readonly write?: DiskWrite } = {},
): Promise<AdapterPackage> {
  const { files, manifest } = packageFiles(parts)
  await writePackageFolder(folder, files, options)
  return { path: resolve(folder), manifest, digest: packageDigest(manifest), bytes: totalBytes(sizesOf(files)) }
}

/** The files of a package by name, `m4fm.json` among them. @throws M4Error as `writeAdapterPackage` */
export function packageFiles(parts: PackageParts): {
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly manifest: AdapterManifest
} {
  const contents = contentsOf(parts)
  const manifest = checkManifest({
    ...parts.facts,
    format: PACKAGE_FORMAT,
    files: Object.fromEntries(
      [...contents].map(([name, bytes]) => [name, { sha256: sha256Hex(bytes), bytes: bytes.length }]),
    ),
  })
  checkContents(manifest, contents)
  const files = new Map([[PACKAGE_FILE, formatManifest(manifest)], ...contents])
  requireSmall(parts.facts.name, sizesOf(files), 'INVALID_REQUEST')
  return { files, manifest }
}

/** Files that were checked, as the folder of a package. @throws M4Error `INVALID_REQUEST`, `DISK_FULL`, `IO` */
export async function writePackageFolder(
  folder: string,
  files: ReadonlyMap<string, Uint8Array>,
  options: { readonly write?: DiskWrite } = {},
): Promise<void> {
  const replaces = { mark: PACKAGE_FILE, names: [PACKAGE_FILE, ...CONTENT_FILES], what: 'adapter package' }
  await writeFolder(folder, files, { replaces, ...options })
}

function contentsOf({ facts, peft, head, dtype, evaluation, readme }: PackageParts): Map<string, Uint8Array> {
  const contents = new Map<string, Uint8Array>()
  const encode = (content: string) => new TextEncoder().encode(content)
  for (const [name, bytes] of peft ?? []) contents.set(name, bytes)
  if (head) {
    const options = dtype ? { dtype } : {}
    const tensors = Object.entries(head).map(
      ([name, { dims, data }]) => [name, stored(name, dims, data, options)] as const,
    )
    contents.set(HEAD_FILE, writeSafetensors(Object.fromEntries(tensors), { format: 'pt' }))
  }
  if (evaluation?.length)
    contents.set(EVAL_FILE, encode(`${evaluation.map((line) => JSON.stringify(line)).join('\n')}\n`))
  if (readme) contents.set(README_FILE, encode(readme))
  if (!contents.size)
    throw new M4Error('FORMAT_INVALID', `Package ${facts.name} holds nothing.`, {
      hint: 'Give it peft files or a head.',
    })
  return contents
}

/**
 * Reads and verifies a package: every file is named and every named file is there with its digest.
 * @throws M4Error `FILE_NOT_FOUND` when it is no package or a file is missing, `FORMAT_INVALID` naming the field or file (also
 *   when larger than `ADAPTER_MAX_BYTES`, `details.reason` is `adapter-too-large`), `DIGEST_MISMATCH`, `IO`
 */
export async function readAdapterPackage(folder: string): Promise<AdapterPackage> {
  const { contents: _, ...found } = await readPackageFiles(folder)
  return found
}

/** `readAdapterPackage` with the bytes that were verified, `m4fm.json` not among them. */
export async function readPackageFiles(
  folder: string,
): Promise<AdapterPackage & { readonly contents: ReadonlyMap<string, Uint8Array> }> {
  const path = resolve(folder)
  const sizes = await listFiles(path)
  requireSmall(path, sizes, 'FORMAT_INVALID')
  const manifest = parsePackageManifest(await readText(join(path, PACKAGE_FILE)))
  const contents = new Map<string, Uint8Array>()
  for (const [name, expected] of Object.entries(manifest.files)) {
    if (!sizes.has(name))
      throw new M4Error('FILE_NOT_FOUND', `${path}: ${name} is missing.`, {
        hint: 'Fetch the adapter again.',
        details: { path, file: name },
      })
    const bytes = await readBytes(join(path, name))
    if (bytes.length !== expected.bytes) throw changed(path, name, `${expected.bytes} bytes`, `${bytes.length} bytes`)
    const got = sha256Hex(bytes)
    if (got !== expected.sha256) throw changed(path, name, expected.sha256, got)
    contents.set(name, bytes)
  }
  const undeclared = [...sizes.keys()].find((name) => name !== PACKAGE_FILE && !contents.has(name))
  if (undeclared !== undefined) throw strange(path, undeclared, `a file that ${PACKAGE_FILE} does not name`)
  checkContents(manifest, contents)
  return { path, manifest, digest: packageDigest(manifest), bytes: totalBytes(sizes), contents }
}

/** Names and bytes of all that lies in the folder. */
async function listFiles(path: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  try {
    for (const name of (await readdir(path)).sort()) {
      const found = await lstat(join(path, name))
      if (!found.isFile()) throw strange(path, name, found.isSymbolicLink() ? 'a link' : 'no plain file')
      sizes.set(name, found.size)
    }
  } catch (error) {
    throw wrapSystemError(error, `Reading the adapter package ${path}`)
  }
  if (!sizes.has(PACKAGE_FILE))
    throw new M4Error('FILE_NOT_FOUND', `${path} is no adapter package: it has no ${PACKAGE_FILE}.`, {
      hint: 'Name the folder that holds it. A plain PEFT folder is read as it is, without a package around it.',
      details: { path },
    })
  return sizes
}

async function readText(path: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readBytes(path))
  } catch (error) {
    if (isM4Error(error)) throw error
    throw new M4Error('FORMAT_INVALID', `${path} is not UTF-8.`, { hint: 'Fetch the adapter again.', cause: error })
  }
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
}

/** What the manifest says and what the files say must be one story. */
function checkContents({ kind, metric }: AdapterManifest, contents: ReadonlyMap<string, Uint8Array>): void {
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  const config = contents.get(PEFT_CONFIG_FILE)
  if (config) {
    const found = KIND_OF[parsePeftConfig(PEFT_CONFIG_FILE, decode(config)).type]
    if (found !== kind) throw wrongField('kind', `${found}, as ${PEFT_CONFIG_FILE} says`, kind)
  }
  const samples = contents.get(EVAL_FILE)
  if (!samples) return
  const lines = decode(samples).replace(/\n$/, '').split('\n')
  for (const [i, line] of lines.entries())
    if (!isJsonObject(line))
      throw new M4Error(
        'FORMAT_INVALID',
        `${EVAL_FILE}, line ${i + 1}: expected a JSON object, got ${line.slice(0, 60)}.`,
      )
  if (metric && metric.count !== lines.length)
    throw wrongField('metric.count', `${lines.length}, the samples of ${EVAL_FILE}`, metric.count)
}

function isJsonObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}

const sizesOf = (files: ReadonlyMap<string, Uint8Array>) =>
  new Map([...files].map(([name, bytes]) => [name, bytes.length]))
const totalBytes = (sizes: ReadonlyMap<string, number>) => [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0)

const SMALLER: Readonly<Record<string, string>> = Object.freeze({
  [PEFT_WEIGHT_FILE]: 'Lower the rank, adapt fewer places, or store float16 (half of float32).',
  [HEAD_FILE]: 'Store the head as float16 (half of float32).',
  [EVAL_FILE]: 'Carry fewer evaluation samples.',
})

/** @throws M4Error `code` when all files together are larger than an adapter may be */
export function requireSmall(
  what: string,
  sizes: ReadonlyMap<string, number>,
  code: 'INVALID_REQUEST' | 'FORMAT_INVALID',
): void {
  const bytes = totalBytes(sizes)
  if (bytes <= ADAPTER_MAX_BYTES) return
  const files = [...sizes].sort((a, b) => b[1] - a[1])
  const list = files.map(([name, size]) => `${name} ${size}`).join(', ')
  throw new M4Error(code, `Adapter ${what}: expected at most ${ADAPTER_MAX_BYTES} bytes, got ${bytes} (${list}).`, {
    hint: SMALLER[files[0]![0]] ?? 'Leave out what the adapter does not need.',
    details: { reason: 'adapter-too-large', bytes, limit: ADAPTER_MAX_BYTES, files: Object.fromEntries(files) },
  })
}

const changed = (path: string, file: string, expected: string, got: string) =>
  new M4Error('DIGEST_MISMATCH', `${path}, ${file}: expected ${expected}, got ${got}.`, {
    hint: 'It was changed or cut off after it was packed; fetch the adapter again.',
    details: { path, file, expected, got },
  })

const strange = (path: string, file: string, what: string) =>
  new M4Error('FORMAT_INVALID', `${path} holds ${file}: ${what}.`, {
    hint: `A package holds ${[PACKAGE_FILE, ...CONTENT_FILES].join(', ')}.`,
    details: { path, file },
  })

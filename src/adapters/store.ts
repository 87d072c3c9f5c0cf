/**
 * Adapters that are registered on this device, one folder each: `<home>/adapters/<name>/`. Registered is not resident: the
 * runtime loads what a request names. An install copies bytes that were verified, and appears whole or not at all.
 */

import { readdir, rename, rm, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isM4Error, M4Error, unknownName, wrapSystemError } from '../core/errors.js'
import { acquireLock, m4fmHome, removeTemporariesBeside, syncFolder, temporaryBeside } from '../core/files.js'
import { type AdapterPackage, readAdapterPackage, readPackageFiles, writePackageFolder } from './package.js'
import { type AdapterManifest, formatManifest, isAdapterName, NAME_RULE, PACKAGE_FILE } from './package-manifest.js'
import { PEFT_CONFIG_FILE } from './peft-names.js'
import { verifyPackage } from './signature.js'
import type { DiskWrite } from './write-folder.js'

export interface StoreOptions {
  /** Default: `m4fmHome()`. */
  readonly home?: string
}

export interface InstallOptions extends StoreOptions {
  /** ABI id of each module that adapters attach to, e.g. `{ backbone: manifest.abi.id }`. */
  readonly abis: Readonly<Record<string, string>>
  /** Installs also what was made for another ABI; it will not load until such an image is flashed. */
  readonly force?: boolean
  /** Takes the name from another app. */
  readonly replace?: boolean
  /** Only what this key signed. */
  readonly publicKeyPem?: string
  readonly write?: DiskWrite
}

/** What is in the store under a name: a package, or what is wrong with it. */
export type StoreEntry =
  | { readonly name: string; readonly path: string; readonly package: AdapterPackage }
  | { readonly name: string; readonly path: string; readonly problem: M4Error }

const LOCK_WAIT_MS = 30_000

const storeFolder = ({ home = m4fmHome() }: StoreOptions) => join(home, 'adapters')

/**
 * Copies the package in `folder` into the store, verified. A package of the same name and app is replaced.
 * @throws M4Error as `readAdapterPackage`; `NOT_AVAILABLE` for another ABI (`details.reason` is `adapter-incompatible`);
 *   `INVALID_REQUEST` when the name belongs to another app or the signature is not that of the key; `LOCKED`, `DISK_FULL`, `IO`
 */
export async function installAdapter(folder: string, options: InstallOptions): Promise<AdapterPackage> {
  const { manifest, digest, contents } = await readPackageFiles(folder)
  if (!options.force) requireAbi(manifest, options.abis)
  if (options.publicKeyPem !== undefined) await requireSignature(folder, digest, options.publicKeyPem)
  const store = storeFolder(options)
  const path = join(store, manifest.name)
  await using _lock = await acquireLock(join(store, '.lock'), { waitMs: LOCK_WAIT_MS })
  await removeTemporariesBeside(path)
  if (!options.replace) await requireOwnName(path, manifest)
  await writePackageFolder(
    path,
    new Map([[PACKAGE_FILE, formatManifest(manifest)], ...contents]),
    options.write ? { write: options.write } : {},
  )
  return readAdapterPackage(path)
}

/** The package verified a moment ago must be the one that is signed. */
async function requireSignature(folder: string, digest: string, publicKeyPem: string): Promise<void> {
  const { valid, trusted, problem } = await verifyPackage(folder, publicKeyPem)
  if (valid && trusted && (await readAdapterPackage(folder)).digest === digest) return
  throw new M4Error('INVALID_REQUEST', `Adapter ${folder}: ${problem ?? 'it changed while it was read.'}`, {
    hint: 'Get it from its publisher again, or ask for one signed with the expected key.',
    details: { reason: 'adapter-not-trusted', path: folder },
  })
}

/** A broken package may be mended by whoever installs it again. */
async function requireOwnName(path: string, { name, app }: AdapterManifest): Promise<void> {
  const owner = await readAdapterPackage(path).then(
    (found) => found.manifest.app,
    () => app,
  )
  if (owner === app) return
  throw new M4Error('INVALID_REQUEST', `The adapter name ${name} belongs to the app ${owner}, not to ${app}.`, {
    hint: 'Give the adapter another name, or remove the other one first.',
    details: { reason: 'adapter-name-taken', name, owner, app },
  })
}

/** How an adapter fits the base of a device. */
export type AdapterFit =
  /** Made on this very image. */
  | 'same'
  /** Same ABI, another image: it loads, but must be measured on its own samples first. */
  | 'revalidate'
  /** It does not load. */
  | 'other-abi'

/** @param image ABI id of the adapter's module, and the image's digest */
export function adapterFit(
  { base }: AdapterManifest,
  image: { readonly abi: string; readonly digest: string },
): AdapterFit {
  if (base.abi !== image.abi) return 'other-abi'
  return base.image.digest === image.digest ? 'same' : 'revalidate'
}

/**
 * @param abis ABI id by module
 * @throws M4Error `NOT_AVAILABLE`, `details.reason` is `adapter-incompatible`
 */
export function requireAbi({ name, base }: AdapterManifest, abis: Readonly<Record<string, string>>): void {
  const got = Object.hasOwn(abis, base.module) ? abis[base.module] : undefined
  if (got === base.abi) return
  const sizes = Object.entries(base.sizes ?? {}).map(([key, size]) => `${key} ${size}`)
  throw new M4Error(
    'NOT_AVAILABLE',
    `Adapter ${name} was made for ${base.module} ${base.abi} of image ${base.image.name}${sizes.length ? ` (${sizes.join(', ')})` : ''}; ${got === undefined ? `this device has no ${base.module} that takes adapters` : `here it is ${got}`}.`,
    {
      hint: 'Get the adapter for this image, train it again, or flash the image that it was made for.',
      details: { reason: 'adapter-incompatible', adapter: name, module: base.module, expected: base.abi, got },
    },
  )
}

/** Everything in the store, by name; a broken package is told, not hidden. @throws M4Error `IO` */
export async function listAdapters(options: StoreOptions = {}): Promise<StoreEntry[]> {
  const store = storeFolder(options)
  const entries: StoreEntry[] = []
  for (const name of await namesIn(store)) {
    const path = join(store, name)
    try {
      const found = await readAdapterPackage(path)
      if (found.manifest.name !== name)
        throw new M4Error('FORMAT_INVALID', `${path} holds the adapter ${found.manifest.name}.`, {
          hint: `Remove it and install it again.`,
        })
      entries.push({ name, path, package: found })
    } catch (error) {
      entries.push({ name, path, problem: wrapSystemError(error, `Reading the adapter ${name}`) })
    }
  }
  return entries
}

/** Names that were installed, sorted; temporary folders and the lock have other names. */
async function namesIn(store: string): Promise<string[]> {
  try {
    return (await readdir(store)).filter(isAdapterName).sort()
  } catch (error) {
    const wrapped = wrapSystemError(error, `Listing ${store}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return []
    throw wrapped
  }
}

/** Takes an adapter off the device; it is gone at once, also when this is interrupted. @throws M4Error `UNKNOWN_NAME`, `LOCKED`, `IO` */
export async function removeAdapter(name: string, options: StoreOptions = {}): Promise<void> {
  const store = storeFolder(options)
  const known = await namesIn(store)
  if (!known.includes(name)) throw unknownName('adapter', name, known)
  await using _lock = await acquireLock(join(store, '.lock'), { waitMs: LOCK_WAIT_MS })
  const path = join(store, name)
  const aside = temporaryBeside(path)
  try {
    await rename(path, aside)
    await syncFolder(store)
    await rm(aside, { recursive: true, force: true })
  } catch (error) {
    throw wrapSystemError(error, `Removing the adapter ${name}`)
  }
}

/**
 * The folder of an adapter: one in the store by name, else a package or PEFT folder by path. A folder called like an adapter
 * of the store is meant with `./name`.
 * @throws M4Error `UNKNOWN_NAME` with the nearest names, `FILE_NOT_FOUND` for a path that is no adapter
 */
export async function resolveAdapter(nameOrPath: string, options: StoreOptions = {}): Promise<string> {
  const store = storeFolder(options)
  const isPath = /^\.|[/\\]/.test(nameOrPath)
  if (!isPath && isAdapterName(nameOrPath) && (await isAdapterFolder(join(store, nameOrPath))))
    return join(store, nameOrPath)
  if (nameOrPath && (await isAdapterFolder(nameOrPath))) return resolve(nameOrPath)
  if (isPath)
    throw new M4Error('FILE_NOT_FOUND', `${nameOrPath} has neither ${PACKAGE_FILE} nor ${PEFT_CONFIG_FILE}.`, {
      hint: 'Name the folder of an adapter.',
      details: { path: nameOrPath },
    })
  if (!isAdapterName(nameOrPath))
    throw new M4Error('UNKNOWN_NAME', `"${nameOrPath}" is no name of an adapter: expected ${NAME_RULE}.`, {
      hint: 'A folder is named with ./ before it.',
      details: { name: nameOrPath },
    })
  throw unknownName('adapter', nameOrPath, await namesIn(store))
}

async function isAdapterFolder(path: string): Promise<boolean> {
  for (const file of [PACKAGE_FILE, PEFT_CONFIG_FILE]) {
    const found = await stat(join(path, file)).catch(() => undefined) // absent: the next one decides
    if (found?.isFile()) return true
  }
  return false
}

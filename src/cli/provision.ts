/** From a recipe to a flashed device, doing only what is not done yet: pull, build, flash. Shared by the demo and the tests. */

import { isM4Error } from '../core/errors.js'
import type { LongOperation } from '../core/progress.js'
import type { Manifest } from '../firmware/manifest.js'
import type { Recipe } from '../firmware/recipes.js'

export interface ProvisionOptions extends LongOperation {
  readonly home: string
  readonly offline?: boolean
  /** A line for people before each step that takes time, and warnings. */
  readonly onNote?: (message: string) => void
}

export interface Provisioned {
  /** Folder of the active slot. */
  readonly path: string
  readonly digest: string
  /** What had to be done; empty when all was there. */
  readonly done: readonly ('pull' | 'build' | 'flash')[]
}

/**
 * Makes the image of a recipe the active one of the device under `home`.
 * @throws M4Error as `pullSources`, `buildFirmware` and `flashImage`
 */
export async function provision(recipe: Recipe, options: ProvisionOptions): Promise<Provisioned> {
  const { home, onNote, offline } = options
  const [{ buildFirmware, flashImage, manifestDigest, readManifest, resolveImage, sourcesOf }, { BUILT_WITH }] =
    await Promise.all([import('../firmware/index.js'), import('../firmware/version.js')])
  const work = {
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  }

  const { knownPins, pinSources, pullSources } = await import('../checkpoint/sources/index.js')
  const wanted = (await knownPins(sourcesOf(recipe), { home })).map((source) => source?.sha256)
  /** The folder's image, when it is what this recipe and this version would build. */
  const current = async (name: string) => {
    const path = await resolveImage(name, { home }).catch(ifMissing)
    const manifest = path === undefined ? undefined : await readManifest(path)
    return path !== undefined && manifest && isOf(manifest, recipe, wanted, BUILT_WITH)
      ? { path, digest: manifestDigest(manifest) }
      : undefined
  }

  const done: Provisioned['done'][number][] = []
  let image = await current(recipe.name)
  const active = await current('device')
  if (active && (!image || image.digest === active.digest)) return { ...active, done }
  if (!image) {
    const cache = { home, ...(offline === undefined ? {} : { offline }), ...(onNote ? { onWarning: onNote } : {}) }
    onNote?.(`Pulling the weights of ${recipe.name} (only what is not in the cache yet).`)
    await pullSources(await pinSources(sourcesOf(recipe), { ...cache, ...work }), { ...cache, ...work })
    onNote?.(`Building the image ${recipe.name}.`)
    image = await buildFirmware(recipe, { ...cache, ...work })
    done.push('pull', 'build')
  }
  onNote?.(`Flashing ${recipe.name}: verify, prepack for this CPU, self-test.`)
  const { openEngine } = await import('../engine/index.js')
  const { digest } = await flashImage(image.path, { home, engine: await openEngine(), ...work })
  done.push('flash')
  return { path: await resolveImage('device', { home }), digest, done }
}

function isOf(
  manifest: Manifest,
  recipe: Recipe,
  wanted: readonly (string | undefined)[],
  builtWith: Manifest['builtWith'],
): boolean {
  const has = new Set(manifest.provenance.map(({ sha256 }) => sha256))
  return (
    manifest.name === recipe.name &&
    manifest.version === recipe.version &&
    manifest.builtWith.m4fm === builtWith.m4fm &&
    manifest.builtWith.onnxruntime === builtWith.onnxruntime &&
    has.size === new Set(wanted).size &&
    wanted.every((sha256) => sha256 !== undefined && has.has(sha256))
  )
}

function ifMissing(error: unknown): undefined {
  if (isM4Error(error, 'FILE_NOT_FOUND') || isM4Error(error, 'IMAGE_INVALID')) return undefined
  throw error
}

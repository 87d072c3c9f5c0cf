/**
 * Digests of files whose recipe could not say them: recorded in `pins/` of the cache at the first use, and from then on as binding
 * as those of a recipe. Trust on first use, and said so: who needs more pins the file in the recipe.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import { atomicWriteFile, m4fmHome } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import { openCache } from './cache.js'
import { fetchUnpinned } from './pull.js'
import type { PullOptions, RecipeSource, Source, UnpinnedSource } from './types.js'
import { displayName } from './uri.js'

interface Pin {
  readonly uris: readonly string[]
  readonly sha256: string
  readonly bytes: number
}

export const isUnpinned = (source: RecipeSource): source is UnpinnedSource => source.sha256 === 'unpinned'

/**
 * The source with its digest: the recipe's, else the one recorded. A file without either is downloaded, with one warning, and
 * lies in the cache afterwards.
 * @throws M4Error as `pullSource`; `FORMAT_INVALID` for a damaged record
 */
export async function pinSource(source: RecipeSource, options: PullOptions = {}): Promise<Source> {
  if (!isUnpinned(source)) return source
  const home = options.home ?? m4fmHome(options.env ?? process.env)
  const path = pinPath(home, source)
  const known = await readPin(path)
  if (known) return { ...source, sha256: known.sha256, bytes: known.bytes }
  await openCache(home)
  const name = displayName(source)
  const { sha256, bytes } = await fetchUnpinned(source, { ...options, home })
  options.onWarning?.(`${name} is pinned by no digest; got sha256-${sha256}, which is expected from now on.`)
  const pin: Pin = { uris: source.uris, sha256, bytes }
  await atomicWriteFile(path, `${JSON.stringify(pin)}\n`)
  return { ...source, sha256, bytes }
}

/** As `pinSource`, one after the other. */
export async function pinSources(sources: readonly RecipeSource[], options: PullOptions = {}): Promise<Source[]> {
  const pinned: Source[] = []
  for (const source of sources) pinned.push(await pinSource(source, options))
  return pinned
}

/** Of those, the ones whose digest is known without a download. */
export async function knownPins(
  sources: readonly RecipeSource[],
  { home }: { readonly home: string },
): Promise<readonly (Source | undefined)[]> {
  return Promise.all(
    sources.map(async (source) => {
      if (!isUnpinned(source)) return source
      const pin = await readPin(pinPath(home, source))
      return pin && { ...source, sha256: pin.sha256, bytes: pin.bytes }
    }),
  )
}

/** A record belongs to the addresses, so that a recipe that names others starts anew. */
const pinPath = (home: string, { uris }: UnpinnedSource) => join(home, 'pins', `${sha256Hex(uris.join('\n'))}.json`)

async function readPin(path: string): Promise<Pin | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const wrapped = wrapSystemError(error, `Reading ${path}`)
    if (wrapped.code === 'FILE_NOT_FOUND') return undefined
    throw wrapped
  }
  try {
    const pin = JSON.parse(text) as Pin
    if (/^[0-9a-f]{64}$/.test(pin.sha256) && Number.isSafeInteger(pin.bytes) && pin.bytes >= 0) return pin
  } catch {
    // Told below.
  }
  throw new M4Error('FORMAT_INVALID', `${path} is no record of a digest.`, {
    hint: 'Remove it; the digest of the next download is then recorded anew.',
    details: { path },
  })
}

/**
 * A recipe whose files lie in a folder of this machine, as the Hugging Face hub lays them out: `<owner>/<repository>/<path>`,
 * `<repository>/<path>`, or its cache (`models--<owner>--<repository>/snapshots/…`); files of the web under their own name.
 */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { SourceFolder } from '../../checkpoint/sources/folder.js'
import type { RecipeSource } from '../../checkpoint/sources/types.js'
import { M4Error } from '../../core/errors.js'
import type { GraphRecipe, ModuleRecipe, Recipe, TokenizerRecipe } from '../recipes.js'

/**
 * The same recipe, each file taken from `folder` where it is there; the rest stays as it was. Digests are checked as ever.
 * @throws M4Error `FILE_NOT_FOUND` when there is no such folder, or nothing of the recipe in it
 */
export function recipeFrom(recipe: Recipe, folder: string): Recipe {
  const root = resolve(folder)
  let found = 0
  const local = <S extends RecipeSource>(source: S): S => {
    const path = source.uris.flatMap((uri) => placesOf(root, uri)).find((each) => existsSync(each))
    if (path === undefined) return source
    found++
    return { ...source, uris: [`file:${path}`, ...source.uris] }
  }
  const weights = <W extends ModuleRecipe['weights']>(from: W): W => {
    if ('random' in from) return from
    if (!('files' in from)) return local(from as RecipeSource) as W
    const files = Object.entries((from as SourceFolder).files).map(([name, file]) => [name, local(file)])
    return { ...from, files: Object.fromEntries(files) }
  }
  const graph = (part: GraphRecipe): GraphRecipe => ({ ...part, weights: weights(part.weights) })
  const tokenizer = (one: TokenizerRecipe): TokenizerRecipe =>
    'source' in one ? { ...one, source: local(one.source) } : one
  const modules = mapValues(recipe.modules as Record<string, ModuleRecipe>, (module) => ({
    ...module,
    weights: weights(module.weights),
    ...(module.delta ? { delta: weights(module.delta) } : {}),
    ...(module.tokenizer ? { tokenizer: tokenizer(module.tokenizer) } : {}),
    ...(module.files ? { files: mapValues(module.files, local) } : {}),
    ...(module.graphs ? { graphs: mapValues(module.graphs, graph) } : {}),
  }))
  if (found > 0) return { ...recipe, modules }
  const isFolder = existsSync(root) && statSync(root).isDirectory()
  throw new M4Error(
    'FILE_NOT_FOUND',
    isFolder ? `No file of the recipe ${recipe.name} is in ${root}.` : `${root} is not a folder.`,
    {
      hint: 'Lay files out as the hub does, e.g. openai/whisper-tiny.en/model.safetensors; files of the web by their name.',
      details: { folder: root },
    },
  )
}

const mapValues = <V, R>(record: Readonly<Record<string, V>>, change: (value: V) => R): Record<string, R> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]))

const HUB = /^hf:([\w.-]+)\/([\w.-]+)@([^/]+)\/(.+)$/

/** Where the file behind an address may lie, best first. */
function placesOf(root: string, uri: string): string[] {
  const hub = HUB.exec(uri)
  if (!hub) return /^https?:/.test(uri) ? [join(root, new URL(uri).pathname.split('/').pop()!)] : []
  const [owner, repository, revision, path] = hub.slice(1) as [string, string, string, string]
  const cache = join(root, `models--${owner}--${repository}`)
  return [
    join(root, owner, repository, path),
    join(root, repository, path),
    ...snapshots(cache, revision).map((snapshot) => join(cache, 'snapshots', snapshot, path)),
  ]
}

/** The commit that a revision stood for when the hub's client downloaded it. */
function snapshots(cache: string, revision: string): string[] {
  const reference = join(cache, 'refs', revision)
  return existsSync(reference) ? [readFileSync(reference, 'utf8').trim(), revision] : [revision]
}

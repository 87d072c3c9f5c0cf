/** `m4fm pull`: the files of a recipe into the cache. */

import { type CommandAction, longOperation } from '../context.js'
import { table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], _options) => {
  const { findRecipe, sourcesOf } = await import('../../firmware/index.js')
  const recipe = findRecipe(name!)
  const { pinSources, pullSources } = await import('../../checkpoint/sources/index.js')
  const { note } = await context.progress()
  const { home, offline } = context
  const options = { ...(await longOperation(context)), home, offline, onWarning: note }
  const sources = await pinSources(sourcesOf(recipe), options)
  const paths = await pullSources(sources, options)
  const files = sources.map(({ name: file, bytes, sha256, licence }, i) => ({
    name: file,
    bytes,
    sha256,
    licence,
    path: paths[i]!,
  }))
  const rows = files.map((file) => [file.name ?? file.sha256, formatBytes(file.bytes), file.licence, file.path])
  context.result({ recipe: recipe.name, files }, files.length ? table(rows) : `${recipe.name} needs no download.`)
  context.note(`Next: m4fm build ${recipe.name}`)
  return 0
}

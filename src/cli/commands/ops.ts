/** `m4fm ops`: the operator census of the paper's Figure 14, over images, recipes and anybody's ONNX files. */

import { readFile, stat } from 'node:fs/promises'
import { wrapSystemError } from '../../core/errors.js'
import type { ModuleEntry, Role } from '../../firmware/manifest.js'
import type { Graph } from '../../graph/types.js'
import type { CliContext, CommandAction } from '../context.js'
import { table } from '../print.js'

export const run: CommandAction = async (context, operands) => {
  const { censusOf } = await import('../../graph/index.js')
  const models: (Graph | Uint8Array)[] = []
  for (const operand of operands) models.push(...(await modelsOf(operand, context)))
  const census = censusOf(models)
  const rows = Object.entries(census.counts)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([op, count]) => [op, String(count), String(census.withoutSubgraphs[op] ?? 0)])
  context.result(
    census,
    `${table([['operator', 'nodes', 'outside sub-graphs'], ...rows], ['left', 'right', 'right'])}\n` +
      `${census.types.length} types, ${census.total} nodes`,
  )
  return 0
}

async function modelsOf(name: string, context: CliContext): Promise<(Graph | Uint8Array)[]> {
  if (/\.onnx$/i.test(name) || (await isFile(name))) return [await read(name)]
  const { RECIPES, graphsOfRecipe, openImage, resolveImage } = await import('../../firmware/index.js')
  // A recipe says what its graphs are; no weight is read for them.
  if (Object.hasOwn(RECIPES, name)) return graphsOfRecipe(RECIPES[name]!).map(({ graph }) => graph)
  const image = await openImage(await resolveImage(name, context))
  const paths = (Object.entries(image.manifest.modules) as [Role, ModuleEntry][]).flatMap(([role, { graphs }]) =>
    Object.keys(graphs).map((graph) => image.graphPath(role, graph)),
  )
  return Promise.all(paths.map(read))
}

const isFile = (path: string) =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  )

const read = (path: string): Promise<Uint8Array> =>
  readFile(path).catch((error) => {
    throw wrapSystemError(error, `Reading ${path}`)
  })

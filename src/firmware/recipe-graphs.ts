/** The graphs of a recipe from its own words, with no weight read or made: for the operator census and for cost models. */

import type { Graph } from '../graph/index.js'
import { architecture, type ModuleOptions } from '../models/index.js'
import { partOptions } from './build.js'
import type { Role } from './manifest.js'
import { randomRecipe } from './recipes/random.js'
import type { GraphRecipe, ModuleRecipe, Recipe } from './recipes.js'

export interface RecipeGraph {
  readonly role: Role
  readonly name: string
  readonly graph: Graph
}

/**
 * Every graph of M4's own that the image would hold, in the default quantisation: a foreign one is known only once it is pulled.
 * @throws M4Error `USAGE` for a module whose sizes the recipe does not say
 */
export function graphsOfRecipe(recipe: Recipe): RecipeGraph[] {
  const { modules } = randomRecipe(recipe)
  return (Object.entries(modules) as [Role, ModuleRecipe][]).flatMap(([role, module]) => {
    const own = graphsOf(module, {
      quantisation: Object.values(module.quantisations)[0]!,
      embedding: module.embedding ?? 'fp32',
      loraSites: module.loraSites ?? [],
      encoderAdapters: module.encoderAdapters ?? false,
      gatedPrompt: module.gatedPrompt ?? false,
    })
    const parts = Object.entries(module.graphs ?? {}).map(
      ([name, part]) => [name, Object.values(graphsOf(part, partOptions(part)))[0]!] as const,
    )
    return [...Object.entries(own), ...parts].map(([name, make]) => ({ role, name, graph: make() }))
  })
}

function graphsOf(recipe: ModuleRecipe | GraphRecipe, options: ModuleOptions): Record<string, () => Graph> {
  if (!('random' in recipe.weights)) return {}
  const { config, seed } = recipe.weights.random
  const model = architecture(recipe.architecture)
  return model.graphs(config as never, model.random(config as never, seed), options)
}

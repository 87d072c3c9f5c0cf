/** Any recipe at full size with seeded random weights: what memory, storage and latency are measured with, and never accuracy. */

import { M4Error } from '../../core/errors.js'
import type { GraphRecipe, ModuleRecipe, RandomWeights, Recipe, TokenizerRecipe } from '../recipes.js'

/** Signs of a voice whose vocabulary is not at hand; the first stands between the others. */
const LETTERS = "_ abcdefghijklmnopqrstuvwxyz'-0123456789"

/**
 * The same modules, nothing of them downloaded: weights from a seed, toy tokenizers, no deltas and no tables of their own. The
 * image is called `<recipe>-random`, and its manifest says `"weights": "random"`. A foreign graph is left out: it is nothing but its
 * file.
 * @throws M4Error `USAGE` for a module whose sizes the recipe does not say
 */
export function randomRecipe(recipe: Recipe): Recipe {
  const own = Object.entries(recipe.modules).filter(([, { architecture }]) => architecture !== 'foreign')
  const roles = own.map(([role]) => role)
  const modules = own.map(([role, module], i) => {
    const { delta: _, files: __, chatTemplate: ___, tokenizer, graphs, ...rest } = module
    const parts = Object.entries(graphs ?? {}).map(([name, part], k) => {
      const { config: ____, ...kept } = part
      return [name, { ...kept, weights: randomOf(recipe, name, part, 100 * (i + 1) + k) }]
    })
    return [
      role,
      {
        ...rest,
        // A view has the weights of what it looks at, so the same seed.
        weights: randomOf(recipe, role, module, 1 + (module.view ? roles.indexOf(module.view) : i)),
        ...(tokenizer ? { tokenizer: toyTokenizer(tokenizer, module) } : {}),
        ...(parts.length ? { graphs: Object.fromEntries(parts) } : {}),
      },
    ]
  })
  return { ...recipe, name: `${recipe.name}-random`, modules: Object.fromEntries(modules) }
}

function randomOf(
  recipe: Recipe,
  name: string,
  { weights, shape }: ModuleRecipe | GraphRecipe,
  seed: number,
): RandomWeights {
  if ('random' in weights) return weights
  if (shape) return { random: { seed, config: shape } }
  throw new M4Error('USAGE', `Recipe ${recipe.name}: ${name} says no sizes, so no random weights can be made for it.`, {
    hint: 'Give its configuration as `shape`.',
  })
}

/** One that fits the vocabulary of the model: bytes, or letters for a voice. */
function toyTokenizer(tokenizer: TokenizerRecipe, { shape }: ModuleRecipe): TokenizerRecipe {
  if (tokenizer.from !== 'characters') return { from: 'tiny' }
  const { vocabulary = LETTERS.length } = (shape ?? {}) as { readonly vocabulary?: number }
  const letters = [...LETTERS].slice(0, vocabulary).map((letter, id) => [letter, id])
  return { from: 'alphabet', vocabulary: Object.fromEntries(letters), blankId: tokenizer.blankId ?? 0 }
}

/** `m4fm build`: recipe → image. */

import { M4Error } from '../../core/errors.js'
import { type CliContext, type CommandAction, longOperation, textOption } from '../context.js'
import { formatMs, table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  if (options.list) return listRecipes(context)
  const { buildFirmware, findRecipe, inspectManifest, randomRecipe, recipeFrom } = await import(
    '../../firmware/index.js'
  )
  if (name === undefined)
    throw new M4Error('USAGE', 'build: expected the name of a recipe.', { hint: 'List them with `m4fm build --list`.' })
  const from = textOption(options, 'from')
  if (options.random && from !== undefined)
    throw new M4Error('USAGE', 'build: --random reads no files, so --from means nothing with it.', {
      hint: 'Leave one of the two out.',
    })
  const found = findRecipe(name)
  const recipe = options.random ? randomRecipe(found) : from === undefined ? found : recipeFrom(found, from)
  const startMs = performance.now()
  const [out, quantisation] = [textOption(options, 'out'), textOption(options, 'quant')]
  const { note } = await context.progress()
  const { home, offline } = context
  const built = await buildFirmware(recipe, {
    ...(await longOperation(context)),
    home,
    offline,
    onWarning: note,
    ...(out === undefined ? {} : { out }),
    ...(quantisation === undefined ? {} : { quantisation }),
  })
  const ms = performance.now() - startMs
  const { totalBytes, parameters, modules, operators } = inspectManifest(built.manifest)
  const roles = modules.map(({ role }) => role)
  const { manifest, path, digest } = built
  context.result(
    {
      name: manifest.name,
      version: manifest.version,
      path,
      digest,
      bytes: totalBytes,
      parameters,
      modules: roles,
      operatorTypes: operators.types.length,
      ms,
    },
    table([
      ['image', `${manifest.name} ${manifest.version}`],
      ['folder', path],
      ['digest', digest],
      ['size', `${formatBytes(totalBytes)}, modules ${roles.join(', ')}, ${operators.types.length} operator types`],
      ['time', formatMs(ms)],
    ]),
  )
  context.note(`Next: m4fm flash ${out ?? manifest.name}`)
  return 0
}

async function listRecipes(context: CliContext): Promise<number> {
  const { RECIPES } = await import('../../firmware/index.js')
  const recipes = Object.values(RECIPES).map(({ name, version, about, modules }) => ({
    name,
    version,
    about,
    modules: Object.keys(modules),
    quantisations: Object.keys(modules.backbone?.quantisations ?? {}),
  }))
  const rows = recipes.map(({ name, about, quantisations }) => [name, about, `--quant ${quantisations.join(' | ')}`])
  context.result(recipes, table(rows))
  return 0
}

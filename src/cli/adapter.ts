/** `--adapter PATH`: an adapter of the backbone, refused when any of it does not fit. */

import type { AdapterTensors } from '../adapters/types.js'
import { M4Error } from '../core/errors.js'
import { type CliContext, type OptionValues, textOption } from './context.js'

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` with all that is wrong, `FORMAT_UNSUPPORTED` */
export async function adapterOf(
  context: CliContext,
  options: OptionValues,
  imagePath: string,
): Promise<AdapterTensors | undefined> {
  const folder = textOption(options, 'adapter')
  if (folder === undefined) return undefined
  const [{ recogniseAdapter, usableAdapter }, { readManifest }] = await Promise.all([
    import('../adapters/index.js'),
    import('../firmware/index.js'),
  ])
  const report = recogniseAdapter(folder, await readManifest(imagePath))
  for (const { severity, message } of report.findings) if (severity === 'warning') context.note(`warning: ${message}`)
  const { adapter, kind, target } = report
  if (adapter) return usableAdapter({ ...report, adapter })
  throw new M4Error('FORMAT_UNSUPPORTED', `${folder}: ${kind} for ${target} cannot be used with this command.`, {
    hint: 'See `m4fm import` for what fits.',
  })
}

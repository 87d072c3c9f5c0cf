/** `--adapter DIR`: a PEFT folder for an image, refused when any of it does not fit. */

import type { AdapterTensors } from '../adapters/types.js'
import { type CliContext, type OptionValues, textOption } from './context.js'

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` with all that is wrong, `FORMAT_UNSUPPORTED` */
export async function adapterOf(
  context: CliContext,
  options: OptionValues,
  imagePath: string,
): Promise<AdapterTensors | undefined> {
  const folder = textOption(options, 'adapter')
  if (folder === undefined) return undefined
  const [{ readPeftAdapter, usableAdapter }, { readManifest }] = await Promise.all([
    import('../adapters/index.js'),
    import('../firmware/index.js'),
  ])
  const read = readPeftAdapter(folder, (await readManifest(imagePath)).abi)
  for (const { severity, message } of read.findings) if (severity === 'warning') context.note(`warning: ${message}`)
  return usableAdapter(read)
}

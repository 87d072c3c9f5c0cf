/** `m4fm import`: what a released adapter file is, and how much of it fits an image. An adapter that does nothing is told. */

import { ERROR_CODES } from '../../core/errors.js'
import { adapterPath } from '../adapter.js'
import { type CommandAction, commaOption, numberOption, textOption } from '../context.js'
import { defaultImage } from '../images.js'
import { indent } from '../print.js'

export const run: CommandAction = async (context, [operand], options) => {
  const [{ recogniseAdapter }, { readManifest, resolveImage }] = await Promise.all([
    import('../../adapters/index.js'),
    import('../../firmware/index.js'),
  ])
  const named = textOption(options, 'image')
  const image = named === undefined ? await defaultImage(context) : await resolveImage(named, context)
  const path = await adapterPath(operand!, context)
  const alpha = numberOption(options, 'alpha')
  const layers = commaOption(options, 'layers')?.map(Number)
  const report = recogniseAdapter(path, await readManifest(image), {
    ...(alpha === undefined ? {} : { alpha }),
    ...(layers ? { layers } : {}),
  })
  const { adapter: _, ...facts } = report
  const { kind, name, target, matched, total, findings } = report
  const lines = findings.map(({ severity, code, message }) => `${severity}: ${code}: ${message}`)
  context.result(
    { ...facts, image },
    [`${name}: ${kind} for ${target}, ${matched} of ${total} tensors fit`, ...lines.map((line) => indent(line))].join(
      '\n',
    ),
  )
  return findings.some(({ severity }) => severity === 'error') ? ERROR_CODES.FORMAT_INVALID : 0
}

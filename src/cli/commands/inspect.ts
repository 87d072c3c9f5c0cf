/** `m4fm inspect`: what an image holds. */

import type { CommandAction } from '../context.js'

export const run: CommandAction = async (context, [name]) => {
  const { formatInspection, inspectImage, resolveImage } = await import('../../firmware/index.js')
  const inspection = await inspectImage(await resolveImage(name!, context))
  context.result(inspection, `folder          ${inspection.path}\n${formatInspection(inspection)}`)
  return 0
}

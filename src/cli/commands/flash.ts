/** `m4fm flash`: an image into the free slot. */

import { unknownName } from '../../core/errors.js'
import { type CommandAction, longOperation, textOption } from '../context.js'
import { formatMs, table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const [{ flashImage, ROLES, resolveImage }, { openEngine }] = await Promise.all([
    import('../../firmware/index.js'),
    import('../../engine/index.js'),
  ])
  const { home } = context
  const path = await resolveImage(name!, { home })
  const startMs = performance.now()
  const roles = textOption(options, 'prepack')
    ?.split(',')
    .filter((role) => role !== 'none')
  const unknown = roles?.find((role) => !(ROLES as readonly string[]).includes(role))
  if (unknown !== undefined) throw unknownName('module', unknown, [...ROLES, 'none'])
  const report = await flashImage(path, {
    ...(await longOperation(context)),
    home,
    engine: await openEngine(),
    ...(roles ? { prepackRoles: roles as (typeof ROLES)[number][] } : {}),
  })
  const ms = performance.now() - startMs
  const { slot, digest, version, linkedBytes, copiedBytes } = report
  context.result(
    { ...report, ms },
    table([
      ['active', `slot ${slot}: ${report.name} ${version}`],
      ['digest', digest],
      ['blobs', `${formatBytes(linkedBytes)} shared with the image, ${formatBytes(copiedBytes)} copied`],
      ['weights', weightsText(report.prepacked)],
      ['time', formatMs(ms)],
    ]),
  )
  context.note('Next: m4fm chat')
  return 0
}

function weightsText(prepacked: { readonly graphs: readonly string[]; readonly bytes: number } | undefined): string {
  if (!prepacked) return 'as built (this engine cannot prepack)'
  if (!prepacked.graphs.length) return 'as built'
  return `prepacked for this CPU: ${prepacked.graphs.join(', ')}; ${formatBytes(prepacked.bytes)}`
}

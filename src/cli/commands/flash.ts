/** `m4fm flash`: an image into the free slot. */

import { type CommandAction, longOperation } from '../context.js'
import { formatMs, table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name]) => {
  const [{ flashImage, resolveImage }, { openEngine }] = await Promise.all([
    import('../../firmware/index.js'),
    import('../../engine/index.js'),
  ])
  const { home } = context
  const path = await resolveImage(name!, { home })
  const startMs = performance.now()
  const report = await flashImage(path, { ...(await longOperation(context)), home, engine: await openEngine() })
  const ms = performance.now() - startMs
  const { slot, digest, version, linkedBytes, copiedBytes } = report
  context.result(
    { ...report, ms },
    table([
      ['active', `slot ${slot}: ${report.name} ${version}`],
      ['digest', digest],
      ['blobs', `${formatBytes(linkedBytes)} shared with the image, ${formatBytes(copiedBytes)} copied`],
      ['weights', report.prepacked ? 'prepacked for this CPU' : 'as built (this engine cannot prepack)'],
      ['time', formatMs(ms)],
    ]),
  )
  context.note('Next: m4fm chat')
  return 0
}

/** `m4fm tasks`: the 50 entries of mAIBench, and which of them an image can answer. */

import type { CommandAction } from '../context.js'
import { defaultImage } from '../images.js'
import { table } from '../print.js'

export const run: CommandAction = async (context, operands) => {
  const [{ BENCH_TASKS, missingFor }, { readManifest, resolveImage }] = await Promise.all([
    import('../../bench/tasks/index.js'),
    import('../../firmware/index.js'),
  ])
  const path = operands[0] === undefined ? await defaultImage(context) : await resolveImage(operands[0], context)
  const manifest = await readManifest(path)
  const rows = BENCH_TASKS.map((task) => ({ ...task, missing: missingFor(task, manifest) }))
  const able = rows.filter(({ missing }) => !missing.length).length
  context.result(
    rows.map(({ id, title, dataSet, metric, path: number, takes, missing }) => ({
      id,
      title,
      dataSet,
      metric,
      path: number,
      takes: takes.of,
      available: missing.length === 0,
      needs: missing,
    })),
    `${table(
      rows.map(({ id, title, dataSet, path: number, takes, missing }) => [
        id,
        title,
        dataSet,
        `path ${number}`,
        `${takes.of}${takes.gallery ? ' + gallery' : ''}`,
        missing.length ? `needs ${missing.join(', ')}` : 'yes',
      ]),
    )}\n${able} of ${rows.length} can be asked of ${manifest.name} ${manifest.version}: m4fm run --task T9 "a warm and witty film"`,
  )
  return 0
}

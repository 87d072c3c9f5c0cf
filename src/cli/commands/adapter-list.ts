/** `m4fm adapter list`: what is installed on this device, and how it fits an image. */

import type { StoreEntry } from '../../adapters/index.js'
import { type AdapterImage, optionalImage, standingOn } from '../adapter-fit.js'
import type { CommandAction } from '../context.js'
import { table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, _operands, options) => {
  const { listAdapters } = await import('../../adapters/index.js')
  const image = await optionalImage(context, options)
  const adapters = await Promise.all(
    (await listAdapters(context)).map(async (entry) => ({
      ...describe(entry),
      ...(image && 'package' in entry ? await standing(entry.package, image, context) : {}),
    })),
  )
  const rows = adapters.map((row) =>
    'problem' in row
      ? [row.name, 'damaged', '', '', '', '', row.problem.message]
      : [row.name, row.version, row.kind, row.task, formatBytes(row.bytes), row.verdict ?? row.fit ?? '', row.app],
  )
  context.result(
    { ...(image ? { image: imageFacts(image) } : {}), adapters },
    rows.length
      ? table([['name', 'version', 'kind', 'task', 'size', image ? 'fit' : '', 'app'], ...rows])
      : 'No adapter is installed.',
  )
  if (!rows.length) context.note('Next: m4fm adapter install FOLDER')
  return 0
}

async function standing(...[found, image, context]: Parameters<typeof standingOn>) {
  const { fit, verdict } = await standingOn(found, image, context)
  return { fit, ...(verdict ? { verdict: verdict.verdict } : {}) }
}

function describe(entry: StoreEntry) {
  const { name, path } = entry
  if ('problem' in entry) return { name, path, problem: entry.problem.toJSON() }
  const { manifest, digest, bytes } = entry.package
  const { version, kind, task, app, licence, signature, metric } = manifest
  return {
    name,
    path,
    version,
    kind,
    task,
    app,
    licence,
    digest,
    bytes,
    signed: signature !== undefined,
    ...(metric ? { metric } : {}),
  }
}

const imageFacts = ({ path, digest, manifest }: AdapterImage) => ({ path, digest, name: manifest.name })

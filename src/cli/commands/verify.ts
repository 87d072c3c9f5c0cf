/** `m4fm verify`: hashes an image. What is wrong is the result, with the exit code of a damaged file. */

import { ERROR_CODES } from '../../core/errors.js'
import { type CommandAction, longOperation } from '../context.js'
import { plural } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name]) => {
  const { formatProblem, resolveImage, verifyImage } = await import('../../firmware/index.js')
  const path = await resolveImage(name!, context)
  const verification = await verifyImage(path, await longOperation(context))
  if (verification.ok) {
    const { manifest, digest, files, bytes } = verification
    context.result(
      { ok: true, path, name: manifest.name, version: manifest.version, digest, files, bytes },
      `ok  ${manifest.name} ${manifest.version}: ${plural(files, 'file')}, ${formatBytes(bytes)}, digest ${digest}`,
    )
    return 0
  }
  const { problems } = verification
  const lines = problems.map((problem) => `bad  ${formatProblem(problem)}`)
  context.result(verification, lines.join('\n'))
  context.note(
    `${plural(problems.length, 'problem')} in ${path}. Build or flash this image again; do not use this copy.`,
  )
  return ERROR_CODES.DIGEST_MISMATCH
}

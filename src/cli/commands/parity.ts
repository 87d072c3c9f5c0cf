/** `m4fm parity`: our numbers beside those of the reference implementation. */

import { ERROR_CODES } from '../../core/errors.js'
import type { BackendName } from '../../engine/types.js'
import { type CommandAction, textOption } from '../context.js'

export const run: CommandAction = async (context, [folder], options) => {
  const [parity, { openEngine }] = await Promise.all([import('../../parity/index.js'), import('../../engine/index.js')])
  const backend = textOption(options, 'backend')
  const engine = await openEngine(backend === undefined ? {} : { backend: backend as BackendName })
  return 0
}

/** `m4fm adapter remove`: an installed adapter leaves the device. */

import type { CommandAction } from '../context.js'

export const run: CommandAction = async (context, [name]) => {
  const { removeAdapter } = await import('../../adapters/index.js')
  await removeAdapter(name!, context)
  context.result({ removed: name }, `Removed ${name}.`)
  return 0
}

/** `m4fm rollback`: back to the other slot. */

import type { CommandAction } from '../context.js'

export const run: CommandAction = async (context) => {
  const { rollback } = await import('../../firmware/index.js')
  const state = await rollback(context.home)
  const record = state.active ? state.slots[state.active] : undefined
  const what = record && record.state !== 'empty' ? `: ${record.name} ${record.version}` : ''
  context.result(state, `active  slot ${state.active}${what}`)
  return 0
}

/** `m4fm adapter eval`: a package, measured through the runtime, with and without it. */

import { M4Error } from '../../core/errors.js'
import { adapterFolder, packageIn } from '../adapter.js'
import { type CliContext, type CommandAction, longOperation, type OptionValues, textOption } from '../context.js'
import { evaluationRows } from '../measured.js'
import { table } from '../print.js'
import { checkedNumber } from '../train-options.js'
import { openBase } from '../training.js'

export const run: CommandAction = async (context, [name], options) => {
  const request = await evaluation(context, name!, options, textOption(options, 'data'))
  const { evaluateAdapter } = await import('../../train/index.js')
  const report = await evaluateAdapter(request)
  context.result(report, table(evaluationRows(report)))
  return report.sameOutput ? 1 : 0
}

/** What `eval` and `revalidate` ask for. @throws M4Error `FORMAT_UNSUPPORTED` for what is no package */
export async function evaluation(context: CliContext, name: string, options: OptionValues, data: string | undefined) {
  const adapter = await adapterFolder(name, context)
  if (!(await packageIn(adapter)))
    throw new M4Error('FORMAT_UNSUPPORTED', `${adapter} is a plain PEFT folder, expected a package with m4fm.json.`, {
      hint: 'Only a package says what it is for and how it was measured; `m4fm adapter train` writes one.',
      details: { path: adapter },
    })
  const count = checkedNumber(options, 'count', { whole: true, least: 1 })
  return {
    adapter,
    ...(await openBase(context, options)),
    ...(data === undefined ? {} : { data }),
    ...(count === undefined ? {} : { count }),
    ...(await longOperation(context)),
  }
}

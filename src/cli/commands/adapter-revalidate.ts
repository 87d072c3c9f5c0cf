/** `m4fm adapter revalidate`: whether an adapter still holds on the image that is there now, and a new training where it does not. */

import { M4Error } from '../../core/errors.js'
import type { RevalidateRequest } from '../../train/index.js'
import { requiredOption } from '../adapter-options.js'
import { type CliContext, type CommandAction, type OptionValues, textOption } from '../context.js'
import { evaluationRows } from '../measured.js'
import { table } from '../print.js'
import { checkedNumber } from '../train-options.js'
import { createWatcher, stoppedTraining, trainingText } from '../training.js'
import { evaluation } from './adapter-eval.js'

export const run: CommandAction = async (context, [name], options) => {
  const tolerance = checkedNumber(options, 'tolerance', { whole: false, least: 0, most: 1 })
  const { retrain, watcher } = retraining(context, options)
  const samples = textOption(options, 'eval') ?? (retrain ? undefined : textOption(options, 'data'))
  const request = {
    ...(await evaluation(context, name!, options, samples)),
    home: context.home,
    ...(tolerance === undefined ? {} : { tolerance }),
    ...(retrain ? { retrain } : {}),
  }
  const { revalidateAdapter } = await import('../../train/index.js')
  const report = await watcher.watch(() => revalidateAdapter(request))
  const { verdict, reason, retrained, evaluation: measured } = report
  context.result(
    report,
    [
      `${verdict}: ${reason}`,
      ...(measured ? [table(evaluationRows(measured))] : []),
      ...(retrained ? ['', trainingText(retrained)] : []),
    ].join('\n'),
  )
  if (retrained) context.note(`Next: m4fm adapter install ${retrained.out}`)
  else if (verdict !== 'keep')
    context.note(
      `Next: m4fm adapter revalidate ${name} --retrain --data FILE --out FOLDER, or go on with the image that it was made on.`,
    )
  return verdict === 'keep' || retrained ? 0 : 1
}

/** @throws M4Error `USAGE` for an option that means nothing without --retrain, or one that it needs */
function retraining(context: CliContext, options: OptionValues) {
  if (options.retrain !== true) {
    for (const option of ['out', 'fresh'])
      if (options[option] !== undefined)
        throw new M4Error('USAGE', `--${option} means something only with --retrain.`, { details: { option } })
    return { retrain: undefined, watcher: createWatcher(context) }
  }
  const data = requiredOption(options, 'data', 'The samples to train on.')
  const out = requiredOption(options, 'out', 'The folder of the new package.')
  const evalData = textOption(options, 'eval')
  const watcher = createWatcher(context, stoppedTraining(out))
  const retrain: NonNullable<RevalidateRequest['retrain']> = {
    data,
    out,
    fresh: options.fresh === true,
    ...(evalData === undefined ? {} : { evalData }),
    ...watcher.listeners,
  }
  return { retrain, watcher }
}

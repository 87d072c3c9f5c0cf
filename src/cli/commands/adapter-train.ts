/** `m4fm adapter train`: samples → an adapter package. Ctrl-C keeps a checkpoint, and the same command goes on from it. */

import type { TrainPlan } from '../../train/index.js'
import { requiredOption } from '../adapter-options.js'
import { type CommandAction, textOption } from '../context.js'
import { plural, table } from '../print.js'
import { formatBytes, formatSeconds } from '../progress.js'
import { openTraining, trainingText } from '../training.js'

export const run: CommandAction = async (context, _operands, options) => {
  const dry = options.dryRun === true
  // A dry run writes nothing, so it needs no place.
  const out = dry
    ? (textOption(options, 'out') ?? 'adapter')
    : requiredOption(options, 'out', 'The folder of the adapter, e.g. --out my-adapter.')
  const training = await openTraining(context, options, out)
  const { planTraining, trainAdapter } = await import('../../train/index.js')
  if (dry) {
    const plan = await planTraining(training.request)
    context.result({ plan }, planText(plan))
    return 0
  }
  const report = await training.watch(() => trainAdapter(training.request))
  for (const finding of report.findings) training.tell(finding)
  context.result(report, trainingText(report))
  context.note(`Next: m4fm adapter install ${out}`)
  return 0
}

function planText(plan: TrainPlan): string {
  const { task, options, parameters, trainSamples, evalSamples, memory, seconds, adapterBytes } = plan
  const { kind, steps, batch, tokensAtOnce, maxTokens, optimiser, seed } = options
  return table([
    [
      'task',
      task.template === undefined
        ? `${task.task} with ${task.module}`
        : `${task.task}, prompt ${JSON.stringify(task.template)}`,
    ],
    ...(task.labels?.length ? [['labels', task.labels.join(', ')]] : []),
    ['samples', `${trainSamples} to train on, ${evalSamples} held out`],
    ['kind', `${kind}: ${plural(parameters, 'parameter')}, about ${formatBytes(adapterBytes)}`],
    [
      'steps',
      `${steps} of ${plural(batch, 'sample')}${task.template === undefined ? '' : `; texts of at most ${maxTokens} tokens, ${tokensAtOnce} tokens at once`}`,
    ],
    ...(seconds === undefined
      ? []
      : [['time', `about ${formatSeconds(seconds)} of training, at the present load of this machine (an estimate)`]]),
    ['rate', `${optimiser.lr}, seed ${seed}`],
    [
      'memory',
      `about ${formatBytes(memory.totalBytes)}: weights ${formatBytes(memory.weightBytes)}, activations ${formatBytes(memory.activationBytes)}, ` +
        `state ${formatBytes(memory.stateBytes)}, process ${formatBytes(memory.processBytes)}; up to ${formatBytes(memory.mappedBytes)} of mapped files on top where there is room`,
    ],
  ])
}

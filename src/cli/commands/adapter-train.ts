/** `m4fm adapter train`: samples → an adapter package. Ctrl-C keeps a checkpoint, and the same command goes on from it. */

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isM4Error, M4Error } from '../../core/errors.js'
import type { TrainFinding, TrainPlan, TrainReport } from '../../train/index.js'
import { requiredOption } from '../adapter-options.js'
import { type CliContext, type CommandAction, longOperation, type OptionValues, textOption } from '../context.js'
import { defaultImage } from '../images.js'
import { plural, table } from '../print.js'
import { formatBytes, formatSeconds } from '../progress.js'
import { trainOptions } from '../train-options.js'
import { createStepLine } from '../train-progress.js'

export const run: CommandAction = async (context, _operands, options) => {
  const data = requiredOption(options, 'data', 'The samples: CSV, TSV or JSONL, e.g. --data reviews.csv.')
  const dry = options.dryRun === true
  // A dry run writes nothing, so it needs no place.
  const out = dry
    ? (textOption(options, 'out') ?? 'adapter')
    : requiredOption(options, 'out', 'The folder of the adapter, e.g. --out my-adapter.')
  const settings = trainOptions(options)
  const [{ planTraining, trainAdapter }, { openEngine }] = await Promise.all([
    import('../../train/index.js'),
    import('../../engine/index.js'),
  ])
  const line = createStepLine({ silent: context.json || context.quiet })
  const told = new Set<string>()
  const tell = ({ severity, message }: TrainFinding) => {
    if (told.has(message)) return
    told.add(message)
    line.end()
    context.note(`${severity}: ${message}`)
  }
  const evalData = textOption(options, 'eval')
  const request = {
    data,
    ...(evalData === undefined ? {} : { evalData }),
    image: await imageOf(context, options),
    engine: await openEngine(),
    home: context.home,
    out,
    options: settings,
    ...named(options),
    fresh: options.fresh === true,
    onStep: line.listener,
    onFinding: tell,
    ...(await longOperation(context)),
  }
  if (dry) {
    const plan = await planTraining(request)
    context.result({ plan }, planText(plan))
    return 0
  }
  try {
    const report = await trainAdapter(request)
    line.end()
    for (const finding of report.findings) tell(finding)
    context.result(report, reportText(report))
    context.note(`Next: m4fm adapter install ${out}`)
    return 0
  } catch (error) {
    line.end()
    throw isM4Error(error, 'ABORTED') ? stopped(out, error) : error
  }
}

async function imageOf(context: CliContext, options: OptionValues) {
  const { openImage, resolveImage } = await import('../../firmware/index.js')
  const name = textOption(options, 'image')
  return openImage(name === undefined ? await defaultImage(context) : await resolveImage(name, context))
}

const named = (options: OptionValues): { name?: string; app?: string; licence?: string } =>
  Object.fromEntries(
    ['name', 'app', 'licence'].flatMap((name) => {
      const value = textOption(options, name)
      return value === undefined ? [] : [[name, value]]
    }),
  )

/** What is left of a run that was stopped, and how to go on. */
function stopped(out: string, cause: M4Error): M4Error {
  const folder = `${resolve(out)}.training`
  return existsSync(join(folder, 'checkpoint.safetensors'))
    ? new M4Error('ABORTED', `Interrupted; what was learned is kept in ${folder}.`, {
        hint: 'The same command goes on from there; with --fresh it begins again.',
        details: { checkpoint: folder },
        cause,
      })
    : new M4Error('ABORTED', 'Interrupted before the first step; nothing is kept.', {
        hint: 'The same command begins again.',
        cause,
      })
}

function planText({ task, options, parameters, trainSamples, evalSamples, memory, adapterBytes }: TrainPlan): string {
  const { kind, steps, batch, rowsAtOnce, maxTokens, optimiser, seed } = options
  return table([
    ['task', `${task.task}, prompt ${JSON.stringify(task.template)}`],
    ...(task.labels ? [['labels', task.labels.join(', ')]] : []),
    ['samples', `${trainSamples} to train on, ${evalSamples} held out`],
    ['kind', `${kind}: ${plural(parameters, 'parameter')}, about ${formatBytes(adapterBytes)}`],
    [
      'steps',
      `${steps} of ${plural(batch, 'sample')}${rowsAtOnce < batch ? `, ${rowsAtOnce} at once` : ''}, texts of at most ${maxTokens} tokens`,
    ],
    ['rate', `${optimiser.lr}, seed ${seed}`],
    [
      'memory',
      `about ${formatBytes(memory.totalBytes)}: weights ${formatBytes(memory.weightBytes)}, activations ${formatBytes(memory.activationBytes)}, ` +
        `state ${formatBytes(memory.stateBytes)}, process ${formatBytes(memory.processBytes)}`,
    ],
  ])
}

const STOPPED: Readonly<Record<TrainReport['fit']['stopped'], string>> = Object.freeze({
  steps: 'all steps done',
  patience: 'stopped early: the held-out loss no longer fell',
  diverged: 'stopped: training ran away',
})

function reportText({ out, bytes, digest, fit, metric, base, peakMemoryBytes, plan, plot }: TrainReport): string {
  const last = fit.evaluations.find(({ step }) => step === fit.step)
  const value = (measured: { value: number; stderr: number }) =>
    `${measured.value.toFixed(3)} ± ${measured.stderr.toFixed(3)}`
  return table([
    ['adapter', `${out} (${formatBytes(bytes)}, digest ${digest.slice(0, 12)})`],
    [
      'steps',
      `${fit.losses.length} of ${plan.options.steps}, ${STOPPED[fit.stopped]}; those of step ${fit.step} are kept${fit.resumedAt === undefined ? '' : `; resumed at step ${fit.resumedAt}`}`,
    ],
    [
      'loss',
      `${fit.losses[0]!.toFixed(3)} to ${fit.losses.at(-1)!.toFixed(3)}${last ? `, held out ${last.loss.toFixed(3)}` : ''}`,
    ],
    ...(metric && base
      ? [
          [
            metric.name,
            `${value(metric)} on ${plural(metric.count, 'held-out sample')}; the base without it ${value(base)}`,
          ],
        ]
      : []),
    [
      'time',
      `${formatSeconds(fit.seconds)}, ${fit.unitsPerSecond.toFixed(0)} tokens/s, ${formatBytes(peakMemoryBytes)} of memory at most`,
    ],
    ['curve', plot],
  ])
}

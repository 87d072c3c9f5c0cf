/** What the commands that train have in common: the request, the line on stderr, what Ctrl-C leaves, the report. */

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isM4Error, M4Error } from '../core/errors.js'
import type { TrainFinding, TrainReport, TrainRequest } from '../train/index.js'
import { requiredOption } from './adapter-options.js'
import { type CliContext, longOperation, type OptionValues, textOption } from './context.js'
import { defaultImage } from './images.js'
import { plural, table } from './print.js'
import { formatBytes, formatSeconds } from './progress.js'
import { checkedNumber, trainOptions } from './train-options.js'
import { createStepLine } from './train-progress.js'

export interface Training {
  readonly request: TrainRequest
  /** Runs `work`; after it, or when it fails, the line on stderr is ended. @throws M4Error `ABORTED` with how to go on */
  watch<T>(work: () => Promise<T>): Promise<T>
  /** Once to people; `--json` has findings in the report. */
  tell(finding: TrainFinding): void
}

/**
 * The request that the options mean; nothing is trained yet.
 * @param settings.stopped what Ctrl-C leaves, and how to go on. Default: a checkpoint beside `out`
 * @throws M4Error `USAGE`, `UNKNOWN_NAME`, `FILE_NOT_FOUND` for the image
 */
export async function openTraining(
  context: CliContext,
  options: OptionValues,
  out: string,
  { stopped = stoppedTraining(out) }: { readonly stopped?: Stopped } = {},
): Promise<Training> {
  const data = requiredOption(options, 'data', 'The samples: CSV, TSV or JSONL, e.g. --data reviews.csv.')
  const evalData = textOption(options, 'eval')
  const settings = trainOptions(options)
  const checkpointSeconds = checkedNumber(options, 'checkpointEvery', { whole: false, least: 0 })
  const watcher = createWatcher(context, stopped)
  const request = {
    data,
    ...(evalData === undefined ? {} : { evalData }),
    ...(await openBase(context, options)),
    home: context.home,
    out,
    options: settings,
    ...named(options),
    fresh: options.fresh === true,
    ...(checkpointSeconds === undefined ? {} : { checkpointSeconds }),
    ...watcher.listeners,
    ...(await longOperation(context)),
  }
  return { request, watch: watcher.watch, tell: watcher.tell }
}

/** The image of `--image`, else the default one, and the engine. @throws M4Error `FILE_NOT_FOUND`, `ENGINE_UNAVAILABLE` */
export async function openBase(context: CliContext, options: OptionValues) {
  const [{ openImage, resolveImage }, { openEngine }] = await Promise.all([
    import('../firmware/index.js'),
    import('../engine/index.js'),
  ])
  const name = textOption(options, 'image')
  const image = await openImage(name === undefined ? await defaultImage(context) : await resolveImage(name, context))
  return { image, engine: await openEngine() }
}

/** The error of a run that Ctrl-C stopped. */
export type Stopped = (cause: M4Error) => M4Error

/** @param stopped default: the error as it is, where nothing is left for another run to go on from */
export function createWatcher(context: CliContext, stopped: Stopped = (cause) => cause) {
  const line = createStepLine({ silent: context.json || context.quiet })
  const told = new Set<string>()
  const tell = ({ severity, message }: TrainFinding) => {
    if (told.has(message)) return
    told.add(message)
    line.end()
    context.note(`${severity}: ${message}`)
  }
  const watch = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw isM4Error(error, 'ABORTED') ? stopped(error) : error
    } finally {
      line.end()
    }
  }
  return { listeners: { onStep: line.listener, onFinding: tell }, tell, watch }
}

const named = (options: OptionValues): { name?: string; app?: string; licence?: string } =>
  Object.fromEntries(
    ['name', 'app', 'licence'].flatMap((name) => {
      const value = textOption(options, name)
      return value === undefined ? [] : [[name, value]]
    }),
  )

/** A checkpoint beside the folder of the adapter, if it came to one. */
export const stoppedTraining =
  (out: string): Stopped =>
  (cause) => {
    const folder = `${resolve(out)}.training`
    return existsSync(join(folder, 'checkpoint.safetensors'))
      ? new M4Error('ABORTED', `Interrupted; what was learned is kept in ${folder}.`, {
          hint: 'The same command goes on from there; with --fresh it begins again.',
          details: { checkpoint: folder },
          cause,
        })
      : new M4Error('ABORTED', 'Interrupted; there is no checkpoint to go on from.', {
          hint: 'The same command begins again.',
          cause,
        })
  }

const STOPPED: Readonly<Record<TrainReport['fit']['stopped'], string>> = Object.freeze({
  steps: 'all steps done',
  patience: 'stopped early: the held-out loss no longer fell',
  diverged: 'stopped: training ran away',
})

/** A finished training, for people. */
export function trainingText({
  out,
  bytes,
  digest,
  fit,
  metric,
  base,
  peakMemoryBytes,
  plan,
  plot,
}: TrainReport): string {
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
    ...(metric
      ? [
          [
            metric.name,
            `${value(metric)} on ${plural(metric.count, 'held-out sample')}${base ? `; the base without it${base.how ? ` (${base.how})` : ''} ${value(base)}` : ''}`,
          ],
        ]
      : []),
    [
      'time',
      `${formatSeconds(fit.seconds)}, ${fit.unitsPerSecond.toFixed(0)} ${plan.task.template === undefined ? 'samples' : 'tokens'}/s, ${formatBytes(peakMemoryBytes)} of memory at most`,
    ],
    ['curve', plot],
  ])
}

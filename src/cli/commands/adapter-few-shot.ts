/** `m4fm adapter few-shot`: the same training on small shares of the data (paper §5: 1 to 10 %). */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { M4Error } from '../../core/errors.js'
import type { FewShotReport, FewShotRun } from '../../train/index.js'
import { type CommandAction, commaOption, type OptionValues, textOption } from '../context.js'
import { table } from '../print.js'
import { formatSeconds } from '../progress.js'
import { checkedNumber } from '../train-options.js'
import { openTraining, type Stopped } from '../training.js'

export const run: CommandAction = async (context, _operands, options) => {
  const fractions = fractionsOf(options)
  const repeats = checkedNumber(options, 'repeats', { whole: true, least: 1 })
  const given = textOption(options, 'out')
  const folder = given === undefined ? await mkdtemp(join(tmpdir(), 'm4fm-few-shot-')) : undefined
  try {
    const training = await openTraining(context, options, given ?? folder!, { stopped: stoppedRuns(given) })
    const { fewShotRuns } = await import('../../train/index.js')
    const request = {
      ...training.request,
      ...(fractions ? { fractions } : {}),
      ...(repeats === undefined ? {} : { repeats }),
      onRun: (done: FewShotRun, before: boolean) => context.note(`${runText(done)}${before ? ' (from before)' : ''}`),
    }
    const report = await training.watch(() => fewShotRuns(request))
    context.result(report, reportText(report))
    return 0
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }
}

const stoppedRuns =
  (out: string | undefined): Stopped =>
  (cause) =>
    out === undefined
      ? new M4Error('ABORTED', 'Interrupted; without --out nothing is kept.', {
          hint: 'With --out FOLDER the same command goes on behind the runs that are finished.',
          cause,
        })
      : new M4Error('ABORTED', `Interrupted; finished runs are kept in ${resolve(out)}.`, {
          hint: 'The same command goes on behind them; with --fresh it begins again.',
          details: { out: resolve(out) },
          cause,
        })

/** @throws M4Error `USAGE` */
function fractionsOf(options: OptionValues): number[] | undefined {
  return commaOption(options, 'fractions')?.map((text) => {
    const share = Number(text)
    if (share > 0 && share <= 1) return share
    throw new M4Error('USAGE', `--fractions: expected numbers above 0 and at most 1, got "${text}".`, {
      hint: 'For example 0.01,0.1 for one and ten in a hundred.',
      details: { option: 'fractions', got: text },
    })
  })
}

const percent = (share: number) => `${Number((100 * share).toPrecision(4))} %`

const runText = ({ fraction, seed, samples, steps, metric, seconds }: FewShotRun): string =>
  `${percent(fraction)}, seed ${seed}: ${samples} samples, ${steps} steps in ${formatSeconds(seconds)}` +
  (metric === undefined ? '' : `, ${metric.toFixed(3)}`)

function reportText({ metric, base, count, rows }: FewShotReport): string {
  const cells = rows.map(({ fraction, samples, mean, deviation, runs }) => [
    percent(fraction),
    String(samples),
    String(runs.length),
    mean === undefined
      ? 'not measured'
      : `${mean.toFixed(3)}${deviation === undefined ? '' : ` ± ${deviation.toFixed(3)}`}`,
  ])
  const head = ['share', 'samples', 'draws', metric ?? 'metric']
  const foot = base === undefined ? [] : [`${metric} on ${count} held-out samples; the base alone ${base.toFixed(3)}.`]
  return [table([head, ...cells], ['right', 'right', 'right', 'left']), ...foot].join('\n')
}

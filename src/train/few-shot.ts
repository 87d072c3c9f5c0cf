/** How much data an adapter needs: the same run on small shares of the data, drawn again with other seeds. */

import { rm } from 'node:fs/promises'
import { M4Error } from '../core/errors.js'
import type { TrainRequest } from './course.js'
import { type TrainReport, trainAdapter } from './trainer.js'

export interface FewShotRequest extends TrainRequest {
  /** Shares of the data, e.g. 0.01 and 0.1. Default 0.01, 0.02, 0.05, 0.1 (paper §5: 1 to 10 %). */
  readonly fractions?: readonly number[]
  /** Draws of each share. Default 3. */
  readonly repeats?: number
  readonly onRun?: (run: FewShotRun) => void
}

export interface FewShotRun {
  readonly fraction: number
  readonly seed: number
  readonly samples: number
  readonly steps: number
  readonly metric: number | undefined
  readonly seconds: number
}

export interface FewShotReport {
  readonly metric: string | undefined
  /** Of the base alone. */
  readonly base: number | undefined
  /** Samples that all were measured on. */
  readonly count: number | undefined
  readonly rows: readonly {
    readonly fraction: number
    readonly samples: number
    readonly mean: number | undefined
    /** Over the draws; undefined for one. */
    readonly deviation: number | undefined
    readonly runs: readonly FewShotRun[]
  }[]
}

const DEFAULT_FRACTIONS = [0.01, 0.02, 0.05, 0.1]

/**
 * Adapters are made beside `out` and removed again: the answer is the table. The held-out samples are the same for all: give a second
 * file, or the split is that of each seed.
 * @throws M4Error as `trainAdapter`, `USAGE`
 */
export async function fewShotRuns(request: FewShotRequest): Promise<FewShotReport> {
  const { fractions = DEFAULT_FRACTIONS, repeats = 3, options = {} } = request
  if (
    !fractions.length ||
    fractions.some((share) => !(share > 0 && share <= 1)) ||
    !Number.isInteger(repeats) ||
    repeats < 1
  )
    throw new M4Error(
      'USAGE',
      `few-shot: expected shares between 0 and 1 and at least one draw, got ${fractions.join(', ')} and ${repeats}.`,
    )
  const rows: FewShotReport['rows'][number][] = []
  let last: TrainReport | undefined
  for (const fraction of fractions) {
    const runs: FewShotRun[] = []
    for (let i = 0; i < repeats; i++) {
      const seed = (options.seed ?? 0) + i
      const out = `${request.out}.few-${fraction}-${seed}`
      last = await trainAdapter({ ...request, out, options: { ...options, fraction, seed } })
      await Promise.all([out, last.plot, `${out}.training`].map((path) => rm(path, { recursive: true, force: true })))
      const run = {
        fraction,
        seed,
        samples: last.plan.trainSamples,
        steps: last.fit.losses.length,
        metric: last.metric?.value,
        seconds: last.fit.seconds,
      }
      runs.push(run)
      request.onRun?.(run)
    }
    const values = runs.flatMap(({ metric }) => metric ?? [])
    const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : undefined
    const spread = values.reduce((sum, value) => sum + (value - mean!) ** 2, 0)
    const deviation = values.length > 1 ? Math.sqrt(spread / (values.length - 1)) : undefined
    rows.push({ fraction, samples: runs[0]!.samples, mean, deviation, runs })
  }
  return { metric: last?.metric?.name, base: last?.base?.value, count: last?.metric?.count, rows }
}

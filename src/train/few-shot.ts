/** How much data an adapter needs: the same run on small shares of the data, drawn again with other seeds. */

import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { M4Error } from '../core/errors.js'
import { sha256Hex } from '../core/hash.js'
import { canonicalJson } from '../firmware/manifest.js'
import type { TrainRequest } from './course.js'
import { openDataSet } from './data/index.js'
import { type FewShotRecord, type FewShotRun, readFewShot, writeFewShot } from './few-shot-record.js'
import { trainAdapter } from './trainer.js'

export interface FewShotRequest extends TrainRequest {
  /** Folder of the finished runs (few-shot-record.ts), and of the one that is under way. */
  readonly out: string
  /** Shares of the data, e.g. 0.01 and 0.1. Default 0.01, 0.02, 0.05, 0.1 (paper §5: 1 to 10 %). */
  readonly fractions?: readonly number[]
  /** Draws of each share. Default 3. */
  readonly repeats?: number
  /** @param before whether it was finished by an earlier call */
  readonly onRun?: (run: FewShotRun, before: boolean) => void
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
 * Adapters are made in `out` and removed again: the answer is the table. Finished runs stay, and a call that was broken off goes on
 * behind them. The held-out samples are the same for all: give a second file, or the split is that of each seed.
 * @throws M4Error as `trainAdapter` and `readFewShot`, `USAGE`
 */
export async function fewShotRuns(request: FewShotRequest): Promise<FewShotReport> {
  const { fractions = DEFAULT_FRACTIONS, repeats = 3, options = {}, onRun } = request
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
  const folder = resolve(request.out)
  let record = await readFewShot(folder, await keyOf(request), request.fresh ?? false)
  await writeFewShot(folder, record)
  const rows: FewShotReport['rows'][number][] = []
  for (const fraction of fractions) {
    const runs: FewShotRun[] = []
    for (let i = 0; i < repeats; i++) {
      const seed = (options.seed ?? 0) + i
      const known = record.runs.find((run) => run.fraction === fraction && run.seed === seed)
      if (!known) record = await oneMore(request, folder, record, fraction, seed)
      const run = known ?? record.runs.at(-1)!
      runs.push(run)
      onRun?.(run, known !== undefined)
    }
    rows.push(rowOf(fraction, runs))
  }
  const last = rows.at(-1)!.runs.at(-1)!
  return { metric: record.metric, base: last.base, count: last.count, rows }
}

/** The record with this run, which is on the disk before its adapter is removed. */
async function oneMore(
  request: FewShotRequest,
  folder: string,
  { key, runs }: FewShotRecord,
  fraction: number,
  seed: number,
): Promise<FewShotRecord> {
  const underWay = join(folder, 'under-way')
  const out = join(underWay, `${fraction}-${seed}`)
  const { plan, fit, metric, base } = await trainAdapter({
    ...request,
    out,
    options: { ...request.options, fraction, seed },
  })
  const run: FewShotRun = {
    fraction,
    seed,
    samples: plan.trainSamples,
    steps: fit.losses.length,
    ...(metric ? { metric: metric.value, count: metric.count } : {}),
    ...(base ? { base: base.value } : {}),
    seconds: fit.seconds,
  }
  const record = { key, ...(metric ? { metric: metric.name } : {}), runs: [...runs, run] }
  await writeFewShot(folder, record)
  await rm(underWay, { recursive: true, force: true })
  return record
}

function rowOf(fraction: number, runs: readonly FewShotRun[]): FewShotReport['rows'][number] {
  const values = runs.flatMap(({ metric }) => metric ?? [])
  const mean = values.length ? values.reduce((a, b) => a + b, 0) / values.length : undefined
  const spread = values.reduce((sum, value) => sum + (value - mean!) ** 2, 0)
  const deviation = values.length > 1 ? Math.sqrt(spread / (values.length - 1)) : undefined
  return { fraction, samples: runs[0]!.samples, mean, deviation, runs }
}

/** @throws M4Error as `openDataSet` */
async function keyOf({ data, evalData, image, options = {}, measured, signal }: FewShotRequest): Promise<string> {
  const { seed: _seed, fraction: _fraction, ...compared } = options
  const long = signal ? { signal } : {}
  const digests = [
    (await openDataSet(data, { ...options.read, ...long })).digest,
    ...(evalData === undefined
      ? []
      : [(await openDataSet(evalData, { ...options.read, use: 'eval', ...long })).digest]),
  ]
  return sha256Hex(canonicalJson({ image: image.digest, digests, options: compared, measured: measured ?? null }))
}

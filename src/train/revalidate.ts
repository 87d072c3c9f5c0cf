/**
 * A base was replaced: does the adapter still hold? Its own samples decide, on the new image, against what was recorded on the old
 * one and against the new base alone.
 */

import { type MetricRecord, readAdapterPackage, rememberVerdict, type Verdict } from '../adapters/index.js'
import { isM4Error, M4Error } from '../core/errors.js'
import { gainOf, type TrainRequest } from './course.js'
import { openDataSet } from './data/index.js'
import { type EvaluateReport, type EvaluateRequest, evaluateAdapter } from './evaluate.js'
import type { TrainOptions } from './options.js'
import { type TrainReport, trainAdapter } from './trainer.js'

export interface RevalidateReport {
  readonly verdict: Verdict
  /** In a sentence, with the numbers. */
  readonly reason: string
  /** undefined where the adapter does not load on the image. */
  readonly evaluation: EvaluateReport | undefined
  readonly retrained?: TrainReport
}

export interface RevalidateRequest extends EvaluateRequest {
  /** Where the verdict is remembered (adapters/verdicts.ts). */
  readonly home: string
  /** How much worse the metric may be before an adapter is no longer kept. Default 0.02, or two standard errors where that is more. */
  readonly tolerance?: number
  /** Trains again on the new image when the verdict is not keep: from the recorded recipe, on these data. */
  readonly retrain?: Pick<TrainRequest, 'data' | 'evalData' | 'out' | 'onStep' | 'onFinding' | 'fresh'>
}

const DEFAULT_TOLERANCE = 0.02

/**
 * keep: as good as it was. retrain: it loads, but it is worse. refuse: it does not load, changes nothing, or the new base alone is
 * better. What was measured is remembered, before anything is trained again.
 * @throws M4Error as `evaluateAdapter` but for other ABIs, and as `trainAdapter`
 */
export async function revalidateAdapter(request: RevalidateRequest): Promise<RevalidateReport> {
  const first = await verdictOf(request)
  await remember(first, request)
  if (first.verdict === 'keep' || !request.retrain) return first
  const { manifest } = await readAdapterPackage(request.adapter)
  const recipe = manifest.training?.recipe
  if (!recipe)
    throw new M4Error('NOT_AVAILABLE', `Adapter ${manifest.name} does not say how it was trained.`, {
      hint: 'Train it with `m4fm adapter train`.',
    })
  const { data: _, ...options } = recipe
  const set = await openDataSet(request.retrain.data, (options.read ?? {}) as object)
  const retrained = await trainAdapter({
    ...request.retrain,
    home: request.home,
    image: request.image,
    engine: request.engine,
    name: manifest.name,
    app: manifest.app,
    licence: manifest.licence,
    options: options as TrainOptions,
    ...(request.signal ? { signal: request.signal } : {}),
    ...(request.onProgress ? { onProgress: request.onProgress } : {}),
  })
  const sameData = set.digest === manifest.training!.data.digest
  const note = sameData ? '' : ' The data are not those that it was trained on at first.'
  return { ...first, reason: `${first.reason} It was trained again.${note}`, retrained }
}

/** An adapter that does not load was not measured: whoever loads it is told why. */
async function remember({ verdict, reason, evaluation }: RevalidateReport, { home }: RevalidateRequest): Promise<void> {
  if (!evaluation) return
  const { adapter, digest, image, measured, base, recorded } = evaluation
  const metric = ({ name, value, count, stderr }: MetricRecord): MetricRecord => ({ name, value, count, stderr })
  const record = {
    format: 1,
    verdict,
    reason,
    adapter: { name: adapter, digest },
    image,
    measured: metric(measured),
    ...(base ? { base: metric(base) } : {}),
    ...(recorded ? { recorded: metric(recorded) } : {}),
    created: new Date().toISOString(),
  } as const
  await rememberVerdict(record, { home })
}

async function verdictOf(request: RevalidateRequest): Promise<RevalidateReport> {
  let evaluation: EvaluateReport
  try {
    evaluation = await evaluateAdapter({ ...request, measureBase: true })
  } catch (error) {
    if (!isM4Error(error) || (error.details.reason !== 'adapter-incompatible' && error.code !== 'FORMAT_INVALID'))
      throw error
    return { verdict: 'refuse', reason: error.message, evaluation: undefined }
  }
  const { recorded, measured, sameOutput } = evaluation
  const { base } = evaluation
  const number = (value: number) => value.toFixed(3)
  if (sameOutput) return { verdict: 'refuse', reason: 'On its own samples it changes nothing.', evaluation }
  if (base && gainOf(measured.name, measured.value, base.value) < 0)
    return {
      verdict: 'refuse',
      reason: `The base alone answers its samples better: ${number(base.value)} against ${number(measured.value)} (n ${measured.count}).`,
      evaluation,
    }
  const alone = base ? `, the base alone ${number(base.value)}` : ''
  const before = recorded?.value
  if (before === undefined)
    return {
      verdict: 'keep',
      reason: `Nothing was recorded to compare with; ${measured.name} ${number(measured.value)}${alone} (n ${measured.count}).`,
      evaluation,
    }
  const allowed = Math.max(request.tolerance ?? DEFAULT_TOLERANCE, 2 * Math.hypot(recorded!.stderr, measured.stderr))
  const numbers = `${recorded!.name} ${number(measured.value)} ± ${number(measured.stderr)} (n ${measured.count}), recorded ${number(before)}${alone}`
  return gainOf(measured.name, before, measured.value) <= allowed
    ? { verdict: 'keep', reason: `As good as it was: ${numbers}.`, evaluation }
    : { verdict: 'retrain', reason: `It fell by more than ${number(allowed)}: ${numbers}.`, evaluation }
}

/** How good a head on patches is: measured through the runtime, the way it will be served, and beside the best constant answer. */

import { bootstrapError } from '../../bench/metrics/index.js'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import type { Firmware } from '../../runtime/index.js'
import type { Score } from '../course.js'
import { SCORINGS, type Scoring } from './scoring.js'
import type { ObjectHead, ObjectTask } from './task.js'
import { bytesOf, type SizedView } from './views.js'

/** @throws M4Error `EMPTY_INPUT` without views or with nothing to find in them; as the runtime */
export async function measureObjects(
  firmware: Firmware,
  adapter: HeadAdapter,
  views: readonly SizedView[],
  { signal, onProgress }: LongOperation = {},
): Promise<Score> {
  const scoring = SCORINGS[adapter.type as ObjectHead]
  const kept: unknown[] = []
  const outputs: string[] = []
  for (const [i, view] of views.entries()) {
    const request = { ...scoring.ask({ file: await bytesOf(view.path), adapter }, view), signal }
    const { output } = await firmware.ask(request)
    kept.push(await scoring.keep(view, output, adapter.labels))
    outputs.push(scoring.shown(output))
    onProgress?.({ task: 'measure', done: i + 1, total: views.length, unit: 'items' })
  }
  return scored(scoring, kept, outputs)
}

/** The same views, answered without a look at them; undefined where there is no such answer. */
export async function measureConstant(
  { head, labels }: ObjectTask,
  train: readonly SizedView[],
  views: readonly SizedView[],
  signal?: AbortSignal,
): Promise<(Score & { readonly how: 'best-constant' }) | undefined> {
  const scoring = SCORINGS[head]
  const answer = await scoring.constant?.(train, labels)
  if (!answer) return undefined
  const kept: unknown[] = []
  for (const view of views) {
    throwIfAborted(signal)
    kept.push(await scoring.keep(view, answer(view), labels))
  }
  return { ...scored(scoring, kept, []), how: 'best-constant' }
}

function scored({ metric, score }: Scoring, kept: readonly unknown[], outputs: readonly string[]): Score {
  const value = kept.length ? score(kept) : Number.NaN
  if (!Number.isFinite(value))
    throw new M4Error(
      'EMPTY_INPUT',
      `Nothing to measure ${metric} on: ${kept.length} views, and nothing to find in them.`,
      {
        hint: 'Hold out pictures that have objects.',
      },
    )
  return { name: metric, value, count: kept.length, stderr: bootstrapError(kept, score), outputs }
}

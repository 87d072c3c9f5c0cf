/** Options of a head, resolved: those of training.ts's table, at values that suit a run on features in memory. */

import { M4Error } from '../../core/errors.js'
import { type ResolvedOptions, resolveOptions, type TrainOptions } from '../options.js'

export type ResolvedMediaOptions = ResolvedOptions

/** Batches cost microseconds: larger ones and more passes than text takes. */
const BATCH = 64
const EPOCHS = 30
const FEWEST_STEPS = 300
const MOST_STEPS = 2000

/**
 * @param count samples to train on
 * @throws M4Error `NOT_AVAILABLE` for another kind than `head`, `INVALID_REQUEST` for widths that are no whole numbers of 1 or more
 */
export function resolveMediaOptions(given: TrainOptions, count: number): ResolvedMediaOptions {
  const { hidden = [], kind = 'head', epochs } = given
  if (kind !== 'head')
    throw new M4Error('NOT_AVAILABLE', `Pictures, sounds and motion train a head, not an adapter of kind ${kind}.`, {
      hint: 'Leave --kind out.',
      details: { kind },
    })
  if (!hidden.every((width) => Number.isSafeInteger(width) && width >= 1))
    throw new M4Error('INVALID_REQUEST', `hidden: expected whole numbers of 1 or more, got ${hidden.join(', ')}.`)
  const batch = Math.min(given.batch ?? BATCH, count)
  const perEpoch = Math.ceil(count / batch)
  const usual = Math.min(MOST_STEPS, Math.max(FEWEST_STEPS, EPOCHS * perEpoch))
  const steps = given.steps ?? (epochs === undefined ? usual : epochs * perEpoch)
  return resolveOptions({ ...given, batch, steps }, 'head', count)
}

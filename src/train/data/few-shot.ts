/** A few samples of each class, seeded: what an adapter learns from 1 to 10 % of a set. */

import { M4Error } from '../../core/errors.js'
import { findingList } from './findings.js'
import type { DataSet } from './samples.js'
import { apportion, drawStrata, strata, subset } from './strata.js'

export interface FewShotOptions {
  /** Above 0, at most 1. Either this or `perClass`. */
  readonly fraction?: number
  readonly perClass?: number
  readonly seed: number
}

/**
 * Every class keeps its share and one sample at least; kinds without labels are drawn as one class. Findings of the set stay, and
 * classes with fewer samples than asked for are added to them.
 * @throws M4Error `USAGE` for another fraction or count; `EMPTY_INPUT` for a set without samples
 */
export function fewShot(dataSet: DataSet, { fraction, perClass, seed }: FewShotOptions): DataSet {
  if ((fraction === undefined) === (perClass === undefined))
    throw new M4Error('USAGE', 'A few-shot draw takes fraction or perClass, one of the two.')
  if (fraction !== undefined && !(fraction > 0 && fraction <= 1))
    throw new M4Error('USAGE', `fraction must lie above 0 and at most at 1, got ${fraction}.`, {
      hint: 'For example 0.01 for one in a hundred.',
    })
  if (perClass !== undefined && !(Number.isInteger(perClass) && perClass > 0))
    throw new M4Error('USAGE', `perClass must be a whole number above 0, got ${perClass}.`)
  if (!dataSet.samples.length) throw new M4Error('EMPTY_INPUT', `${dataSet.path} has no samples to draw from.`)
  const classes = strata(dataSet)
  const sizes = classes.map(({ length }) => length)
  const counts =
    fraction === undefined
      ? sizes.map((size) => Math.min(perClass!, size))
      : apportion(
          Math.max(1, Math.round(fraction * dataSet.samples.length)),
          sizes,
          sizes.map(() => 1),
          sizes,
        )
  const findings = findingList()
  const short = sizes.filter((size) => size < (perClass ?? 0)).length
  if (short) findings.add('few-shot-size', `${short} of ${sizes.length} classes have fewer than ${perClass} samples.`)
  return subset(dataSet, drawStrata(classes, counts, seed), [...dataSet.findings, ...findings.list()])
}

/** Two sets that people split themselves: is the one to measure on really held out? */

import { type Finding, findingList } from './findings.js'
import { labelOf, placeOf, sampleKeys } from './keys.js'
import type { DataSet, Sample } from './samples.js'
import { unseenLabels } from './split.js'

/**
 * Samples of `evalSet` that `train` holds too (same normalised text, same bytes), labels that are never trained on, and sets of
 * two kinds. When no label of `evalSet` is known at all, the unseen labels are errors: the names do not match.
 */
export function checkSplits(train: DataSet, evalSet: DataSet): readonly Finding[] {
  const findings = findingList()
  if (train.kind !== evalSet.kind) {
    findings.add('kind-mismatch', `${evalSet.path} holds ${evalSet.kind}, ${train.path} holds ${train.kind}.`)
    return findings.list()
  }
  const trainKey = sampleKeys(train)
  const trained = new Map<string, Sample>()
  for (const sample of train.samples) if (!trained.has(trainKey(sample))) trained.set(trainKey(sample), sample)
  const evalKey = sampleKeys(evalSet)
  for (const sample of evalSet.samples) {
    const twin = trained.get(evalKey(sample))
    if (twin)
      findings.add(
        'duplicate-across-splits',
        `${evalSet.path}, ${placeOf(sample)}: it is trained on too (${placeOf(twin)}).`,
        'row' in sample && sample.row !== undefined ? { row: sample.row } : {},
      )
  }
  const unseen = unseenLabels(train, evalSet)
  const known = evalSet.samples.some((sample) => {
    const label = labelOf(sample)
    return label === undefined || train.labels.includes(label)
  })
  for (const message of unseen) findings.add('unseen-label', message, { severity: known ? 'warning' : 'error' })
  return findings.list()
}

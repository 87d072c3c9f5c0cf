/** One set → a part to train on and a part to measure on, with nothing in both. */

import { M4Error } from '../../core/errors.js'
import { randomSource } from '../../core/random.js'
import { type Finding, type FindingList, findingList } from './findings.js'
import { labelOf, placeOf, sampleKeys } from './keys.js'
import type { DataSet, Sample } from './samples.js'
import { apportion, drawStrata, shuffled, strata, subset } from './strata.js'

export interface SplitOptions {
  /** Between 0 and 1, of all samples. Either this or `evalCount`. */
  readonly evalFraction?: number
  readonly evalCount?: number
  readonly seed: number
  /**
   * `subject`: all samples of a person on one side, and `file`: all of a recording. The count is then met as nearly as whole
   * groups allow, and labels are not balanced.
   */
  readonly keepTogether?: 'subject' | 'file'
}

export interface Splits {
  readonly train: DataSet
  readonly eval: DataSet
  readonly findings: readonly Finding[]
}

/**
 * A seeded draw in which every label keeps its share (largest remainders) and at least one sample to train on. Samples that occur
 * twice (same normalised text, same bytes) are all trained on and never measured on.
 * @throws M4Error `USAGE` for a fraction or count that leaves a side empty; `INVALID_REQUEST` where no split can be made
 */
export function splitDataSet(dataSet: DataSet, options: SplitOptions): Splits {
  const findings = findingList()
  const count = evalCountOf(dataSet, options)
  const copies = copiesIn(dataSet)
  const held = options.keepTogether
    ? groupDraw(dataSet, count, options.keepTogether, options.seed)
    : stratifiedDraw(dataSet, count, copies, options.seed)
  const evaluated = held.filter((i) => !copies.has(i))
  reportCopies(dataSet, copies, findings)
  if (!evaluated.length)
    throw new M4Error('INVALID_REQUEST', `${dataSet.path}: no sample can be held out of ${dataSet.samples.length}.`, {
      hint: 'Add samples: each label needs two that differ. Or give a second file to measure on.',
      details: { samples: dataSet.samples.length, copies: copies.size },
    })
  const isHeld = new Set(evaluated)
  const train = subset(
    dataSet,
    dataSet.samples.flatMap((_, i) => (isHeld.has(i) ? [] : [i])),
  )
  const evalSet = subset(dataSet, evaluated, [])
  if (evaluated.length !== count)
    findings.add('eval-size', `${evaluated.length} samples are held out, asked for ${count}.`)
  const present = new Set(evalSet.samples.map(labelOf))
  if (labelOf(dataSet.samples[0]!) !== undefined)
    for (const label of dataSet.labels)
      if (!present.has(label)) findings.add('label-not-in-eval', `No sample of "${label}" is held out to measure on.`)
  for (const finding of unseenLabels(train, evalSet)) findings.add('unseen-label', finding)
  reportSubjects(train, evalSet, findings)
  return { train, eval: evalSet, findings: findings.list() }
}

function evalCountOf({ samples }: DataSet, { evalFraction, evalCount }: SplitOptions): number {
  if ((evalFraction === undefined) === (evalCount === undefined))
    throw new M4Error('USAGE', 'A split takes evalFraction or evalCount, one of the two.')
  if (samples.length < 2)
    throw new M4Error('INVALID_REQUEST', `A split needs two samples or more, got ${samples.length}.`)
  if (evalFraction !== undefined && !(evalFraction > 0 && evalFraction < 1))
    throw new M4Error('USAGE', `evalFraction must lie between 0 and 1, got ${evalFraction}.`, {
      hint: 'For example 0.1 for a tenth.',
    })
  if (evalFraction !== undefined)
    return Math.min(samples.length - 1, Math.max(1, Math.round(evalFraction * samples.length)))
  if (Number.isInteger(evalCount) && evalCount! > 0 && evalCount! < samples.length) return evalCount!
  throw new M4Error('USAGE', `evalCount must be a whole number from 1 to ${samples.length - 1}, got ${evalCount}.`)
}

/** Indices of all samples that occur more than once. */
function copiesIn(dataSet: DataSet): ReadonlySet<number> {
  const keyOf = sampleKeys(dataSet)
  const first = new Map<string, number>()
  const copies = new Set<number>()
  for (const [i, sample] of dataSet.samples.entries()) {
    const key = keyOf(sample)
    const before = first.get(key)
    if (before === undefined) first.set(key, i)
    else copies.add(before).add(i)
  }
  return copies
}

function stratifiedDraw(dataSet: DataSet, count: number, copies: ReadonlySet<number>, seed: number): readonly number[] {
  const all = strata(dataSet)
  const single = all.map((stratum) => stratum.filter((i) => !copies.has(i)))
  // Whatever is measured must have been seen: one sample of each label stays, a copy will do.
  const most = single.map((stratum, i) => Math.min(stratum.length, all[i]!.length - 1))
  const least = all.map(() => 0)
  return drawStrata(
    single,
    apportion(
      count,
      all.map(({ length }) => length),
      least,
      most,
    ),
    seed,
  )
}

/** Whole groups in a seeded order for as long as they bring the count nearer; one at least, one at least stays. */
function groupDraw(dataSet: DataSet, count: number, by: 'subject' | 'file', seed: number): readonly number[] {
  const groups = new Map<string, number[]>()
  for (const [i, sample] of dataSet.samples.entries()) {
    const group = groupOf(sample, by)
    if (group === undefined)
      throw new M4Error('INVALID_REQUEST', `keepTogether: ${placeOf(sample)} names no ${by}.`, {
        hint:
          by === 'subject'
            ? 'Give a column "subject", or a pathPattern with (?<subject>…).'
            : 'Leave keepTogether out.',
      })
    const members = groups.get(group)
    if (members) members.push(i)
    else groups.set(group, [i])
  }
  if (groups.size < 2)
    throw new M4Error('INVALID_REQUEST', `keepTogether: expected two or more of "${by}", got ${groups.size}.`, {
      hint: 'Leave keepTogether out, or add data.',
    })
  const held: number[] = []
  const order = shuffled([...groups.values()], randomSource(seed))
  for (const members of order.slice(0, -1))
    if (!held.length || Math.abs(held.length + members.length - count) < Math.abs(held.length - count))
      held.push(...members)
  return held
}

function groupOf(sample: Sample, by: 'subject' | 'file'): string | undefined {
  if (by === 'subject') return 'subject' in sample ? sample.subject : undefined
  return 'path' in sample ? sample.path : undefined
}

function reportCopies(dataSet: DataSet, copies: ReadonlySet<number>, findings: FindingList): void {
  if (!copies.size) return
  const [example] = copies
  findings.add(
    'duplicate-across-splits',
    `${copies.size} samples occur more than once (e.g. ${placeOf(dataSet.samples[example!]!)}): all of them are trained on, none is measured on.`,
  )
}

function reportSubjects(train: DataSet, evalSet: DataSet, findings: FindingList): void {
  const subjects = (set: DataSet) => new Set(set.samples.flatMap((sample) => groupOf(sample, 'subject') ?? []))
  const trained = subjects(train)
  const both = [...subjects(evalSet)].filter((subject) => trained.has(subject))
  if (both.length)
    findings.add(
      'subject-across-splits',
      `${both.length} subjects are on both sides (e.g. ${both[0]}): the score will not hold for new people. Use keepTogether "subject".`,
    )
}

/** One message a label that is measured on and never trained on. */
export function unseenLabels(train: DataSet, evalSet: DataSet): readonly string[] {
  const seen = new Set(train.samples.map(labelOf))
  const unseen = new Set(evalSet.samples.map(labelOf).filter((label) => label !== undefined && !seen.has(label)))
  return [...unseen].map((label) => `The label "${label}" is measured on and never trained on.`)
}

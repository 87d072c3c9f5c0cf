/** Drawing a part of a set so that every label keeps its share. */

import { sha256Hex } from '../../core/hash.js'
import { randomSource } from '../../core/random.js'
import { labelOf } from './keys.js'
import type { DataSet } from './samples.js'

/** Indices of the samples of each label, in the order of `labels`; one stratum for kinds without labels. */
export function strata({ samples, labels }: DataSet): readonly (readonly number[])[] {
  const byLabel = new Map<string | undefined, number[]>(labels.map((label) => [label, []]))
  for (const [i, sample] of samples.entries()) {
    const label = labelOf(sample)
    const stratum = byLabel.get(label)
    if (stratum) stratum.push(i)
    else byLabel.set(label, [i])
  }
  return [...byLabel.values()].filter((stratum) => stratum.length > 0)
}

/**
 * How many of each stratum make `total` in proportion to `sizes`: largest remainders (Hamilton's method), each within
 * [least, most]. The sum is `total` wherever the bounds allow it.
 */
export function apportion(
  total: number,
  sizes: readonly number[],
  least: readonly number[],
  most: readonly number[],
): readonly number[] {
  const all = sizes.reduce((sum, size) => sum + size, 0)
  const shares = sizes.map((size) => (all ? (total * size) / all : 0))
  const counts = shares.map((share, i) => Math.min(most[i]!, Math.max(least[i]!, Math.floor(share))))
  for (let missing = total - counts.reduce((sum, count) => sum + count, 0); missing !== 0; ) {
    const step = Math.sign(missing)
    let best = -1
    for (const [i, count] of counts.entries()) {
      if (step > 0 ? count >= most[i]! : count <= least[i]!) continue
      if (best < 0 || step * (shares[i]! - count) > step * (shares[best]! - counts[best]!)) best = i
    }
    if (best < 0) break
    counts[best]! += step
    missing -= step
  }
  return counts
}

/** Fisher–Yates (Durstenfeld's form), on a copy. */
export function shuffled<T>(values: readonly T[], uniform: () => number): T[] {
  const out = [...values]
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1))
    ;[out[i], out[j]] = [out[j]!, out[i]!]
  }
  return out
}

/** The first `counts[i]` of each stratum in a seeded order: a larger draw of the same seed holds the smaller one's. */
export function drawStrata(
  from: readonly (readonly number[])[],
  counts: readonly number[],
  seed: number,
): readonly number[] {
  const uniform = randomSource(seed)
  return from.flatMap((stratum, i) => shuffled(stratum, uniform).slice(0, counts[i]))
}

/** A set of some samples of another, in their old order; its digest says which. Labels stay whole, so that ids agree. */
export function subset(dataSet: DataSet, indices: Iterable<number>, findings = dataSet.findings): DataSet {
  const order = [...indices].sort((a, b) => a - b)
  return {
    ...dataSet,
    samples: order.map((i) => dataSet.samples[i]!),
    digest: sha256Hex(`m4fm subset 1\n${dataSet.digest}\n${order.join(',')}\n`),
    findings,
  }
}

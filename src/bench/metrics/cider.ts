/**
 * CIDEr-D: cosine of tf-idf n-gram vectors, clipped to the reference, with a penalty for another length; 0–10.
 *
 * @paper arXiv:1411.5726 · @reference tylin/coco-caption@3a9afb2 pyciderevalcap/ciderD
 */

import type { Segment } from './bleu.js'
import { countNgrams, mean, splitWords } from './words.js'

const ORDERS = [1, 2, 3, 4] as const
const SIGMA = 6

interface Weighted {
  /** n-gram → tf · idf, one map an order. */
  readonly vectors: readonly ReadonlyMap<string, number>[]
  readonly norms: readonly number[]
  /** Number of 2-grams: what the reference implementation takes for the length. */
  readonly length: number
}

export interface CiderScore {
  readonly score: number
  readonly perSegment: readonly number[]
}

/** Document frequencies come from the references given here: scores of different sets do not compare. */
export function cider(segments: readonly Segment[]): CiderScore {
  const references = segments.map((segment) => segment.references.map(ngramsOf))
  const frequency = new Map<string, number>()
  for (const each of references)
    for (const ngram of new Set(each.flatMap((orders) => orders.flatMap((counts) => [...counts.keys()]))))
      frequency.set(ngram, (frequency.get(ngram) ?? 0) + 1)
  const documents = Math.log(segments.length)
  const weigh = (orders: readonly Map<string, number>[]): Weighted => {
    const vectors = orders.map(
      (counts) =>
        new Map(
          [...counts].map(([ngram, count]) => [
            ngram,
            count * (documents - Math.log(Math.max(1, frequency.get(ngram) ?? 0))),
          ]),
        ),
    )
    const norms = vectors.map((vector) => Math.hypot(...vector.values()))
    return { vectors, norms, length: [...orders[1]!.values()].reduce((sum, count) => sum + count, 0) }
  }
  const perSegment = segments.map(({ hypothesis }, i) => {
    const candidate = weigh(ngramsOf(hypothesis))
    return 10 * mean(references[i]!.map((reference) => similarity(candidate, weigh(reference))))
  })
  return { score: mean(perSegment), perSegment }
}

const ngramsOf = (text: string) => {
  const words = splitWords(text)
  return ORDERS.map((order) => countNgrams(words, order))
}

function similarity(candidate: Weighted, reference: Weighted): number {
  const penalty = Math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA ** 2))
  const values = ORDERS.map((_, n) => {
    let dot = 0
    for (const [ngram, weight] of candidate.vectors[n]!) {
      const other = reference.vectors[n]!.get(ngram) ?? 0
      dot += Math.min(weight, other) * other
    }
    const norms = candidate.norms[n]! * reference.norms[n]!
    return penalty * (norms > 0 ? dot / norms : dot)
  })
  return mean(values)
}

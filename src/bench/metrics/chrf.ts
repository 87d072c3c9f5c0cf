/**
 * chrF: F-score of character n-grams, corpus level, each hypothesis against its best reference (sacreBLEU, orders 1 to 6, no words).
 *
 * @paper Popović 2015 (W15-3049) · @reference mjpost/sacrebleu@f615c72
 */

import type { Segment } from './bleu.js'
import { countNgrams, overlap, splitWords } from './words.js'

/** Per order: n-grams of the hypothesis, of the reference, of both. */
type Counts = readonly { readonly hypothesis: number; readonly reference: number; readonly both: number }[]

/** 0–100. `beta` 2 weighs recall four times. */
export function chrF(segments: readonly Segment[], { order = 6, beta = 2 } = {}): number {
  const best = segments.map(({ hypothesis, references }) => {
    const scored = references.map((reference) => {
      const counts = compare(hypothesis, reference, order)
      return { counts, score: fScore(counts, beta) }
    })
    return scored.reduce((top, each) => (each.score > top.score ? each : top)).counts
  })
  const sums = Array.from({ length: order }, (_, n) => ({
    hypothesis: best.reduce((sum, counts) => sum + counts[n]!.hypothesis, 0),
    reference: best.reduce((sum, counts) => sum + counts[n]!.reference, 0),
    both: best.reduce((sum, counts) => sum + counts[n]!.both, 0),
  }))
  return fScore(sums, beta)
}

function compare(hypothesis: string, reference: string, order: number): Counts {
  const [a, b] = [hypothesis, reference].map((text) => [...splitWords(text).join('')]) as [string[], string[]]
  return Array.from({ length: order }, (_, n) => {
    const length = (characters: readonly string[]) => Math.max(characters.length - n, 0)
    return {
      // Without a reference n-gram of this order there is nothing to be wrong about.
      hypothesis: length(b) > 0 ? length(a) : 0,
      reference: length(b),
      both: overlap(countNgrams(a, n + 1), countNgrams(b, n + 1)),
    }
  })
}

/** F of the mean precision and the mean recall over the orders that both sides have. */
function fScore(counts: Counts, beta: number): number {
  const used = counts.filter(({ hypothesis, reference }) => hypothesis > 0 && reference > 0)
  if (!used.length) return 0
  const precision = used.reduce((sum, { both, hypothesis }) => sum + both / hypothesis, 0) / used.length
  const recall = used.reduce((sum, { both, reference }) => sum + both / reference, 0) / used.length
  const factor = beta ** 2
  return precision + recall > 0 ? (100 * (1 + factor) * precision * recall) / (factor * precision + recall) : 0
}

/**
 * ROUGE: overlap of n-grams and longest common subsequences.
 *
 * @paper Lin 2004 (W04-1013) · @reference tylin/coco-caption@3a9afb2 (`cocoRougeL`)
 */

import { countNgrams, harmonic, overlap, splitWords } from './words.js'

/** ROUGE-n as F1 over white-space tokens, case counts. 0–1 */
export function rougeN(hypothesis: string, reference: string, order: number): number {
  const [a, b] = [splitWords(hypothesis), splitWords(reference)]
  const both = overlap(countNgrams(a, order), countNgrams(b, order))
  return harmonic(ratio(both, a.length - order + 1), ratio(both, b.length - order + 1))
}

/** ROUGE-L as F1 over white-space tokens. 0–1 */
export function rougeL(hypothesis: string, reference: string): number {
  const [a, b] = [splitWords(hypothesis), splitWords(reference)]
  const both = longestCommon(a, b)
  return harmonic(ratio(both, a.length), ratio(both, b.length))
}

/** coco-caption's ROUGE-L: best precision and best recall over the references, recall weighs `beta`² times; split at single spaces. */
export function cocoRougeL(hypothesis: string, references: readonly string[], beta = 1.2): number {
  const a = hypothesis.split(' ')
  const scored = references.map((reference) => {
    const b = reference.split(' ')
    const both = longestCommon(a, b)
    return { precision: both / a.length, recall: both / b.length }
  })
  const precision = Math.max(...scored.map((score) => score.precision))
  const recall = Math.max(...scored.map((score) => score.recall))
  return precision > 0 && recall > 0 ? ((1 + beta ** 2) * precision * recall) / (recall + beta ** 2 * precision) : 0
}

const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : 0)

/** Length of the longest common subsequence. */
function longestCommon(a: readonly string[], b: readonly string[]): number {
  let row = new Uint32Array(b.length + 1)
  for (const word of a) {
    const next = new Uint32Array(b.length + 1)
    for (let j = 0; j < b.length; j++) next[j + 1] = word === b[j] ? row[j]! + 1 : Math.max(row[j + 1]!, next[j]!)
    row = next
  }
  return row[b.length]!
}

/**
 * BLEU as three public tools count it. All take several references a hypothesis and clip to the most generous one.
 *
 *   bleu        sacreBLEU: 0–100, exponential smoothing, mteval-13a tokens
 *   nltkBleu    NLTK: 0–1, white-space tokens, unsmoothed or 0.1 for what does not match (method 1)
 *   cocoBleu    coco-caption: 0–1 for each order up to 4, white-space tokens
 *
 * @paper Papineni et al. 2002 (ACL P02-1040), Post 2018 (arXiv:1804.08771)
 * @reference mjpost/sacrebleu@f615c72, nltk 3.8, tylin/coco-caption@3a9afb2
 */

import { countNgrams, largestCounts, overlap, splitWords } from './words.js'

export interface Segment {
  readonly hypothesis: string
  readonly references: readonly string[]
}

export interface BleuOptions {
  /** Default `13a`. */
  readonly tokens?: '13a' | 'none'
  readonly lowercase?: boolean
  /** Longest n-gram, default 4. */
  readonly order?: number
  /** Orders that the hypothesis is too short for do not count: for single sentences. */
  readonly effectiveOrder?: boolean
}

export interface BleuScore {
  /** 0–100 */
  readonly score: number
  /** Per order, 0–100, smoothed where nothing matches. */
  readonly precisions: readonly number[]
  readonly brevityPenalty: number
  readonly hypothesisLength: number
  readonly referenceLength: number
  readonly counts: readonly number[]
  readonly totals: readonly number[]
}

/** The tokens of mteval-v13a, separated by single spaces. */
export function tokenize13a(text: string): string {
  let line = text.replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' ')
  for (const [entity, sign] of ENTITIES) line = line.replaceAll(entity, sign)
  line = ` ${line} `
  for (const [pattern, replacement] of RULES_13A) line = line.replace(pattern, replacement)
  return splitWords(line).join(' ')
}

const ENTITIES = [
  ['&quot;', '"'],
  ['&amp;', '&'],
  ['&lt;', '<'],
  ['&gt;', '>'],
] as const

const RULES_13A: readonly (readonly [RegExp, string])[] = [
  [/([{-~[-` -&(-+:-@/])/g, ' $1 '],
  // A period or comma is a token of its own unless digits stand on both sides.
  [/([^0-9])([.,])/gu, '$1 $2 '],
  [/([.,])([^0-9])/gu, ' $1 $2'],
  [/([0-9])(-)/g, '$1 $2 '],
]

/** Over a whole set: counts are summed first. A single sentence is a set of one. */
export function bleu(segments: readonly Segment[], options: BleuOptions = {}): BleuScore {
  const { tokens = '13a', lowercase = false, order = 4, effectiveOrder = false } = options
  const words = (text: string) => {
    const line = lowercase ? text.trimEnd().toLowerCase() : text.trimEnd()
    return splitWords(tokens === '13a' ? tokenize13a(line) : line)
  }
  const sums = sumSegments(segments, words, order)
  const { counts, totals, hypothesisLength, referenceLength } = sums
  const brevityPenalty = brevity(hypothesisLength, referenceLength)
  const precisions = new Array<number>(order).fill(0)
  let used = order
  if (counts.some((count) => count > 0)) {
    let smoothing = 1
    for (let n = 0; n < order && totals[n]! > 0; n++) {
      if (effectiveOrder) used = n + 1
      if (counts[n] === 0) smoothing *= 2
      precisions[n] = (100 * (counts[n] || 1 / smoothing)) / totals[n]!
    }
  }
  const logs = precisions.slice(0, used).reduce((sum, precision) => sum + Math.log(precision), 0)
  return { ...sums, precisions, brevityPenalty, score: brevityPenalty * Math.exp(logs / used) }
}

/** NLTK's `corpus_bleu` over white-space tokens, 0–1. `method1` gives orders without a match a count of 0.1. */
export function nltkBleu(segments: readonly Segment[], smoothing: 'none' | 'method1' = 'none'): number {
  const order = 4
  const { counts, totals, hypothesisLength, referenceLength } = sumSegments(segments, splitWords, order, 1)
  if (counts[0] === 0) return 0
  // Without smoothing Python's smallest normal number stands for no match.
  const nothing = (n: number) => (smoothing === 'method1' ? 0.1 / totals[n]! : 2.2250738585072014e-308)
  const logs = counts.map((count, n) => Math.log(count > 0 ? count / totals[n]! : nothing(n)) / order)
  return brevity(hypothesisLength, referenceLength) * Math.exp(logs.reduce((sum, log) => sum + log, 0))
}

/** coco-caption's BLEU-1 to BLEU-4, 0–1. */
export function cocoBleu(segments: readonly Segment[], order = 4): number[] {
  const [small, tiny] = [1e-9, 1e-15]
  const { counts, totals, hypothesisLength, referenceLength } = sumSegments(segments, splitWords, order)
  const ratio = (hypothesisLength + tiny) / (referenceLength + small)
  const penalty = ratio < 1 ? Math.exp(1 - 1 / ratio) : 1
  let product = 1
  return counts.map((count, n) => {
    product *= (count + tiny) / (totals[n]! + small)
    return product ** (1 / (n + 1)) * penalty
  })
}

const brevity = (hypothesis: number, reference: number) =>
  hypothesis >= reference ? 1 : hypothesis > 0 ? Math.exp(1 - reference / hypothesis) : 0

interface Sums {
  readonly counts: readonly number[]
  readonly totals: readonly number[]
  readonly hypothesisLength: number
  readonly referenceLength: number
}

/** @param leastTotal what a segment too short for an order adds to its total */
function sumSegments(
  segments: readonly Segment[],
  words: (text: string) => string[],
  order: number,
  leastTotal = 0,
): Sums {
  const counts = new Array<number>(order).fill(0)
  const totals = new Array<number>(order).fill(0)
  let [hypothesisLength, referenceLength] = [0, 0]
  for (const { hypothesis, references } of segments) {
    const got = words(hypothesis)
    const wanted = references.map(words)
    hypothesisLength += got.length
    referenceLength += closestLength(
      got.length,
      wanted.map(({ length }) => length),
    )
    for (let n = 1; n <= order; n++) {
      counts[n - 1]! += overlap(countNgrams(got, n), largestCounts(wanted.map((each) => countNgrams(each, n))))
      totals[n - 1]! += Math.max(got.length - n + 1, leastTotal)
    }
  }
  return { counts, totals, hypothesisLength, referenceLength }
}

/** The reference length nearest to the hypothesis's; of two equally near ones the shorter. */
function closestLength(length: number, references: readonly number[]): number {
  const distance = (reference: number) => Math.abs(reference - length)
  return references.reduce(
    (best, each) =>
      distance(each) < distance(best) || (distance(each) === distance(best) && each < best) ? each : best,
    references[0] ?? 0,
  )
}

/** Word error rates of sentence pairs against the reference's, in percent. Only totals are compared: their split is ambiguous. */

import { characterErrorRate, type ErrorRate, sumErrorRates, wordErrorRate } from '../bench/metrics/index.js'
import { M4Error } from '../core/errors.js'
import { readJsonFile } from './case.js'
import { countReport } from './compare.js'
import type { Runner } from './types.js'

interface Pair {
  readonly reference: string
  readonly hypothesis: string
  readonly insertions: number
  readonly deletions: number
  readonly substitutions: number
  readonly numRef: number
  readonly wer: number | null
  readonly cer: number | null
}

interface WordErrorCases {
  readonly pairs: readonly Pair[]
  readonly corpusWer: number
  readonly errors: number
  readonly numRef: number
}

const TOLERANCE = 1e-6

export const runWordErrorRate: Runner = async ({ parityCase }) => {
  const path = parityCase.path('cases.json')
  const cases = readJsonFile(path) as WordErrorCases
  if (!Array.isArray(cases?.pairs)) throw new M4Error('FORMAT_INVALID', `${path}: expected {pairs, corpusWer, …}.`)
  const rates = cases.pairs.map(({ reference, hypothesis }) => wordErrorRate(reference, hypothesis))
  const corpus = sumErrorRates(rates)
  const wrongPairs = cases.pairs.flatMap((pair, i) => {
    const errors = pair.insertions + pair.deletions + pair.substitutions
    const words = rates[i]!
    const letters = characterErrorRate(pair.reference, pair.hypothesis)
    const right =
      words.errors === errors &&
      words.referenceLength === pair.numRef &&
      agrees(words, pair.wer) &&
      agrees(letters, pair.cer)
    return right ? [] : [JSON.stringify({ ...pair, got: words })]
  })
  const corpusRight =
    corpus.errors === cases.errors && corpus.referenceLength === cases.numRef && agrees(corpus, cases.corpusWer)
  return {
    checks: [
      countReport('pairs', wrongPairs),
      countReport('corpus', corpusRight ? [] : [`expected ${cases.corpusWer} %, got ${JSON.stringify(corpus)}`]),
    ],
  }
}

const agrees = ({ rate }: ErrorRate, percent: number | null | undefined) =>
  percent === undefined ||
  (percent === null || rate === null ? percent === rate : Math.abs(100 * rate - percent) <= TOLERANCE)

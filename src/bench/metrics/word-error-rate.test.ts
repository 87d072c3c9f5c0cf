/** Error rates against speechbrain's. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { characterErrorRate, sumErrorRates, wordErrorRate } from './word-error-rate.js'

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
const golden: { pairs: Pair[]; corpusWer: number; errors: number; numRef: number } = JSON.parse(
  readFileSync(new URL('../../../test/goldens/metric-wer/cases.json', import.meta.url), 'utf8'),
)

const percent = (rate: number | null) => (rate === null ? null : rate * 100)
const near = (expected: number | null) => (expected === null ? null : expect.closeTo(expected, 6))

test('every pair, and the corpus', () => {
  expect(golden.pairs.length).toBeGreaterThan(10)
  for (const pair of golden.pairs) {
    const { errors, referenceLength, rate } = wordErrorRate(pair.reference, pair.hypothesis)
    expect(errors).toBe(pair.insertions + pair.deletions + pair.substitutions)
    expect(referenceLength).toBe(pair.numRef)
    expect(percent(rate)).toEqual(near(pair.wer))
    expect(percent(characterErrorRate(pair.reference, pair.hypothesis).rate), pair.reference).toEqual(near(pair.cer))
  }
  const rates = golden.pairs.map(({ reference, hypothesis }) => wordErrorRate(reference, hypothesis))
  const corpus = sumErrorRates(rates)
  expect(corpus).toMatchObject({ errors: golden.errors, referenceLength: golden.numRef })
  expect(percent(corpus.rate)).toBeCloseTo(golden.corpusWer, 6)
})

test('the parts add up: length of the hypothesis = reference - deletions + insertions', () => {
  for (const { reference, hypothesis } of golden.pairs) {
    const { insertions, deletions, referenceLength } = wordErrorRate(reference, hypothesis)
    expect(referenceLength - deletions + insertions).toBe(hypothesis.split(/\s+/).filter(Boolean).length)
  }
})

test('more words than the reference: above 1; white space alone does not count', () => {
  expect(wordErrorRate('a', 'b c d').rate).toBe(3)
  expect(wordErrorRate(' a  b\n', 'a b').errors).toBe(0)
  expect(sumErrorRates([]).rate).toBeNull()
})

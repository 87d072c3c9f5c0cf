/** How well words are read by their letters: phoneme error rate and whole words, against every pronunciation of the dictionary. */

import type { Dictionary } from '../../tokenizers/index.js'

export interface LetterScore {
  readonly words: number
  /** Errors over phonemes of the closest pronunciation, stress left out. */
  readonly phonemeErrorRate: number
  /** Share of words that are one of their pronunciations, stress left out. */
  readonly wordAccuracy: number
  /** The same with stress. */
  readonly phonemeErrorRateWithStress: number
  readonly wordAccuracyWithStress: number
}

export type ReadWord = (word: string) => Promise<string>

export async function scoreReader(
  read: ReadWord,
  words: readonly string[],
  dictionary: Dictionary,
): Promise<LetterScore> {
  const sums = { plain: { errors: 0, phones: 0, right: 0 }, stressed: { errors: 0, phones: 0, right: 0 } }
  const plain = (phones: readonly string[]) => phones.map((phone) => phone.replace(/\d/, ''))
  for (const word of words) {
    const said = (await read(word)).split(' ')
    const known = dictionary.pronunciations(word).map((arpabet) => arpabet.split(' '))
    for (const [kind, form] of [
      ['plain', plain],
      ['stressed', (phones: readonly string[]) => phones],
    ] as const) {
      const [errors, phones] = closest(form(said), known.map(form))
      sums[kind].errors += errors
      sums[kind].phones += phones
      if (errors === 0) sums[kind].right++
    }
  }
  return {
    words: words.length,
    phonemeErrorRate: sums.plain.errors / sums.plain.phones,
    wordAccuracy: sums.plain.right / words.length,
    phonemeErrorRateWithStress: sums.stressed.errors / sums.stressed.phones,
    wordAccuracyWithStress: sums.stressed.right / words.length,
  }
}

/** Errors against the pronunciation with the fewest, and its length. */
function closest(said: readonly string[], known: readonly (readonly string[])[]): readonly [number, number] {
  return known
    .map((phones) => [editDistance(phones, said), phones.length] as const)
    .reduce((best, each) => (each[0] < best[0] ? each : best))
}

function editDistance(a: readonly string[], b: readonly string[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, x] of a.entries()) {
    const next = [i + 1]
    for (const [j, y] of b.entries()) next.push(Math.min(row[j]! + (x === y ? 0 : 1), row[j + 1]! + 1, next[j]! + 1))
    row = next
  }
  return row.at(-1)!
}

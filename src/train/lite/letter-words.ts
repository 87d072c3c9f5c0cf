/** CMUdict as samples of the letter-to-sound model: words with one class a letter, and words held out. */

import { randomSource } from '../../core/random.js'
import { ARPABET, type Dictionary, LETTER_COUNT, letterIds } from '../../tokenizers/index.js'
import { alignSpellings } from './letter-alignment.js'

export interface LetterSample {
  readonly word: string
  /** [T] */
  readonly letters: readonly number[]
  /** Classes, [T]. */
  readonly sounds: readonly number[]
}

export interface LetterWords {
  /** ARPAbet of each class with stress, '' for a silent letter. */
  readonly sounds: readonly string[]
  readonly train: readonly LetterSample[]
  /** For the looks at the loss during training. */
  readonly look: readonly LetterSample[]
  /** Seen by nothing before the last measurement. */
  readonly test: readonly string[]
}

export interface LetterWordsOptions {
  readonly seed: number
  readonly longest: number
  /** Classes that fewer words need are left out with their words. Default 20. */
  readonly leastWords?: number
  /** Only so many words, for a quick run. */
  readonly limit?: number
}

/** Per cent of the stems. */
const TEST = 5
const LOOK = 1

/** Words of letters only, each with its first pronunciation; those of one stem are all on one side. */
export function letterWords(dictionary: Dictionary, options: LetterWordsOptions): LetterWords {
  const { seed, longest, leastWords = 20, limit = Number.POSITIVE_INFINITY } = options
  const all = [...new Map([...dictionary.entries()].reverse())] // the first of several pronunciations stays
    .reverse()
    .filter(([word]) => /^[a-z][a-z']*$/.test(word) && word.length <= longest)
    .filter((_, i) => i % Math.max(1, Math.floor(dictionary.size / limit)) === 0)
  const test: string[] = []
  const aligned: Aligned[] = []
  for (const [word, arpabet] of all) {
    const percent = percentOf(stemOf(word), seed)
    if (percent < TEST) test.push(word)
    else aligned.push({ word, phones: arpabet.split(' '), side: percent < TEST + LOOK ? 'look' : 'train' })
  }
  const places = new Map(ARPABET.map((phone, i) => [phone, i]))
  const cuts = alignSpellings(
    aligned.map(({ word, phones }) => ({
      letters: letterIds(word),
      phones: phones.map((phone) => places.get(phone.replace(/\d/, ''))!),
    })),
    LETTER_COUNT,
    ARPABET.length,
  )
  const pieces = cuts.map((cut, i) => cut && piecesOf(aligned[i]!.phones, cut))
  const sounds = frequentSounds(pieces, leastWords)
  const classOf = new Map(sounds.map((sound, i) => [sound, i]))
  const samples = { train: [] as LetterSample[], look: [] as LetterSample[] }
  for (const [i, cut] of pieces.entries()) {
    if (!cut?.every((piece) => classOf.has(piece))) continue
    const { word, side } = aligned[i]!
    samples[side].push({ word, letters: letterIds(word), sounds: cut.map((piece) => classOf.get(piece)!) })
  }
  return { sounds, ...samples, test }
}

interface Aligned {
  readonly word: string
  readonly phones: readonly string[]
  readonly side: 'train' | 'look'
}

function piecesOf(phones: readonly string[], cut: readonly number[]): string[] {
  let from = 0
  return cut.map((length) => {
    from += length
    return phones.slice(from - length, from).join(' ')
  })
}

/** Sorted, so that the numbers of classes depend on the words alone. */
function frequentSounds(pieces: readonly (readonly string[] | undefined)[], least: number): string[] {
  const counts = new Map<string, number>()
  for (const piece of pieces.flatMap((cut) => cut ?? [])) counts.set(piece, (counts.get(piece) ?? 0) + 1)
  return [...counts].flatMap(([sound, count]) => (count >= least ? [sound] : [])).sort()
}

/** What inflected forms share, roughly: `abandons`, `abandoned` and `abandon's` must not be on two sides. */
const stemOf = (word: string): string => {
  const plain = word.replace(/'s?$/, '').replace(/(?:s|es|ed|er|ers|ing|ings|ly|ness)$/, '')
  return plain.length >= 3 ? plain.replace(/(.)\1$/, '$1').replace(/[ei]$/, '') : word
}

/** 0 to 99, by FNV-1a of the stem. */
function percentOf(stem: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < stem.length; i++) hash = Math.imul(hash ^ stem.charCodeAt(i), 0x01000193) >>> 0
  return Math.floor(randomSource(hash)() * 100)
}

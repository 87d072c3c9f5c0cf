/**
 * Words that no dictionary knows, by their letters. `LetterToSound` is what a trained model implements, too; the one here are rules:
 * `LETTER_RULES` for the phonemes, then the stressed syllable from the ending and the weight of the last but one, then the schwa.
 */

import { isVowel } from './arpabet.js'
import { LETTER_RULES } from './letter-rules.js'

/** @param word of letters a–z and apostrophes, lower case @returns ARPAbet with stress, not empty for a word with a letter */
export type LetterToSound = (word: string) => string

interface CompiledRule {
  readonly pattern: RegExp
  readonly phones: readonly string[]
}

/** Vowel and consonant letters in contexts. y is neither: the rows name it. */
const context = (text: string): string => text.replace(/(?<!\\)V/g, '[aeiouy]').replace(/C/g, '[b-df-hj-np-tv-xz]')

const COMPILED = new Map<string, CompiledRule[]>()
for (const [before, letters, behind, phones] of LETTER_RULES) {
  const rule = {
    pattern: new RegExp(`(?<=${context(before)})${letters}(?=${context(behind)})`, 'y'),
    phones: phones.split(' ').filter((phone) => phone !== ''),
  }
  COMPILED.set(letters[0]!, [...(COMPILED.get(letters[0]!) ?? []), rule])
}

/** By rules, in time linear in the word. */
export const letterToSound: LetterToSound = (word) => {
  const letters = word.toLowerCase().replace(/[^a-z]/g, '')
  const phones = unstressedPhones(letters)
  if (phones.length === 0) return letters === '' ? '' : 'AH0'
  return withStress(letters, phones).join(' ')
}

function unstressedPhones(letters: string): string[] {
  const phones: string[] = []
  for (let at = 0; at < letters.length; ) {
    const rules = COMPILED.get(letters[at]!) ?? []
    const fit = rules.find(({ pattern }) => {
      pattern.lastIndex = at
      return pattern.test(letters)
    })
    if (!fit) {
      at++
      continue
    }
    at = fit.pattern.lastIndex
    phones.push(...fit.phones)
  }
  return phones
}

/** Ending → which vowel from the end has the stress, 0 the last. */
const STRESSING: readonly (readonly [ending: RegExp, vowelFromEnd: number])[] = [
  [/(?:[tsc]ion|cian|[tc]ious|[tc]ial)s?$/, 1],
  [/(?:ic|ics|ish)$/, 1],
  [/(?:ical|ity|ify|ian|ial|ious|eous|ium|ogy|omy|aphy|etry|ia|io)s?$/, 2],
  [/(?:ate|ize|ise|ary|ism)s?$/, 2],
  [/(?:ee|eer|ese|ette|esque|ique|oon|aire)s?$/, 0],
]
/** Latin prefixes of two-syllable verbs and adjectives. */
const UNSTRESSED_PREFIX =
  /^(?:a(?=[bdf-hj-np-t])|be|com|con|de|dis|em|en|ex|for|im|in|pre|pro|re|sub|sur|trans|un)[b-df-hj-np-tv-z]/
/** Full vowels: a syllable with one is heavy, and it is not reduced. */
const LONG = new Set(['AO', 'AW', 'AY', 'EY', 'IY', 'OW', 'OY', 'UW'])

/** Vowels that a last syllable does not weaken. */
const FULL = new Set(['AW', 'AY', 'EY', 'OW', 'OY'])

function withStress(letters: string, phones: readonly string[]): string[] {
  const vowels = phones.flatMap((phone, at) => (isVowel(phone) ? [at] : []))
  const main = vowels[stressed(letters, phones, vowels)]
  return phones.map((phone, at) => {
    if (!isVowel(phone)) return phone
    if (at === main) return `${phone === 'AH' && phones[at + 1] === 'R' ? 'AA' : phone}1`
    return hasSecondary(phone, at, phones, vowels, main!) ? `${phone}2` : reduced(phone, at, phones, vowels)
  })
}

function stressed(letters: string, phones: readonly string[], vowels: readonly number[]): number {
  const count = vowels.length
  if (count < 2) return 0
  const rule = STRESSING.find(([ending]) => ending.test(letters))
  if (rule) return Math.max(0, count - 1 - rule[1])
  if (count === 2)
    return UNSTRESSED_PREFIX.test(letters) && !/(?:er|en|y|ing|le|ed|es|o|a|on|ley|man|ton)$/.test(letters) ? 1 : 0
  // Names from the south of Europe, and Latin: the last but one where it is heavy or the word ends in a vowel.
  if (/[aoi]$/.test(letters)) return count - 2
  const last = vowels[count - 2]!
  const isHeavy = LONG.has(phones[last]!) || vowels[count - 1]! - last > 2
  if (isHeavy && !/(?:er|ing|ed|ly|ness|man|son|ton|berg|field|land)s?$/.test(letters)) return count - 2
  return Math.max(0, count - 3)
}

/** Secondary stress: two or more syllables before the main one, and the long vowel of a closed last syllable behind it. */
function hasSecondary(
  phone: string,
  at: number,
  phones: readonly string[],
  vowels: readonly number[],
  main: number,
): boolean {
  if (at === vowels[0] && vowels.indexOf(main) >= 2) return phone !== 'IH' && phone !== 'ER'
  return at === vowels.at(-1) && at < phones.length - 1 && FULL.has(phone)
}

/** Short vowels without stress become a schwa; not at the beginning of a word, and not e and i before a single consonant group. */
function reduced(phone: string, at: number, phones: readonly string[], vowels: readonly number[]): string {
  if (phone === 'ER' || phone === 'IH' || LONG.has(phone)) return `${phone}0`
  if (at === 0) {
    // Open: about, America; closed: absurd.
    const isOpen = vowels[1] === 2 || /^[LR]$/.test(phones[2] ?? '')
    return phone === 'AE' && isOpen ? 'AH0' : phone === 'EH' ? 'IH0' : `${phone}0`
  }
  if (phone === 'AA' && phones[at + 1] === 'R') return 'AA0'
  return 'AH0'
}

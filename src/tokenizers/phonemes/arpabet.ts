/**
 * ARPAbet, as CMUdict writes it, → the American English alphabet of Kokoro. Stress 1 and 2 become ˈ and ˌ right before the vowel,
 * not before the syllable: that is where Kokoro's training texts have them.
 *
 * @reference the alphabet and where its dictionary writes ᵊ and the flap: hexgrad/misaki:misaki/data/us_gold.json
 */

import { M4Error } from '../../core/errors.js'

/** Vowel → its symbol when stressed, when not. */
const VOWELS: Readonly<Record<string, readonly [stressed: string, unstressed: string]>> = {
  AA: ['ɑ', 'ɑ'],
  AE: ['æ', 'æ'],
  AH: ['ʌ', 'ə'],
  AO: ['ɔ', 'ɔ'],
  AW: ['W', 'W'],
  AY: ['I', 'I'],
  EH: ['ɛ', 'ɛ'],
  ER: ['ɜɹ', 'əɹ'],
  EY: ['A', 'A'],
  IH: ['ɪ', 'ɪ'],
  IY: ['i', 'i'],
  OW: ['O', 'O'],
  OY: ['Y', 'Y'],
  UH: ['ʊ', 'ʊ'],
  UW: ['u', 'u'],
}

const CONSONANTS: Readonly<Record<string, string>> = {
  B: 'b',
  CH: 'ʧ',
  D: 'd',
  DH: 'ð',
  F: 'f',
  G: 'ɡ',
  HH: 'h',
  JH: 'ʤ',
  K: 'k',
  L: 'l',
  M: 'm',
  N: 'n',
  NG: 'ŋ',
  P: 'p',
  R: 'ɹ',
  S: 's',
  SH: 'ʃ',
  T: 't',
  TH: 'θ',
  V: 'v',
  W: 'w',
  Y: 'j',
  Z: 'z',
  ZH: 'ʒ',
}

const STRESS_MARKS = ['', 'ˈ', 'ˌ']

/** The 39 phonemes, vowels without stress. */
export const ARPABET: readonly string[] = [...Object.keys(VOWELS), ...Object.keys(CONSONANTS)].sort()

export const isVowel = (phone: string): boolean => Object.hasOwn(VOWELS, phone.slice(0, 2))

/** First symbol of a word that begins with a vowel, stress mark or not. */
export const startsWithVowel = (phonemes: string): boolean => /^[ˈˌ]?[AIOWYiuæɐɑɔəɛɜɪʊʌᵊᵻ]/.test(phonemes)

const SYLLABIC_BEFORE_N = new Set(['T', 'D', 'S', 'Z'])

/**
 * @param arpabet phonemes with a blank between, vowels with their stress: `HH AH0 L OW1`; a vowel without a digit has none
 * @returns symbols of `KOKORO_SYMBOLS`: `həlˈO`. A flapped t is `T`, as the voices of Kokoro 1.0 were trained.
 * @throws M4Error `FORMAT_INVALID`
 */
export function toPhonemes(arpabet: string): string {
  const phones = arpabet.split(' ').filter((phone) => phone !== '')
  return phones.map((phone, at) => symbolAt(phones, phone, at)).join('')
}

function symbolAt(phones: readonly string[], phone: string, at: number): string {
  if (phone === 'T' && isFlapped(phones, at)) return 'T'
  const consonant = CONSONANTS[phone]
  if (consonant !== undefined) return consonant
  const vowel = VOWELS[phone.slice(0, 2)]
  const stress = phone.length === 2 ? 0 : '012'.indexOf(phone[2]!)
  if (vowel === undefined || phone.length > 3 || stress < 0)
    throw new M4Error('FORMAT_INVALID', `Phoneme "${phone}" of "${phones.join(' ')}" is not ARPAbet.`, {
      hint: 'Vowels are two letters and a stress of 0, 1 or 2, consonants one or two letters.',
    })
  if (isSyllabic(phones, at)) return 'ᵊ'
  if (isEnding(phones, at)) return 'ᵻ'
  return STRESS_MARKS[stress]! + vowel[stress === 0 ? 1 : 0]
}

const unstressed = (phone: string | undefined): boolean =>
  phone !== undefined && isVowel(phone) && phone[2] !== '1' && phone[2] !== '2'

/** Schwa that l or n swallows: little, important. Not before a vowel: family. */
function isSyllabic(phones: readonly string[], at: number): boolean {
  if (phones[at] !== 'AH0') return false
  const [before, after, behind] = [phones[at - 1], phones[at + 1], phones[at + 2]]
  if (before === undefined || isVowel(before) || (behind !== undefined && isVowel(behind))) return false
  return (after === 'L' && before !== 'R' && before !== 'L') || (after === 'N' && SYLLABIC_BEFORE_N.has(before))
}

/** The vowel of -es and -ed behind a sibilant or a stop: boxes, wanted. Of stems, too: the sound is the same. */
function isEnding(phones: readonly string[], at: number): boolean {
  const before = phones[at - 1]
  const last = phones[at + 1]
  if (!/^[AI]H0$/.test(phones[at]!) || at !== phones.length - 2 || before === undefined) return false
  return last === 'D' ? before === 'T' || before === 'D' : last === 'Z' && /^(S|Z|SH|ZH|CH|JH)$/.test(before)
}

/** American t between a vowel (or r) and an unstressed vowel: city, party; not before a swallowed schwa: button. */
function isFlapped(phones: readonly string[], at: number): boolean {
  const before = phones[at - 1]
  return (
    before !== undefined &&
    (isVowel(before) || before === 'R') &&
    unstressed(phones[at + 1]) &&
    !(isSyllabic(phones, at + 1) && phones[at + 2] === 'N')
  )
}

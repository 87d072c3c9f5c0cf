/**
 * English text → phonemes for the Kokoro voice: spelt out (`normalise`), looked up (`readDictionary`), derived from known words
 * (`derive`), or read by letters (`letterToSound`); the symbols are those of `KOKORO_SYMBOLS`.
 */

import { startsWithVowel, toPhonemes } from './arpabet.js'
import { type Dictionary, readDictionary } from './dictionary.js'
import { FUNCTION_WORDS, NEVER_STRESSED, PREFERRED, spell } from './function-words.js'
import { heteronym } from './heteronyms.js'
import { derive, withS } from './inflections.js'
import { type LetterToSound, letterToSound } from './letter-to-sound.js'
import { normalise } from './normalise.js'
import { isPause } from './symbols.js'

export { ARPABET, toPhonemes } from './arpabet.js'
export { type Dictionary, readDictionary } from './dictionary.js'
export { decodeSounds, LETTER_COUNT, LONGEST_WORD, letterIds } from './letter-sounds.js'
export { type LetterToSound, letterToSound } from './letter-to-sound.js'
export { type NormaliseOptions, normalise } from './normalise.js'
export { KOKORO_SYMBOLS } from './symbols.js'

export interface PhonemiserOptions {
  /** For words that neither the dictionary nor its stems give. Default: the rules of `letterToSound`. */
  readonly letterToSound?: LetterToSound
  /** Words of the app: names, products. Lower case → ARPAbet with stress; they go before everything. */
  readonly lexicon?: Readonly<Record<string, string>>
}

/**
 * Text → symbols of `KOKORO_SYMBOLS` with blanks between words; empty for a text without a sound. Never throws.
 * @param guess instead of the phonemiser's own `letterToSound`, for this text
 */
export type Phonemise = (text: string, guess?: LetterToSound) => string

/**
 * @param dictionaryText in the format of CMUdict
 * @throws M4Error `FORMAT_INVALID` for a dictionary or a lexicon that is not ARPAbet
 */
export function phonemiser(dictionaryText: string, options: PhonemiserOptions = {}): Phonemise {
  const dictionary = readDictionary(dictionaryText)
  const { lexicon = {} } = options
  for (const arpabet of Object.values(lexicon)) toPhonemes(arpabet)
  const isWord = (word: string): boolean => Object.hasOwn(lexicon, word) || dictionary.lookup(word) !== undefined
  return (text, guess = options.letterToSound ?? letterToSound) =>
    sentence(normalise(text, { isWord }), wordReader(dictionary, lexicon, guess))
}

/** Words of a text that are read by their letters, each once: a model may read them before the text is said. */
export function guessedWords(phonemise: Phonemise, text: string): string[] {
  const words = new Set<string>()
  phonemise(text, (word) => {
    words.add(word)
    return ''
  })
  return [...words]
}

type SayWord = (word: string, before: string, behind: string) => string

function wordReader(dictionary: Dictionary, lexicon: Readonly<Record<string, string>>, guess: LetterToSound): SayWord {
  const lookup = (word: string): string | undefined =>
    (Object.hasOwn(lexicon, word) ? lexicon[word] : undefined) ??
    (Object.hasOwn(PREFERRED, word) ? PREFERRED[word] : undefined) ??
    dictionary.lookup(word)
  return (word, before, behind) => {
    const own = word.toLowerCase()
    if (Object.hasOwn(lexicon, own)) return lexicon[own]!
    if (/^[A-Z]/.test(word)) {
      const letters = spell(word.replace(/'s$/, ''))
      return word.endsWith("'s") ? withS(letters) : letters
    }
    return heteronym(word, before, behind) ?? lookup(word) ?? derive(word, lookup) ?? guess(word)
  }
}

const TOKEN = /[A-Za-z']+|[^A-Za-z']/g

/** From the end, since a weak form depends on the sound that follows. */
function sentence(spoken: string, sayWord: SayWord): string {
  const tokens = spoken.match(TOKEN) ?? []
  const neighbour = (at: number): string => (/^[A-Za-z']/.test(tokens[at] ?? '') ? tokens[at]!.toLowerCase() : '')
  let out = ''
  /** Phonemes of the word behind, empty before a pause. */
  let next = ''
  for (let at = tokens.length - 1; at >= 0; at--) {
    const token = tokens[at]!
    if (!/^[A-Za-z']/.test(token)) {
      if (isPause(token)) next = ''
      out = token + out
      continue
    }
    const stepBack = tokens[at - 1] === ' ' ? at - 2 : -1
    const stepOn = tokens[at + 1] === ' ' ? at + 2 : tokens.length
    const phonemes = weakForm(token, next) ?? full(token, next, sayWord(token, neighbour(stepBack), neighbour(stepOn)))
    out = phonemes + out
    if (phonemes !== '') next = phonemes
  }
  return out.replace(/ {2,}/g, ' ').trim()
}

/** Articles and `to`, by the sound that follows. */
function weakForm(word: string, next: string): string | undefined {
  switch (word) {
    case 'the':
      return startsWithVowel(next) ? 'ði' : 'ðə'
    case 'a':
      return 'ɐ'
    case 'an':
      return 'ɐn'
    case 'i':
      return 'ˌI'
    case 'to':
      return next === '' ? 'tˈu' : startsWithVowel(next) ? 'tʊ' : 'tə'
    default:
      return undefined
  }
}

function full(word: string, next: string, arpabet: string): string {
  const phonemes = toPhonemes(arpabet)
  const isWeak = FUNCTION_WORDS.has(word) && (next !== '' || NEVER_STRESSED.has(word))
  return isWeak ? phonemes.replace(/[ˈˌ]/g, '') : phonemes
}

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { characterTokenizer, fromCharacters } from '../characters.js'
import { ARPABET, isVowel, toPhonemes } from './arpabet.js'
import { readDictionary } from './dictionary.js'
import { LETTER_NAMES, PREFERRED, spell } from './function-words.js'
import { allHeteronyms, heteronym } from './heteronyms.js'
import { KOKORO_SYMBOLS, phonemiser } from './index.js'
import { derive } from './inflections.js'
import { letterToSound } from './letter-to-sound.js'
import { EXCERPT } from './testing.js'

const dictionary = readDictionary(EXCERPT)
const say = phonemiser(EXCERPT)

describe('arpabet', () => {
  test.each([
    ['HH AH0 L OW1', 'həlˈO'],
    ['W ER1 L D', 'wˈɜɹld'],
    ['L IH1 T AH0 L', 'lˈɪTᵊl'],
    ['B AH1 T AH0 N', 'bˈʌtᵊn'],
    ['S IH1 T IY0', 'sˈɪTi'],
    ['P AA1 R T IY0', 'pˈɑɹTi'],
    ['AH0 T AE1 K', 'ətˈæk'],
    ['F AE1 M AH0 L IY0', 'fˈæməli'],
    ['B AA1 K S IH0 Z', 'bˈɑksᵻz'],
    ['W AA1 N T IH0 D', 'wˈɑntᵻd'],
    ['IH2 M P AO1 R T AH0 N T', 'ˌɪmpˈɔɹtᵊnt'],
    ['B ER1 D', 'bˈɜɹd'],
    ['M AH1 DH ER0', 'mˈʌðəɹ'],
    ['CH AY1 L D', 'ʧˈIld'],
    ['JH OY1', 'ʤˈY'],
    ['', ''],
  ])('%s is %s', (arpabet, phonemes) => expect(toPhonemes(arpabet)).toBe(phonemes))

  test('every phoneme has symbols that the voice knows', () => {
    for (const phone of ARPABET)
      for (const stress of isVowel(phone) ? ['0', '1', '2'] : [''])
        for (const symbol of toPhonemes(phone + stress)) expect(KOKORO_SYMBOLS).toHaveProperty([symbol])
    expect(ARPABET).toHaveLength(39)
  })

  test.each(['QQ', 'AH3', 'B1', 'AH00'])('%s is refused', (phone) =>
    expect(() => toPhonemes(phone)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' })))
})

describe('dictionary', () => {
  test('finds every word that it holds, and its alternatives', () => {
    const entries = [...dictionary.entries()]
    expect(entries).toHaveLength(dictionary.size)
    for (const [word, arpabet] of entries) expect(dictionary.pronunciations(word)).toContain(arpabet)
    expect(dictionary.pronunciations('hello')).toEqual(['HH AH0 L OW1', 'HH EH0 L OW1'])
    expect(dictionary.lookup('and')).toBe('AH0 N D')
  })

  test.each(['', ' ', 'aa', 'hell', 'helloo', 'zzz', '0', 'a b', '\n'])('%j is not there', (word) => {
    expect(dictionary.lookup(word)).toBeUndefined()
    expect(dictionary.pronunciations(word)).toEqual([])
  })

  test('agrees with a Map over any words, sorted or not', () => {
    const word = fc
      .string({ unit: fc.constantFrom('a', 'b', "'", 'c'), minLength: 1, maxLength: 5 })
      .map((w) => `a${w}`)
    fc.assert(
      fc.property(fc.uniqueArray(word, { minLength: 1, maxLength: 30 }), word, (words, other) => {
        const read = readDictionary(words.map((w, at) => `${w.toUpperCase()}  ${ARPABET[at % 39]}`).join('\n'))
        for (const [at, w] of words.entries()) expect(read.lookup(w)).toBe(ARPABET[at % 39])
        expect(read.lookup(other) !== undefined).toBe(words.includes(other))
      }),
      { numRuns: 60, seed: 4 },
    )
  })

  test.each(['', ';;; nothing', 'CAT  K QQ T', 'CAT'])('%j is refused', (text) =>
    expect(() => readDictionary(text)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' })))

  test('names of marks and comments are passed over, small letters and line ends of Windows are read', () => {
    const read = readDictionary('!MARK  M AA1 R K\r\ncat  K AE1 T # animal\r\n')
    expect([...read.entries()]).toEqual([['cat', 'K AE1 T']])
  })
})

describe('derived words', () => {
  test.each([
    ['cats', 'K AE1 T S'],
    ['dogs', 'D AO1 G Z'],
    ['boxes', 'B AA1 K S IH0 Z'],
    ["judge's", 'JH AH1 JH IH0 Z'],
    ['watched', 'W AA1 CH T'],
    ['played', 'P L EY1 D'],
    ['wanted', 'W AA1 N T IH0 D'],
    ['hoped', 'HH OW1 P T'],
    ['stopped', 'S T AA1 P T'],
    ['running', 'R AH1 N IH0 NG'],
    ['making', 'M EY1 K IH0 NG'],
    ['parties', 'P AA1 R T IY0 Z'],
    ['happier', 'HH AE1 P IY0 ER0'],
    ['happily', 'HH AE1 P AH0 L IY0'],
    ['players', 'P L EY1 ER0 Z'],
    ['unhappy', 'AH0 N HH AE1 P IY0'],
    ['smartphone', 'S M AA1 R T F OW2 N'],
    ['football', 'F UH1 T B AO2 L'],
  ])('%s', (word, arpabet) => expect(derive(word, dictionary.lookup)).toBe(arpabet))

  test.each(['s', "'s", 'xyz', 'ing', 'ed', '', "'"])('%j has no stem', (word) =>
    expect(derive(word, dictionary.lookup)).toBeUndefined())
})

describe('letters', () => {
  test.each([
    ['ship', 'SH IH1 P'],
    ['night', 'N AY1 T'],
    ['knife', 'N AY1 F'],
    ['make', 'M EY1 K'],
    ['nation', 'N EY1 SH AH0 N'],
    ['phone', 'F OW1 N'],
    ['queen', 'K W IY1 N'],
    ['bridge', 'B R IH1 JH'],
    ['fantastic', 'F AH0 N T AE1 S T IH0 K'],
    ['wright', 'R AY1 T'],
  ])('%s', (word, arpabet) => expect(letterToSound(word)).toBe(arpabet))

  test('any word has a sound, with one main stress at most, of known phonemes', () => {
    const letters = fc.string({ unit: fc.constantFrom(..."abcdefghijklmnopqrstuvwxyz'"), maxLength: 20 })
    fc.assert(
      fc.property(letters, (word) => {
        const arpabet = letterToSound(word)
        expect(arpabet === '').toBe(!/[a-z]/.test(word))
        expect([...arpabet.matchAll(/1/g)].length).toBeLessThanOrEqual(1)
        expect(() => toPhonemes(arpabet)).not.toThrow()
      }),
      { numRuns: 300, seed: 5 },
    )
  })

  test('are spelt with the main stress on the last', () => {
    expect(toPhonemes(spell('FBI'))).toBe('ˌɛfbˌiˈI')
    for (const arpabet of Object.values(LETTER_NAMES)) expect(() => toPhonemes(arpabet)).not.toThrow()
  })
})

describe('words of two sounds', () => {
  test('every entry of the tables is ARPAbet', () => {
    for (const arpabet of [...allHeteronyms(), ...Object.values(PREFERRED)]) expect(toPhonemes(arpabet)).not.toBe('')
  })

  test.each([
    ['have', 'read', 'it', 'R EH1 D'],
    ['to', 'read', 'it', 'R IY1 D'],
    ['to', 'record', 'it', 'R IH0 K AO1 R D'],
    ['a', 'record', '', 'R EH1 K ER0 D'],
    ['', 'live', 'music', 'L AY1 V'],
    ['we', 'live', 'here', 'L IH1 V'],
    ['the', 'lead', 'pipe', 'L EH1 D'],
    ['very', 'close', '', 'K L OW1 S'],
    ['', 'close', 'the', 'K L OW1 Z'],
    ['the', 'wind', 'blows', 'W IH1 N D'],
    ['', 'used', 'to', 'Y UW1 S T'],
  ])('%s %s %s', (before, word, behind, arpabet) => expect(heteronym(word, before, behind)).toBe(arpabet))

  test('of others nothing is known', () => expect(heteronym('constructor', '', '')).toBeUndefined())
})

describe('phonemiser', () => {
  test.each([
    ['Hello, world!', 'həlˈO, wˈɜɹld!'],
    ['The apple and the ball.', 'ði ˈæpᵊl ænd ðə bˈɔl.'],
    ['He is at the table.', 'hi ɪz æt ðə tˈAbᵊl.'],
    ['What is it for?', 'wˈʌt ɪz ɪt fˈɔɹ?'],
    ['To open, to run', 'tʊ ˈOpən, tə ɹˈʌn'],
    ['Dr. Smith has $10.', 'dˈɑktəɹ smˈɪθ hæz tˈɛn dˈɑləɹz.'],
    ['You have read this book.', 'ju hæv ɹˈɛd ðɪs bˈʊk.'],
    ['I am', 'ˌI ˈæm'],
    ['the FBI', 'ði ˌɛfbˌiˈI'],
    ["the FBI's", 'ði ˌɛfbˌiˈIz'],
    ['A plan A', 'ɐ plˈæn ˈA'],
    ['“Hello” (world)…', '“həlˈO” (wˈɜɹld)…'],
    ['😀', ''],
  ])('%s', (text, phonemes) => expect(say(text)).toBe(phonemes))

  test('words of the app go first, and what they are not is refused', () => {
    const own = phonemiser(EXCERPT, {
      lexicon: { hello: 'Y OW1', kubectl: 'K Y UW1 B K AH2 T AH0 L', sql: 'S IY1 K W AH0 L' },
    })
    expect(own('Hello kubectl')).toBe('jˈO kjˈubkˌʌTᵊl')
    expect(own('SQL')).toBe('sˈikwᵊl')
    expect(() => phonemiser(EXCERPT, { lexicon: { a: 'nonsense' } })).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID' }),
    )
  })

  test('a trained model takes the place of the rules', () => {
    expect(phonemiser(EXCERPT, { letterToSound: () => 'B IY1 P' })('zork')).toBe('bˈip')
  })

  test('any text becomes symbols of the voice, and its tokenizer loses none', () => {
    const tokenizer = characterTokenizer(fromCharacters(KOKORO_SYMBOLS, null))
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const phonemes = say(text)
        expect(tokenizer.encode(phonemes)).toHaveLength([...phonemes].length)
      }),
      { numRuns: 150, seed: 6 },
    )
  })

  test('names of objects are words as others', () => {
    expect(say('constructor toString __proto__ hasOwnProperty')).not.toBe('')
  })
})

/**
 * A pronouncing dictionary in the text format of CMUdict: `WORD  P1 P2 …` by line, alternatives as `WORD(1)` or `WORD(2)` behind
 * the first, comments behind `;;;` or ` # `. 134,000 words are one string with binary search: about its bytes, where a Map would
 * hold as many objects.
 *
 * @reference The CMU Pronouncing Dictionary, Carnegie Mellon University, BSD-2-Clause
 */

import { M4Error } from '../../core/errors.js'
import { ARPABET } from './arpabet.js'

export interface Dictionary {
  /** Number of pronunciations. */
  readonly size: number
  /** The first pronunciation, in ARPAbet with stress. @param word lower case */
  lookup(word: string): string | undefined
  /** All, the commonest first. Empty for an unknown word. */
  pronunciations(word: string): readonly string[]
  /** Every pronunciation in the order of words. */
  entries(): IterableIterator<readonly [word: string, arpabet: string]>
}

const LINE = /^(\S+?)(?:\((\d+)\))?\s+(\S.*)$/
const PHONES = new Set(ARPABET)

/** @throws M4Error `FORMAT_INVALID` for a text that holds no entry, or one that is not ARPAbet, with its line */
export function readDictionary(text: string): Dictionary {
  const lines: string[] = []
  let sorted = true
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trimEnd().replace(/\s+#.*$/, '')
    // Names of marks (`!EXCLAMATION-POINT`) are not words; what else is not ASCII is a line in a broken code page.
    if (line === '' || line.startsWith(';;;') || !/^[A-Za-z'][\x20-\x7e\t]*$/.test(line)) continue
    const [, word, , phones] = LINE.exec(line) ?? []
    if (word === undefined || phones === undefined) throw notAnEntry(line, index)
    const arpabet = phones.trim().split(/\s+/)
    if (!arpabet.every((phone) => PHONES.has(phone.replace(/[012]$/, '')))) throw notAnEntry(line, index)
    const entry = `${word.toLowerCase()} ${arpabet.join(' ')}`
    if (sorted && lines.length > 0 && wordOf(entry) < wordOf(lines.at(-1)!)) sorted = false
    lines.push(entry)
  }
  if (lines.length === 0)
    throw new M4Error('FORMAT_INVALID', 'The dictionary holds no entry.', {
      hint: 'Give a text in the format of CMUdict: WORD  P1 P2 …, one word a line.',
    })
  // Stable: alternatives stay behind the first.
  if (!sorted) lines.sort((a, b) => compare(wordOf(a), wordOf(b)))
  // One byte a character: a string made from slices of a wider one keeps two.
  const all = Buffer.from(`\n${lines.join('\n')}\n`, 'latin1').toString('latin1')
  return openDictionary(all, lines.length)
}

const wordOf = (entry: string): string => entry.slice(0, entry.indexOf(' '))

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const notAnEntry = (line: string, index: number): M4Error =>
  new M4Error('FORMAT_INVALID', `Line ${index + 1} of the dictionary: "${line.slice(0, 60)}" is no entry.`, {
    hint: 'Expected WORD  P1 P2 … with the 39 phonemes of ARPAbet.',
    details: { line: index + 1 },
  })

/** @param all entries `word P1 P2`, sorted, a line break around each */
function openDictionary(all: string, size: number): Dictionary {
  /** Start of the first entry whose word is not less than `word`; the length of the text when there is none. */
  const find = (word: string): number => {
    let low = 1
    let high = all.length
    while (low < high) {
      // The line that holds the middle: low <= start <= middle < high.
      const start = all.lastIndexOf('\n', ((low + high) >> 1) - 1) + 1
      const blank = all.indexOf(' ', start)
      if (all.slice(start, blank) < word) low = all.indexOf('\n', blank) + 1
      else high = start
    }
    return low
  }
  const matches = (start: number, word: string): boolean => all.startsWith(`${word} `, start)
  const arpabetAt = (start: number, word: string): string =>
    all.slice(start + word.length + 1, all.indexOf('\n', start))
  return {
    size,
    lookup(word) {
      const start = find(word)
      return word !== '' && matches(start, word) ? arpabetAt(start, word) : undefined
    },
    pronunciations(word) {
      const found: string[] = []
      for (let start = find(word); word !== '' && matches(start, word); start = all.indexOf('\n', start) + 1)
        found.push(arpabetAt(start, word))
      return found
    },
    *entries() {
      for (let start = 1; start < all.length; start = all.indexOf('\n', start) + 1) {
        const word = wordOf(all.slice(start, all.indexOf('\n', start)))
        yield [word, arpabetAt(start, word)]
      }
    },
  }
}

/**
 * Written English → spoken words: what has digits, signs or shortenings is spelt out. Rules (`spoken-rules.ts`) run in order over the whole
 * text; each leaves words of small letters, so that later rows do not touch them.
 *
 * The result holds words of small letters and apostrophes, spelt letters as capitals (`FBI`, `A`), blanks, and the marks that the
 * voice reads; nothing else.
 */

import { romanNumbers } from './roman.js'
import { RULES, SPELT } from './spoken-rules.js'
import { MARKS } from './symbols.js'
import { CLIPPED, SHOUTED, WORD_ACRONYMS } from './words.js'

export interface NormaliseOptions {
  /** Tells `STOP` from `HTML`. Default: every word of capitals with more than four letters and a vowel. @param word lower case */
  readonly isWord?: (word: string) => boolean
}

/** Marks of an accent go before the rules; composed forms of Greek and others stay for the tables. */
const unaccented = (text: string): string =>
  text
    .replace(/\p{Co}/gu, '')
    .normalize('NFD')
    .replace(/[\u0300-\u036f]/g, '')
    .normalize('NFC')

/** @returns words, marks and blanks; see the head of this file. Empty when nothing can be said. */
export function normalise(text: string, options: NormaliseOptions = {}): string {
  let spoken = RULES.reduce((rest, [pattern, replace]) => rest.replace(pattern, replace as string), unaccented(text))
  spoken = romanNumbers(spoken)
  const isShouting = !/[a-z]/.test(text) && /[A-Z]{2,}[^A-Za-z]+[A-Z]{2,}/.test(text)
  const words = spoken.replace(TOKEN, (token, index: number) => {
    if (/^[^A-Za-z'\ue000]/.test(token)) return MARKS.includes(token) ? token : ' '
    return ` ${word(token, spoken.slice(index + token.length), isShouting, options)} `
  })
  return tidy(words)
}

const TOKEN = /[\ue000']?[A-Za-z]+(?:'[A-Za-z]+)*'?|[\s\S]/g

function word(token: string, after: string, isShouting: boolean, { isWord }: NormaliseOptions): string {
  if (token.startsWith(SPELT)) return token.slice(1).replace(/'?s$/, "'s")
  const open = token.replace(/(?<!in)'$/, '')
  const bare = CLIPPED.has(open.toLowerCase()) ? open : open.replace(/^'/, '')
  const small = bare.toLowerCase()
  const isLetters = /^[A-Z]+(?:'?s)?$/.test(bare)
  if (bare.length === 1) {
    if (small === 'i') return 'i'
    // The article, unless it stands where no noun can follow: vitamin A.
    if (small === 'a' && (bare === 'a' || /^ +[a-z]/i.test(after))) return 'a'
    return bare.toUpperCase()
  }
  if (!isLetters) return small
  const [letters, tail] = [bare.replace(/'?s$/, ''), /'?s$/.test(bare) ? "'s" : '']
  if (letters.length === 1) return tail && letters !== 'A' && letters !== 'I' ? `${letters}'s` : small
  const stem = letters.toLowerCase()
  const isSaid = WORD_ACRONYMS.has(stem) || saidAsWord(stem, isShouting, isWord)
  return isSaid ? `${stem}${tail}` : `${letters}${tail}`
}

function saidAsWord(stem: string, isShouting: boolean, isWord: NormaliseOptions['isWord']): boolean {
  if (!/[aeiouy]/.test(stem)) return false
  if (stem.length <= 3) return isShouting && (isWord?.(stem) ?? SHOUTED.has(stem)) ? true : SHOUTED.has(stem)
  return isWord?.(stem) ?? (isShouting || stem.length > 4)
}

/** One blank between words, none before a closing mark or behind an opening one; runs of marks become one. */
function tidy(text: string): string {
  return text
    .replace(/\s+/g, ' ')
    .replace(/"([^"]*)"/g, '“$1”')
    .replace(/ ([;:,.!?…”)])/g, '$1')
    .replace(/([“(]) /g, '$1')
    .replace(/[([{“"]+[)\]}”"]+/g, ' ')
    .replace(/([;:,.!?…—])(?: ?[;:,.…—])+/g, '$1')
    .replace(/([!?])[!?]+/g, '$1')
    .replace(/([A-Za-z'])([“(—])/g, '$1 $2')
    .replace(/([;:,.!?…”)—])(?=[A-Za-z'“(])/g, '$1 ')
    .replace(/^[\s;:,.!?…—)”]+/, '')
    .replace(/\s+/g, ' ')
    .trim()
}

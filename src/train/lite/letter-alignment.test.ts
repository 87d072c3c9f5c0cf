import { expect, test } from 'vitest'
import { alignSpellings, type Spelling } from './letter-alignment.js'

const PHONES = ['AA', 'AE', 'B', 'IH', 'K', 'P', 'S', 'SH', 'T']
const spelling = (word: string, arpabet: string): Spelling => ({
  letters: [...word].map((letter) => letter.charCodeAt(0) - 97),
  phones: arpabet.split(' ').map((phone) => PHONES.indexOf(phone)),
})

const LEXICON = [
  ['cat', 'K AE T'],
  ['bat', 'B AE T'],
  ['tab', 'T AE B'],
  ['sat', 'S AE T'],
  ['sit', 'S IH T'],
  ['hit', 'IH T'],
  ['hat', 'AE T'],
  ['ship', 'SH IH P'],
  ['shop', 'SH AA P'],
  ['box', 'B AA K S'],
  ['top', 'T AA P'],
] as const

test('letters find their phonemes: one, none, two', () => {
  const cuts = alignSpellings(
    LEXICON.map(([word, arpabet]) => spelling(word, arpabet)),
    26,
    PHONES.length,
  )
  const cutOf = (word: string) => cuts[LEXICON.findIndex(([each]) => each === word)]
  expect(cutOf('cat')).toEqual([1, 1, 1])
  expect(cutOf('hat')).toEqual([0, 1, 1])
  expect(cutOf('box')).toEqual([1, 1, 2])
  expect(cutOf('ship')).toHaveLength(4)
  for (const [i, [, arpabet]] of LEXICON.entries())
    expect(cuts[i]!.reduce((a, b) => a + b, 0)).toBe(arpabet.split(' ').length)
})

test('more phonemes than letters can give have no cut, and change none of the others', () => {
  const cat = spelling('cat', 'K AE T')
  const [alone] = alignSpellings([cat], 26, PHONES.length)
  const [beside, impossible] = alignSpellings([cat, spelling('a', 'K AE T')], 26, PHONES.length)
  expect(impossible).toBeUndefined()
  expect(beside).toEqual(alone)
})

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { unescapeHtml } from './html-entities.js'
import { cleanClipText, clipSequence, fromCharacters, fromClipMerges, loadTokenizer, tidyText } from './index.js'

/** A vocabulary of 512 + 5 merges + 2: `the`, `cat`. */
const MERGES = '#version: 0.2\nt h\nth e</w>\nc a\nca t</w>\ne e</w>\n'
const tokenizer = loadTokenizer(fromClipMerges(MERGES))
const [startId, endId] = [tokenizer.bosId!, tokenizer.eosId!]
const piecesOf = (text: string) => tokenizer.encode(text).map((id) => tokenizer.pieceOf(id))

describe('CLIP', () => {
  test('vocabulary: bytes, bytes at word ends, merges, specials', () => {
    expect([tokenizer.idOf('!'), tokenizer.idOf('!</w>'), tokenizer.idOf('th')]).toEqual([0, 256, 512])
    expect([startId, endId, tokenizer.vocabularySize]).toEqual([517, 518, 519])
  })

  test('words end in their last piece; digits stand alone', () => {
    expect(piecesOf('The  cat')).toEqual(['the</w>', 'cat</w>'])
    expect(piecesOf('12')).toEqual(['1</w>', '2</w>'])
    expect(piecesOf("cat's!")).toEqual(['cat</w>', "'", 's</w>', '!</w>'])
  })

  test('text from outside cannot end the sequence', () => {
    expect(tokenizer.encode('<|endoftext|>')).not.toContain(endId)
    expect(tokenizer.encode('<|endoftext|>', { allowSpecial: true })).toEqual([endId])
  })

  test('decoding puts a space behind each word, streamed or not', () => {
    const ids = tokenizer.encode('the cat. é ')
    expect(tokenizer.decode(ids)).toBe('the cat . é ')
    const stream = tokenizer.decodeStream()
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe('the cat . é ')
  })

  test('100000 characters: words, and one word', () => {
    const words = tokenizer.encode('the cat '.repeat(12_500))
    expect(words).toHaveLength(25_000)
    const { ids, dropped } = clipSequence(words, { startId, endId })
    expect([ids.length, ids[76], dropped]).toEqual([77, endId, 25_000 - 75])
    expect(tokenizer.encode('e'.repeat(100_000)).length).toBeGreaterThan(10_000)
    expect(tokenizer.encode('&'.repeat(100_000)).length).toBeGreaterThan(10_000)
    expect(tokenizer.encode('&amp;'.repeat(20_000)).length).toBeGreaterThan(1000)
  }, 20_000)

  test('sequences: what fits, what does not', () => {
    const of = (count: number, overflow?: 'keepEnd' | 'cut', padId?: number) =>
      clipSequence(Array(count).fill(5), {
        length: 5,
        startId: 8,
        endId: 9,
        ...(overflow ? { overflow } : {}),
        ...(padId ? { padId } : {}),
      })
    expect(of(1)).toEqual({ ids: [8, 5, 9, 0, 0], endIndex: 2, dropped: 0 })
    expect(of(1, 'keepEnd', 9).ids).toEqual([8, 5, 9, 9, 9])
    expect(of(3)).toEqual({ ids: [8, 5, 5, 5, 9], endIndex: 4, dropped: 0 })
    expect(of(4)).toEqual({ ids: [8, 5, 5, 5, 9], endIndex: 4, dropped: 1 })
    expect(of(4, 'cut')).toEqual({ ids: [8, 5, 5, 5, 5], endIndex: 0, dropped: 0 })
    expect(of(5, 'cut').dropped).toBe(1)
    expect(() => of.call(null, 1) && clipSequence([], { length: 1, startId: 1, endId: 2 })).toThrow(/length of 1/)
  })

  test('merge files that are none', () => {
    expect(() => fromClipMerges('#version\nnot a merge\n')).toThrow(/line 2/)
    expect(() => loadTokenizer(fromClipMerges('#version\nthe cat\n'))).not.toThrow(TypeError)
  })
})

describe('cleaning', () => {
  test.each([
    [
      '&lt;b&gt; &amp;amp; &#39;x&#x27; &copy 2 &notit; &nosuch; &#0; &#x80;',
      "<b> &amp; 'x' © 2 ¬it; &nosuch; \ufffd €",
    ],
    ['&hearts;&Eacute;&eacute;&apos; &', "♥Éé' &"],
  ])('%s', (text, expected) => {
    expect(unescapeHtml(text)).toBe(expected)
  })

  test('quotes, ligatures, widths, line ends, controls, accents', () => {
    expect(tidyText('‘a’ “b” ﬁ Ｆ\u3000x\r\ny\u2028z\u0000\ufeff e\u0301 \u001b[31mred\u001b[0m')).toBe(
      '\'a\' "b" fi F x\ny\nz é red',
    )
    expect(tidyText('&lt;3')).toBe('<3')
    expect(tidyText('<p>&lt;')).toBe('<p>&lt;')
  })

  test('white space and case', () => {
    expect(cleanClipText('  A\t\u00a0DOG \n')).toBe('a dog')
  })

  const cases = new URL('../../../shared/goldens/tokenizer-clip/cases.json', import.meta.url)
  test.skipIf(!existsSync(cases))('as ftfy, where no wrong character set has to be guessed', () => {
    const rows: { text: string; ftfyChanges: boolean; afterFtfy: string }[] = JSON.parse(readFileSync(cases, 'utf8'))
    const wrong = rows.filter((row) => tidyText(row.text) !== (row.ftfyChanges ? row.afterFtfy : row.text))
    expect(wrong.map(({ text }) => text).filter((text) => !/Ã/.test(text))).toEqual([])
  })
})

describe('characters', () => {
  const vocab = { k: 0, a: 1, ' ': 2, b: 3, A: 4 }
  test('blanks between; the blank may be a character too', () => {
    const vits = loadTokenizer(fromCharacters(vocab))
    expect(vits.kind).toBe('characters')
    expect(vits.encode(' kAB? ')).toEqual([0, 0, 0, 4, 0, 3, 0])
    expect(vits.decode(vits.encode('kab a'))).toBe('kab a')
    expect(vits.encode('???')).toEqual([])
    expect(vits.encode('ab'.repeat(50_000))).toHaveLength(200_001)
    expect(() => vits.encode('a', { addBos: true })).toThrow(/no begin-of-text/)
    expect(() => vits.decode([9])).toThrow(/not in the vocabulary/)
  })

  test('without blanks; a vocabulary of more than characters', () => {
    expect(loadTokenizer(fromCharacters(vocab, null)).encode('ab')).toEqual([1, 3])
    expect(() => loadTokenizer(fromCharacters({ ab: 0 }))).toThrow(/more than one/)
    expect(() => loadTokenizer(fromCharacters(vocab, 99))).toThrow(/99/)
  })
})

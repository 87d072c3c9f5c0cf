import fc from 'fast-check'
import { expect, test } from 'vitest'
import { splitSentences } from './sentences.js'

test.each([
  ['One. Two! Three?', ['One.', 'Two!', 'Three?']],
  ['It costs 3.14 euros, says Dr. Smith. "Really?" Yes', ['It costs 3.14 euros, says Dr. Smith.', '"Really?"', 'Yes']],
  ['J. R. Smith came… Then he left.', ['J. R. Smith came…', 'Then he left.']],
  ['The U.S. army left at 5 p.m. on Monday. It rained.', ['The U.S. army left at 5 p.m. on Monday.', 'It rained.']],
  ['They came from the U.S. Then they left.', ['They came from the U.S.', 'Then they left.']],
  ['Pears, etc. are ripe. Pears, etc. Then we left.', ['Pears, etc. are ripe.', 'Pears, etc.', 'Then we left.']],
  ['See p. 12 and Fig. 3. Gen. Lee came on Jan. 5. Yes', ['See p. 12 and Fig. 3.', 'Gen. Lee came on Jan. 5.', 'Yes']],
  ['all is small. even so it ends. here', ['all is small.', 'even so it ends.', 'here']],
  ['no end', ['no end']],
  ['one line\nthe same sentence\n\nanother', ['one line\nthe same sentence', 'another']],
  ['今日は晴れ。明日は雨！終わり', ['今日は晴れ。', '明日は雨！', '終わり']],
  ['  \n ', []],
])('%j', (text, sentences) => {
  expect(splitSentences(text)).toEqual(sentences)
})

test('a long sentence is cut behind its last mark, else at a space, else anywhere', () => {
  expect(splitSentences('one two three, four five six seven', 20)).toEqual(['one two three,', 'four five six seven'])
  expect(splitSentences('one two three four five', 10)).toEqual(['one two', 'three four', 'five'])
  expect(splitSentences('🙂'.repeat(25), 10)).toEqual(['🙂'.repeat(10), '🙂'.repeat(10), '🙂'.repeat(5)])
})

test('nothing is lost, nothing is empty, nothing is too long', () => {
  const alphabet = fc.constantFrom('a', 'B', 'é', '🙂', ' ', '\n', '.', ',', '!', ';', '"', '。', '5')
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 80 }), fc.integer({ min: 1, max: 30 }), (text, longest) => {
      const sentences = splitSentences(text, longest)
      expect(sentences.join('').replace(/\s/g, '')).toBe(text.replace(/\s/g, ''))
      for (const sentence of sentences) {
        expect(sentence.trim()).not.toBe('')
        expect([...sentence].length).toBeLessThanOrEqual(longest)
      }
    }),
  )
})

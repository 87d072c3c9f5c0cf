/** Stop texts across token borders. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createStopFilter } from './stop.js'

/** What comes out after each piece, and at the end. */
function through(stops: readonly string[], pieces: readonly string[]) {
  const filter = createStopFilter(stops)
  const out: string[] = []
  let stopped = false
  for (const piece of pieces) {
    const found = filter.push(piece)
    out.push(found.text)
    stopped = found.stopped
  }
  return { out, stopped, rest: filter.end() }
}

describe('stop texts', () => {
  test.each([
    ['within one token', ['\n'], ['Paris', '.\nQ:'], ['Paris', '.'], true, ''],
    ['over three tokens', ['###'], ['a#', '#', '#b'], ['a', '', ''], true, ''],
    ['what began like one is given out when it is none', ['###'], ['a##', 'b'], ['a', '##b'], false, ''],
    ['held back at the end', ['\nQ:'], ['a\n', 'Q'], ['a', ''], false, '\nQ'],
    ['the first of several', ['d', 'bc'], ['abcd'], ['a'], true, ''],
    ['an end that begins a stop text again', ['aab'], ['aa', 'a', 'b'], ['', 'a', ''], true, ''],
    ['nothing after the stop', ['.'], ['a.', 'b', 'c'], ['a', '', ''], true, ''],
    ['none wanted', [], ['a', 'b'], ['a', 'b'], false, ''],
  ])('%s', (_, stops, pieces, out, stopped, rest) => {
    expect(through(stops, pieces)).toEqual({ out, stopped, rest })
  })

  test('any text in any pieces gives what stands before the first stop text', () => {
    const letters = fc.stringMatching(/^[ab\n]{0,12}$/)
    fc.assert(
      fc.property(
        fc.array(letters, { maxLength: 6 }),
        fc.array(fc.stringMatching(/^[ab\n]{1,4}$/), { maxLength: 3 }),
        (pieces, stops) => {
          const { out, rest } = through(stops, pieces)
          const text = pieces.join('')
          // The earliest end decides: text comes piece by piece, so a stop text that is complete sooner wins.
          const result = out.join('') + rest
          expect(text.startsWith(result)).toBe(true)
          expect(stops.some((stop) => result.includes(stop))).toBe(false)
          if (!stops.some((stop) => text.includes(stop))) expect(result).toBe(text)
        },
      ),
      { seed: 4 },
    )
  })

  test('an empty one is refused', () => {
    expect(() => createStopFilter([''])).toThrow(/empty/)
  })
})

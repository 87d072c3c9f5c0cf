import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tableRows } from './csv.js'

const rowsOf = (text: string, separator = ',', quotes = true) => [...tableRows(text, { separator, quotes })]
const cellsOf = (text: string, separator = ',', quotes = true) =>
  rowsOf(text, separator, quotes).map(({ cells }) => cells)

describe('separated values (RFC 4180)', () => {
  test('quotes hold separators, newlines and doubled quotes', () => {
    expect(cellsOf('a,"b,c"\n"d\ne","f ""g"" h"\n')).toEqual([
      ['a', 'b,c'],
      ['d\ne', 'f "g" h'],
    ])
  })

  test('lines end in LF, CRLF or CR', () => {
    for (const end of ['\n', '\r\n', '\r'])
      expect(cellsOf(['a,b', '"c",d', 'e,"f"', ''].join(end))).toEqual([
        ['a', 'b'],
        ['c', 'd'],
        ['e', 'f'],
      ])
  })

  test('rows are numbered with blank lines and newlines inside', () => {
    expect(rowsOf('h,i\n\n"a\n\nb",c\nd,e').map(({ row }) => row)).toEqual([1, 3, 4])
  })

  test('empty cells stay, blank lines go', () => {
    expect(cellsOf(',\n\n"",x\n\t\n')).toEqual([
      ['', ''],
      ['', 'x'],
    ])
    expect(cellsOf('\t\n', '\t')).toEqual([['', '']])
  })

  test('a quote that nothing closes is taken as it stands, and said', () => {
    const rows = rowsOf('"Hello" world\t1\n"no end\t2\nfine\t3', '\t')
    expect(rows.map(({ cells }) => cells)).toEqual([
      ['"Hello" world', '1'],
      ['"no end', '2'],
      ['fine', '3'],
    ])
    expect(rows.map(({ strayQuote }) => strayQuote)).toEqual([true, true, false])
    expect(cellsOf('"a"\t1', '\t', false)).toEqual([['"a"', '1']])
  })

  test('a quote inside a field is a letter', () => {
    expect(cellsOf('5" nail,1')).toEqual([['5" nail', '1']])
  })

  test('any cells come back from what a correct writer makes of them', () => {
    const cell = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r\n', ' ', 'é', '😀') })
    const table = fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 6 })
    const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)
    fc.assert(
      fc.property(table, fc.constantFrom('\n', '\r\n'), fc.boolean(), (rows, end, closed) => {
        const text = rows.map((cells) => cells.map(quoted).join(',')).join(end) + (closed ? end : '')
        expect(cellsOf(text)).toEqual(rows)
      }),
      { numRuns: 500, seed: 1 },
    )
  })

  // Searching 200,000 rows to the end of a text of 2 MB each would take minutes.
  test('rows with odd quotes are found in one pass', { timeout: 20_000 }, () => {
    for (const line of ['"a""b"\n', '"stray\n', '"x" y\n', '""""a\n', '"q",b\n', '"",""\n'])
      expect(rowsOf(line.repeat(200_000)).length).toBeGreaterThan(0)
  })
})

/**
 * Separated values after RFC 4180: quoted fields may hold separators, newlines and doubled quotes; lines end in LF, CRLF or CR.
 * An own reader because no CSV library is among the dependencies, and rows must carry their numbers into every message.
 */

export interface TableRow {
  /** 1-based; a blank line counts, and a row with newlines inside is one. */
  readonly row: number
  readonly cells: readonly string[]
  /** A field began with a quote that does not end it, and was taken as it stands. */
  readonly strayQuote: boolean
}

export interface TableSyntax {
  readonly separator: string
  /** False: `"` is a letter. */
  readonly quotes: boolean
}

const QUOTE = 34
const CR = 13

/** The rows of a text, blank lines left out. Time is linear in the text; fields are slices of it. */
export function* tableRows(text: string, { separator, quotes }: TableSyntax): Generator<TableRow> {
  const newline = text.includes('\n') ? '\n' : '\r'
  const lineEnd = (from: number) => {
    const at = text.indexOf(newline, from)
    return at < 0 ? text.length : at
  }
  let nextQuote = quotes ? text.indexOf('"') : -1
  for (let at = 0, row = 1; at < text.length; row++) {
    if (nextQuote >= 0 && nextQuote < at) nextQuote = text.indexOf('"', at)
    const end = lineEnd(at)
    if (nextQuote < 0 || nextQuote > end) {
      const line = text.slice(at, text.charCodeAt(end - 1) === CR && end > at ? end - 1 : end)
      at = end + 1
      if (line.trim() || line.includes(separator)) yield { row, cells: line.split(separator), strayQuote: false }
      continue
    }
    const { cells, next, strayQuote } = quotedRow(text, at, separator, newline)
    at = next
    yield { row, cells, strayQuote }
  }
}

/** One row that holds a quote. `next` is where the following row begins. */
function quotedRow(text: string, start: number, separator: string, newline: string) {
  const cells: string[] = []
  let strayQuote = false
  // Separators are looked for within a line only: a search that ran on to a far one would be paid again for every row.
  let lineStart = start
  let line: string | undefined
  for (let at = start; ; ) {
    if (text.charCodeAt(at) === QUOTE) {
      const field = quotedField(text, at, separator, newline)
      if (field) {
        cells.push(field.value)
        if (field.next === undefined) return { cells, next: field.rowEnd, strayQuote }
        at = field.next
        if (line !== undefined && at > lineStart + line.length) line = undefined
        continue
      }
      strayQuote = true
    }
    if (line === undefined) {
      const end = text.indexOf(newline, at)
      lineStart = at
      line = text.slice(at, end < 0 ? text.length : end)
    }
    const separatorAt = line.indexOf(separator, at - lineStart)
    if (separatorAt < 0) {
      const cell = line.slice(at - lineStart)
      cells.push(cell.endsWith('\r') ? cell.slice(0, -1) : cell)
      return { cells, next: lineStart + line.length + 1, strayQuote }
    }
    cells.push(text.slice(at, lineStart + separatorAt))
    at = lineStart + separatorAt + separator.length
  }
}

/**
 * The field that opens with the quote at `at`; undefined when no quote before a separator, a line end or the end closes it.
 * The search stops at the first single quote, so that stray ones cost no second pass over the rest of the text.
 */
function quotedField(text: string, at: number, separator: string, newline: string) {
  let close = text.indexOf('"', at + 1)
  let doubled = false
  while (close >= 0 && text.charCodeAt(close + 1) === QUOTE) {
    doubled = true
    close = text.indexOf('"', close + 2)
  }
  if (close < 0) return undefined
  const inside = text.slice(at + 1, close)
  const value = doubled ? inside.replaceAll('""', '"') : inside
  const after = close + 1
  if (text.startsWith(separator, after)) return { value, next: after + separator.length, rowEnd: 0 }
  if (after >= text.length) return { value, next: undefined, rowEnd: after }
  if (text.startsWith(newline, after)) return { value, next: undefined, rowEnd: after + 1 }
  if (text.startsWith('\r\n', after)) return { value, next: undefined, rowEnd: after + 2 }
  if (text.charCodeAt(after) === CR && after + 1 === text.length) return { value, next: undefined, rowEnd: after + 1 }
  return undefined
}

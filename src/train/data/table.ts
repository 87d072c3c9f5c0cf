/** CSV and TSV with a header → samples of texts, or of media that the rows name. */

import { adviceError } from '../../core/advice.js'
import { type M4Error, throwIfAborted } from '../../core/errors.js'
import { yieldToEventLoop } from '../../core/progress.js'
import { type TableRow, tableRows } from './csv.js'
import { collectRows, EXPECTED_FIELDS, type FoundFields, findFields } from './fields.js'
import type { FindingList } from './findings.js'
import { findMotion, type MotionColumns } from './motion-columns.js'
import { type Reader, type Reading, requireFile } from './reader.js'
import type { OpenOptions } from './samples.js'

export interface TableStart {
  readonly names: readonly string[]
  readonly separator: string
  /** Whether the first row is names. */
  readonly header: boolean
  readonly fields?: FoundFields
  readonly motion?: MotionColumns
}

const SEPARATORS = [',', '\t', ';', '|']
/** Rows between two looks at signals and timers. */
const ROWS_AT_ONCE = 1 << 15

/** Whether a stray quote spoils the row: CSV has one meaning for it, while most TSV of texts is written without quoting at all. */
const quotesAreStrict = (separator: string) => separator !== '\t'

/**
 * Reads the first row: which separator, which fields. Undefined where no known fields are named.
 * @throws M4Error `UNKNOWN_NAME`, `FORMAT_INVALID` of `findFields`
 */
export function startOfTable(path: string, text: string, options: OpenOptions): TableStart | undefined {
  const header = !Object.values(options.columns ?? {}).some((column) => typeof column === 'number')
  let failure: unknown
  for (const separator of separatorsOf(path, options)) {
    const first = firstRow(text, separator, options)
    if (!first) return undefined
    const names = header ? first.cells.map((cell) => cell.trim()) : first.cells.map((_, i) => `column ${i}`)
    try {
      const motion = header || options.channels ? findMotion(names, options) : undefined
      if (motion) return { names, separator, header, motion }
      const fields = findFields(names, options.columns)
      if (fields) return { names, separator, header, fields }
    } catch (error) {
      // The columns that the caller names may be there with another separator.
      failure ??= error
    }
  }
  if (failure) throw failure
  return undefined
}

/** In the order in which they are tried. */
function separatorsOf(path: string, options: OpenOptions): readonly string[] {
  const preferred = /\.tsv(\.gz)?$/i.test(path) ? '\t' : ','
  return options.separator ? [options.separator] : [...new Set([preferred, ...SEPARATORS])]
}

function firstRow(text: string, separator: string, options: OpenOptions): TableRow | undefined {
  for (const row of tableRows(text, { separator, quotes: options.quotes ?? true })) return row
  return undefined
}

/** Rows behind the header that have as many cells as it; others are reported. */
export function* rowsBehindHeader(
  text: string,
  { names, separator, header }: TableStart,
  options: OpenOptions,
  findings: FindingList,
  file?: string,
): Generator<TableRow> {
  const strict = quotesAreStrict(separator)
  const place = file === undefined ? {} : { file }
  const where = file === undefined ? 'Row' : `${file}, row`
  let isHeader = header
  for (const line of tableRows(text, { separator, quotes: options.quotes ?? true })) {
    const { row, cells, strayQuote } = line
    if (isHeader) {
      isHeader = false
      continue
    }
    if (strayQuote) {
      const severity = strict ? 'error' : 'warning'
      const fate = strict ? 'double the quotes inside a quoted field' : 'the field was taken as it stands'
      const message = `${where} ${row}: a field begins with a quote that does not end it; ${fate}.`
      findings.add('stray-quote', message, { row, severity, ...place })
      if (strict) continue
    }
    if (cells.length !== names.length) {
      const message = `${where} ${row} has ${cells.length} cells, expected ${names.length} as in the first row.`
      findings.add('ragged-row', message, { row, ...place })
      continue
    }
    yield line
  }
}

/** @throws M4Error `FORMAT_INVALID` without the header expected */
export const readTable: Reader = async (source, options, findings): Promise<Reading> => {
  const { text, file } = requireFile(source, 'one CSV or TSV file')
  const start = startOfTable(source.path, text, options)
  if (!start?.fields) throw headerExpected(source.path, text, options)
  const { names, fields } = start
  const [asked, learned] = fields.at
  const extras = names.map((name, i) => [name, i] as const).filter(([, i]) => i !== asked && i !== learned)
  if (extras.length)
    findings.add('extra-columns', `Not trained on, kept as extra: ${extras.map(([name]) => name).join(', ')}.`)
  const rows = collectRows(fields.shape, source.path, options, findings)
  let count = 0
  for (const { row, cells } of rowsBehindHeader(text, start, options, findings)) {
    const extra = extras.length ? Object.fromEntries(extras.map(([name, i]) => [name, cells[i]!])) : undefined
    rows.add(row, cells[asked], cells[learned], extra)
    if (++count % ROWS_AT_ONCE === 0) {
      throwIfAborted(options.signal)
      options.onProgress?.({ task: 'read data', done: count, unit: 'items' })
      await yieldToEventLoop()
    }
  }
  const reading = await rows.finish()
  return { ...reading, files: [file, ...reading.files] }
}

function headerExpected(path: string, text: string, options: OpenOptions): M4Error {
  const line = text.split(/[\r\n]/, 1)[0] ?? ''
  const separator = separatorsOf(path, options).find((each) => line.includes(each)) ?? ','
  const got = (firstRow(text, separator, options)?.cells ?? []).map((cell) => cell.slice(0, 40))
  return adviceError(
    'FORMAT_INVALID',
    `${path}: expected a header with ${EXPECTED_FIELDS}, the first row is ${JSON.stringify(got)}.`,
    {
      say: 'Add a first row with these names, or say where the fields stand, by name or by number from 0',
      examples: [{ columns: { text: 'sentence', label: 'class' } }, { columns: { text: 0, label: 1 } }],
    },
    { path, expected: EXPECTED_FIELDS, got },
  )
}

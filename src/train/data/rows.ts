/** JSONL (one object a line), or a JSON list of objects → samples of texts, chats, or media that the rows name. */

import { adviceError } from '../../core/advice.js'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import { yieldToEventLoop } from '../../core/progress.js'
import { chatSample } from './chat.js'
import {
  collectRows,
  describeValue,
  EXPECTED_FIELDS,
  type FoundFields,
  findFields,
  type RowCollector,
} from './fields.js'
import type { FindingList } from './findings.js'
import { type Reader, type Reading, requireFile } from './reader.js'
import type { ChatSample, Extra, OpenOptions } from './samples.js'

interface JsonRow {
  readonly row: number
  readonly value: unknown
}

type JsonObject = Readonly<Record<string, unknown>>

const ROWS_AT_ONCE = 1 << 15

export const readRows: Reader = async (source, options, findings): Promise<Reading> => {
  const { text, file } = requireFile(source, 'one JSONL or JSON file')
  const rows = text.trimStart().startsWith('[') ? listRows(source.path, text) : lineRows(text, findings)
  let collect: Collector | undefined
  let count = 0
  for (const { row, value } of rows) {
    if (!isObject(value)) {
      findings.add('invalid-field', `Row ${row}: expected an object, got ${describeValue(value)}.`, { row })
      continue
    }
    collect ??= collectorFor(source.path, value, options, findings)
    collect.add(row, value)
    if (++count % ROWS_AT_ONCE === 0) {
      throwIfAborted(options.signal)
      options.onProgress?.({ task: 'read data', done: count, unit: 'items' })
      await yieldToEventLoop()
    }
  }
  if (!collect)
    throw new M4Error(
      'FORMAT_INVALID',
      `${source.path}: no row is a JSON object with ${EXPECTED_FIELDS} or messages.`,
      {
        hint: 'Write one object a line, e.g. {"text": "…", "label": "…"}.',
        details: { path: source.path, findings: findings.list() },
      },
    )
  const reading = await collect.finish()
  return { ...reading, files: [file, ...reading.files] }
}

/** Lines are parsed one by one; a line that is not JSON is reported with its number. */
function* lineRows(text: string, findings: FindingList): Generator<JsonRow> {
  for (let at = 0, row = 1; at < text.length; row++) {
    const end = text.indexOf('\n', at)
    const line = text.slice(at, end < 0 ? text.length : end)
    at = end < 0 ? text.length : end + 1
    if (!line.trim()) continue
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      findings.add('invalid-json', `Line ${row} is not JSON: ${(error as Error).message}.`, { row })
      continue
    }
    yield { row, value }
  }
}

/** @throws M4Error `FORMAT_INVALID` */
function listRows(path: string, text: string): JsonRow[] {
  try {
    return (JSON.parse(text) as unknown[]).map((value, i) => ({ row: i + 1, value }))
  } catch (error) {
    throw new M4Error('FORMAT_INVALID', `${path} is not JSON: ${(error as Error).message}.`, {
      hint: 'A list is read whole; one object a line (JSONL) is read line by line.',
      details: { path },
      cause: error,
    })
  }
}

interface Collector {
  readonly add: (row: number, value: JsonObject) => void
  readonly finish: RowCollector['finish']
}

/** The first object says which fields all must have. */
function collectorFor(path: string, first: JsonObject, options: OpenOptions, findings: FindingList): Collector {
  const names = Object.keys(first)
  const numbered = Object.entries(options.columns ?? {}).find(([, column]) => typeof column === 'number')
  if (numbered)
    throw new M4Error('USAGE', `Column ${numbered[1]} for ${numbered[0]}: fields of JSON have names.`, {
      hint: 'Give the name of the field.',
    })
  const { messages = 'messages', ...columns } = options.columns ?? {}
  if (Array.isArray(first[messages])) return chatCollector(String(messages), findings)
  const found = findFields(names, columns)
  if (!found)
    throw adviceError(
      'FORMAT_INVALID',
      `${path}: expected objects with ${EXPECTED_FIELDS} or messages, got ${JSON.stringify(names)}.`,
      {
        say: 'Rename the fields, or say where they stand',
        examples: [{ columns: { text: 'sentence', label: 'intent' } }],
      },
      { path, expected: EXPECTED_FIELDS, got: names },
    )
  return fieldCollector(path, names, found, options, findings)
}

function fieldCollector(
  path: string,
  names: readonly string[],
  { shape, at }: FoundFields,
  options: OpenOptions,
  findings: FindingList,
): Collector {
  const [asked, learned] = at.map((i) => names[i]!) as [string, string]
  const rows = collectRows(shape, path, options, findings)
  const extraNames = new Set<string>()
  return {
    add(row, value) {
      const extra = extraOf(value, [asked, learned], extraNames)
      rows.add(row, value[asked], value[learned], extra)
    },
    finish() {
      reportExtra(extraNames, findings)
      return rows.finish()
    },
  }
}

function chatCollector(messages: string, findings: FindingList): Collector {
  const samples: ChatSample[] = []
  const extraNames = new Set<string>()
  return {
    add(row, value) {
      const sample = chatSample(row, value[messages], findings)
      const extra = extraOf(value, [messages], extraNames)
      if (sample) samples.push(extra ? { ...sample, extra } : sample)
    },
    async finish() {
      reportExtra(extraNames, findings)
      return { kind: 'chat', samples, files: [] }
    },
  }
}

function extraOf(value: JsonObject, known: readonly string[], names: Set<string>): Extra | undefined {
  const extra = Object.entries(value).filter(([name]) => !known.includes(name))
  if (!extra.length) return undefined
  for (const [name] of extra) names.add(name)
  return Object.fromEntries(extra)
}

function reportExtra(names: ReadonlySet<string>, findings: FindingList): void {
  if (names.size) findings.add('extra-columns', `Not trained on, kept as extra: ${[...names].join(', ')}.`)
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

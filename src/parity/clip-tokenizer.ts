/** CLIP and VITS tokenizer cases: `cases.json` with texts, what cleaning leaves of them, ids and padded sequences. */

import { gunzipSync } from 'node:zlib'
import { M4Error } from '../core/errors.js'
import {
  CLIP_END,
  CLIP_START,
  cleanClipText,
  clipSequence,
  fromCharacters,
  fromClipMerges,
  loadTokenizer,
  normaliseCharacters,
} from '../tokenizers/index.js'
import { type ParityCase, readBytes, readJsonFile } from './case.js'
import { countReport } from './compare.js'
import type { OutputReport, Runner } from './types.js'
import { vocabularyFile } from './vocabularies.js'

type Row = Readonly<Record<string, unknown>>

/** One thing that a case says of a text, and what this version makes of it. */
type Check = readonly [name: string, got: (row: Row) => unknown]

export const runClipTokenizer: Runner = async ({ parityCase }) => {
  const { contextLength = 77, sot, eot, vocab } = parityCase.config
  const bytes = readBytes(vocabularyFile(parityCase, String(vocab)))
  const merges = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes
  const tokenizer = loadTokenizer(fromClipMerges(new TextDecoder().decode(merges)))
  const [startId, endId] = [tokenizer.bosId!, tokenizer.eosId!]
  // ftfy also mends texts that were decoded wrongly; where it changed something, its result is what we start from.
  const source = (row: Row) => String(row.ftfyChanges ? row.afterFtfy : row.text)
  const ids = (row: Row) => tokenizer.encode(source(row), { allowSpecial: true })
  const sequence = (row: Row, overflow: 'keepEnd' | 'cut') =>
    clipSequence(ids(row), { length: Number(contextLength), startId, endId, overflow })
  const checks = checkRows(parityCase, [
    ['cleaned', (row) => cleanClipText(source(row))],
    ['ids', ids],
    ['ids77', (row) => sequence(row, 'keepEnd').ids],
    ['ids77Fork', (row) => sequence(row, 'cut').ids],
    ['eotIndexUpstream', (row) => sequence(row, 'keepEnd').endIndex],
    ['decoded', (row) => tokenizer.decode(row.ids as number[], { keepSpecial: true })],
  ])
  const named = [
    ['sot', sot, tokenizer.specialIds.get(CLIP_START)],
    ['eot', eot, tokenizer.specialIds.get(CLIP_END)],
  ] as const
  const wrong = named.filter(([, expected, got]) => expected !== undefined && expected !== got)
  const specials = wrong.map(([key, expected, got]) => `${key}: expected ${expected}, got ${got}`)
  return { checks: [...checks, countReport('specials', specials)] }
}

export const runCharacterTokenizer: Runner = async ({ parityCase }) => {
  const { vocab, addBlank, blankId = 0 } = parityCase.config
  const own = parityCase.files.find(({ role, file }) => role === 'vocabulary' || file === 'vocab.json')
  const table = own ? readJsonFile(parityCase.path(own.file)) : vocab
  const vocabulary = table as Readonly<Record<string, number>>
  const tokenizer = loadTokenizer(fromCharacters(vocabulary, addBlank === false ? null : Number(blankId)))
  const pieces = new Set(Object.keys(vocabulary))
  return {
    checks: checkRows(parityCase, [
      ['normalised', (row) => normaliseCharacters(String(row.text), pieces)],
      ['ids', (row) => tokenizer.encode(String(row.text))],
      ['decoded', (row) => tokenizer.decode(row.ids as number[])],
    ]),
  }
}

/** One report for each thing that the case's rows say. */
function checkRows(parityCase: ParityCase, checks: readonly Check[]): OutputReport[] {
  const path = parityCase.path('cases.json')
  const rows = readJsonFile(path)
  if (!Array.isArray(rows) || rows.length === 0 || !rows.every((row) => typeof row?.text === 'string'))
    throw new M4Error('FORMAT_INVALID', `${path}: expected a list of {text, ids}.`)
  return checks.flatMap(([name, got]) => {
    const stated = (rows as Row[]).filter((row) => row[name] !== undefined)
    if (stated.length === 0) return []
    const wrong = stated.flatMap((row) => {
      const [expected, have] = [JSON.stringify(row[name]), JSON.stringify(got(row))]
      return expected === have
        ? []
        : [`${JSON.stringify(String(row.text).slice(0, 60))}: expected ${expected}, got ${have}`]
    })
    return [countReport(name, wrong)]
  })
}

/** Tokenizer cases: `cases.json` [{text, ids, decoded?}] and `decode.json` [{ids, decoded}] over a shared vocabulary. */

import { M4Error } from '../core/errors.js'
import { fromSentencePiece, loadTokenizer, type Tokenizer } from '../tokenizers/index.js'
import { isFile, type ParityCase, readBytes, readJsonFile } from './case.js'
import { countReport } from './compare.js'
import type { OutputReport, Runner } from './types.js'
import { vocabularyFile, whisperTokenizer } from './vocabularies.js'

interface TextCase {
  readonly text?: string
  readonly ids: readonly number[]
  readonly decoded?: string
}

const OPENERS: Readonly<Record<string, (bytes: Uint8Array) => Tokenizer>> = Object.freeze({
  '.model': (bytes) => loadTokenizer(fromSentencePiece(bytes)),
  '.tiktoken': whisperTokenizer,
  '.json': (bytes) => loadTokenizer(JSON.parse(new TextDecoder().decode(bytes))),
})

export const runTokenizer: Runner = async ({ parityCase }) => {
  const tokenizer = openTokenizer(parityCase)
  const cases = readCases(parityCase, 'cases.json')
  const more = isFile(parityCase.path('decode.json')) ? readCases(parityCase, 'decode.json') : []
  const checks: OutputReport[] = [...specialsCheck(parityCase, tokenizer)]
  checks.push(
    countReport(
      'ids',
      cases.flatMap(({ text, ids }) => wrongIds(tokenizer, text, ids)),
    ),
  )
  // A decoder must give the reference's text; without one, the text that the ids were made from, if it is whole characters.
  const source = (text: string | undefined) => (text && /\p{Surrogate}/u.test(text) ? undefined : text)
  const decodings = [...cases, ...more].map(({ text, ids, decoded }) => ({ ids, expected: decoded ?? source(text) }))
  checks.push(
    countReport(
      'decoded',
      decodings.flatMap(({ ids, expected }) => wrongText(tokenizer, ids, expected)),
    ),
  )
  return { checks }
}

function openTokenizer(parityCase: ParityCase): Tokenizer {
  const { vocab } = parityCase.config
  const ending = /\.\w+$/.exec(String(vocab))?.[0] ?? ''
  const open = Object.hasOwn(OPENERS, ending) ? OPENERS[ending] : undefined
  if (typeof vocab !== 'string' || !open)
    throw new M4Error('FORMAT_UNSUPPORTED', `${parityCase.folder}: vocabulary ${JSON.stringify(vocab)} is not known.`, {
      hint: `Expected a file ending in ${Object.keys(OPENERS).join(', ')}.`,
    })
  return open(readBytes(vocabularyFile(parityCase, vocab)))
}

function readCases(parityCase: ParityCase, file: string): readonly TextCase[] {
  const cases = readJsonFile(parityCase.path(file))
  if (Array.isArray(cases) && cases.every((entry) => Array.isArray(entry?.ids))) return cases
  throw new M4Error('FORMAT_INVALID', `${parityCase.path(file)}: expected a list of {text, ids}.`)
}

function wrongIds(tokenizer: Tokenizer, text: string | undefined, ids: readonly number[]): string[] {
  if (text === undefined) return []
  const got = tokenizer.encode(text)
  return got.join() === ids.join() ? [] : [`${JSON.stringify(text.slice(0, 60))}: expected ${ids}, got ${got}`]
}

function wrongText(tokenizer: Tokenizer, ids: readonly number[], expected: string | undefined): string[] {
  if (expected === undefined) return []
  const got = tokenizer.decode(ids)
  return got === expected ? [] : [`${ids}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`]
}

/** Ids that the case names by role. */
function specialsCheck({ config }: ParityCase, tokenizer: Tokenizer): OutputReport[] {
  const named: readonly (readonly [key: string, got: number | undefined])[] = [
    ['vocabSize', tokenizer.vocabularySize],
    ['bos', tokenizer.bosId],
    ['eos', tokenizer.eosId],
    ['eot', tokenizer.specialIds.get('<|endoftext|>')],
    ['sot', tokenizer.specialIds.get('<|startoftranscript|>')],
    ['notimestamps', tokenizer.specialIds.get('<|notimestamps|>')],
  ]
  const asked = named.filter(([key]) => typeof config[key] === 'number')
  if (!asked.length) return []
  const wrong = asked.filter(([key, got]) => got !== config[key])
  return [
    countReport(
      'specials',
      wrong.map(([key, got]) => `${key}: expected ${config[key]}, got ${got}`),
    ),
  ]
}

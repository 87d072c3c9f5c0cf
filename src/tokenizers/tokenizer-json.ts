/**
 * The one tokenizer format of a firmware image: Hugging Face `tokenizer.json`, checked once here, plus the field `m4` that
 * names the roles which that format leaves to other files. Reference: the `tokenizers` crate's serialisation, version "1.0".
 */

import { M4Error } from '../core/errors.js'

export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
}

export interface BpeModel {
  readonly type: 'BPE'
  readonly unk_token?: string | null
  readonly byte_fallback?: boolean
  readonly end_of_word_suffix?: string | null
  readonly continuing_subword_prefix?: string | null
  readonly vocab: Readonly<Record<string, number>>
  readonly merges: readonly (string | readonly [string, string])[]
}

export interface WordPieceModel {
  readonly type: 'WordPiece'
  readonly unk_token: string
  readonly continuing_subword_prefix: string
  readonly max_input_chars_per_word?: number
  readonly vocab: Readonly<Record<string, number>>
}

/** One token a character (`characters.ts`). */
export interface WordLevelModel {
  readonly type: 'WordLevel'
  readonly unk_token?: string | null
  readonly vocab: Readonly<Record<string, number>>
}

/** A normaliser, pre-tokenizer or decoder as the file spells it. */
export interface Stage {
  readonly type: string
  readonly [option: string]: unknown
}

/** Roles of tokens by content; null says that there is none. Absent in files of other makers. */
export interface TokenRoles {
  readonly bos: string | null
  readonly eos: string | null
  readonly pad: string | null
  /** What is done to a text first: CLIP's cleaning. */
  readonly clean?: 'clip'
  /** Vocabularies of characters: the id between them, or null. */
  readonly blank?: number | null
}

export interface TokenizerJson {
  readonly version: string
  readonly truncation: unknown
  readonly padding: unknown
  readonly added_tokens: readonly AddedToken[]
  readonly normalizer: Stage | null
  readonly pre_tokenizer: Stage | null
  readonly post_processor: Stage | null
  readonly decoder: Stage | null
  readonly model: BpeModel | WordPieceModel | WordLevelModel
  readonly m4?: TokenRoles
}

/** A special token as converters write it: matched as it stands, never merged into other text. */
export function specialToken(id: number, content: string): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}

export function invalidTokenizer(what: string, hint = 'Convert the tokenizer again from its checkpoint.'): M4Error {
  return new M4Error('FORMAT_INVALID', `tokenizer.json: ${what}.`, { hint })
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Checks what loading relies on, so that nothing later has to guess.
 * @throws M4Error `FORMAT_INVALID`, or `FORMAT_UNSUPPORTED` for a model type other than BPE, WordPiece and WordLevel
 */
export function checkTokenizerJson(json: unknown): TokenizerJson {
  if (!isObject(json)) throw invalidTokenizer(`expected an object, got ${json === null ? 'null' : typeof json}`)
  const { model, added_tokens: added = [] } = json
  if (!isObject(model)) throw invalidTokenizer('expected an object "model"')
  if (model.type !== 'BPE' && model.type !== 'WordPiece' && model.type !== 'WordLevel')
    throw new M4Error('FORMAT_UNSUPPORTED', `tokenizer.json: model type ${JSON.stringify(model.type)} is not known.`, {
      hint: 'M4 reads BPE, WordPiece and WordLevel models.',
    })
  if (!isObject(model.vocab)) throw invalidTokenizer('expected an object "model.vocab"')
  const seen = new Set<number>()
  for (const [piece, id] of Object.entries(model.vocab)) {
    if (!isId(id)) throw invalidTokenizer(`piece ${JSON.stringify(piece)} has id ${String(id)}, expected 0, 1, 2…`)
    if (seen.has(id)) throw invalidTokenizer(`id ${id} is given to two pieces, the second is ${JSON.stringify(piece)}`)
    seen.add(id)
  }
  if (!Array.isArray(added)) throw invalidTokenizer('expected an array "added_tokens"')
  for (const token of added) checkAddedToken(token, model.vocab)
  if (model.type === 'BPE') checkMerges(model)
  if (json.m4 !== undefined) checkRoles(json.m4)
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...json,
    added_tokens: added,
  } as unknown as TokenizerJson
}

/** Far above any vocabulary, and low enough that a lying id cannot make a table of gigabytes. */
const MAX_ID = 1 << 24

const isId = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < MAX_ID

function checkAddedToken(token: unknown, vocabulary: Record<string, unknown>): void {
  if (!isObject(token) || typeof token.content !== 'string' || token.content === '' || !isId(token.id))
    throw invalidTokenizer(`added token ${JSON.stringify(token)} has no content or no id`)
  const known = Object.hasOwn(vocabulary, token.content) ? vocabulary[token.content] : undefined
  if (known !== undefined && known !== token.id)
    throw invalidTokenizer(`added token ${token.content} has id ${token.id}, but ${String(known)} in the vocabulary`)
  if (token.single_word === true)
    throw new M4Error('FORMAT_UNSUPPORTED', `tokenizer.json: added token ${token.content} asks for single_word.`, {
      hint: 'Tokens that match only between word boundaries are not read by M4.',
    })
}

function checkMerges(model: Record<string, unknown>): void {
  if (!Array.isArray(model.merges)) throw invalidTokenizer('expected an array "model.merges"')
  const vocabulary = model.vocab as Record<string, number>
  for (const merge of model.merges as unknown[]) {
    const pair: unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : []
    if (pair.length !== 2 || !pair.every((part) => typeof part === 'string'))
      throw invalidTokenizer(`merge ${JSON.stringify(merge)} is not a pair of pieces`)
    if (!Object.hasOwn(vocabulary, pair.join('')))
      throw invalidTokenizer(`merge ${JSON.stringify(merge)} makes a piece that the vocabulary does not have`)
  }
}

function checkRoles(roles: unknown): void {
  const fits = (value: unknown) => value === null || typeof value === 'string'
  if (!isObject(roles) || !fits(roles.bos) || !fits(roles.eos) || !fits(roles.pad))
    throw invalidTokenizer(`field "m4" must name bos, eos and pad, got ${JSON.stringify(roles)}`)
  if (roles.clean !== undefined && roles.clean !== 'clip')
    throw invalidTokenizer(`field "m4" asks for the cleaning ${JSON.stringify(roles.clean)}, expected "clip"`)
  if (roles.blank !== undefined && roles.blank !== null && !isId(roles.blank))
    throw invalidTokenizer(`field "m4" names the blank ${JSON.stringify(roles.blank)}, expected an id or null`)
}

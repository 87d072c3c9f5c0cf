/**
 * SentencePiece BPE (pieces with scores, as `.model` files and GGUF carry it) → `tokenizer.json`. SentencePiece merges the
 * adjacent pair whose concatenation has the highest score; the merge list is every way to cut every piece in two, best score
 * first, as transformers' SentencePieceExtractor writes it.
 */

import { M4Error } from '../core/errors.js'
import { type AddedToken, type Stage, specialToken, type TokenizerJson } from './tokenizer-json.js'

/** `SentencePiece.Type` of sentencepiece_model.proto; GGUF's `token_type` uses the same numbers. */
export const PIECE_TYPE = Object.freeze({ normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 })

export interface ScoredPiece {
  readonly piece: string
  readonly score: number
  readonly type: number
}

export interface ScoredPiecesOptions {
  /** Puts "▁" in front of every text (`add_dummy_prefix`). */
  readonly dummyPrefix: boolean
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly padId: number | undefined
  /** Where the pieces are from, for messages. */
  readonly origin: string
}

/** @throws M4Error `FORMAT_INVALID` for duplicate pieces, unknown piece types, roles without a piece, missing byte pieces */
export function fromScoredPieces(pieces: readonly ScoredPiece[], options: ScoredPiecesOptions): TokenizerJson {
  const { origin, dummyPrefix } = options
  const ids = new Map<string, number>()
  for (const [id, { piece, score, type }] of pieces.entries()) {
    if (ids.has(piece))
      throw invalid(origin, `piece ${JSON.stringify(piece)} occurs twice, as ${ids.get(piece)} and ${id}`)
    if (!Object.values(PIECE_TYPE).includes(type as 1))
      throw invalid(origin, `piece ${id} has the unknown type ${type}`)
    if (!Number.isFinite(score)) throw invalid(origin, `piece ${id} has the score ${score}`)
    ids.set(piece, id)
  }
  const unknown = pieces.find(({ type }) => type === PIECE_TYPE.unknown)?.piece ?? null
  const byteCount = pieces.filter(({ type }) => type === PIECE_TYPE.byte).length
  if (byteCount !== 256 && (byteCount !== 0 || unknown === null))
    throw invalid(origin, `${byteCount} byte pieces, expected 256 (or none, and a piece for unknown characters)`)
  const role = (name: string, id: number | undefined) => {
    if (id === undefined) return null
    const found = pieces[id]?.piece
    if (found === undefined) throw invalid(origin, `${name} is id ${id}, but there are ${pieces.length} pieces`)
    return found
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(pieces),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(dummyPrefix ? [{ type: 'Prepend', prepend: '\u2581' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' },
      ],
    },
    pre_tokenizer: wordSplit(pieces),
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(dummyPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE',
      unk_token: unknown,
      byte_fallback: byteCount === 256,
      vocab: Object.fromEntries(ids),
      merges: mergesOf(pieces, ids),
    },
    m4: { bos: role('bos', options.bosId), eos: role('eos', options.eosId), pad: role('pad', options.padId) },
  }
}

function addedTokens(pieces: readonly ScoredPiece[]): AddedToken[] {
  const added: AddedToken[] = []
  for (const [id, { piece, type }] of pieces.entries()) {
    if (type === PIECE_TYPE.control || type === PIECE_TYPE.unknown) added.push(specialToken(id, piece))
    if (type === PIECE_TYPE.userDefined) added.push({ ...specialToken(id, piece), special: false })
  }
  return added
}

/**
 * Where no piece goes on over the beginning of a word, words can be merged one by one: the same ids, and the library's cache
 * of words makes it several times faster. Otherwise the whole text is one word.
 */
function wordSplit(pieces: readonly ScoredPiece[]): Stage | null {
  const crosses = pieces.some(({ piece, type }) => type === PIECE_TYPE.normal && /[^\u2581]\u2581/.test(piece))
  if (crosses) return null
  const pattern = { Regex: '\u2581*[^\u2581]+|\u2581+' }
  return { type: 'Split', pattern, behavior: 'Isolated', invert: false }
}

function mergesOf(pieces: readonly ScoredPiece[], ids: ReadonlyMap<string, number>): [string, string][] {
  const mergeable = (text: string) => {
    const id = ids.get(text)
    return id !== undefined && pieces[id]!.type === PIECE_TYPE.normal ? id : undefined
  }
  const merges: { left: number; right: number; whole: number }[] = []
  for (const [whole, { piece, type }] of pieces.entries()) {
    if (type !== PIECE_TYPE.normal) continue
    for (let cut = 1; cut < piece.length; cut++) {
      const left = mergeable(piece.slice(0, cut))
      const right = mergeable(piece.slice(cut))
      if (left !== undefined && right !== undefined) merges.push({ left, right, whole })
    }
  }
  merges.sort(
    (a, b) =>
      pieces[b.whole]!.score - pieces[a.whole]!.score || a.whole - b.whole || a.left - b.left || a.right - b.right,
  )
  return merges.map(({ left, right }) => [pieces[left]!.piece, pieces[right]!.piece])
}

const invalid = (origin: string, what: string) =>
  new M4Error('FORMAT_INVALID', `${origin}: ${what}.`, { hint: 'Fetch the file again, or from another source.' })

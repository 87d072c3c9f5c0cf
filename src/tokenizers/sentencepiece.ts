/** SentencePiece `.model` files (protobuf `sentencepiece.ModelProto`), BPE models as LLaMA uses → `tokenizer.json`. */

import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import { M4Error } from '../core/errors.js'
import { fromScoredPieces, PIECE_TYPE, type ScoredPiece } from './scored-pieces.js'
import type { TokenizerJson } from './tokenizer-json.js'

/** Field numbers of `ModelProto` and the messages in it. */
const MODEL = { pieces: 1, trainer: 2, normalizer: 3 } as const
const PIECE = { piece: 1, score: 2, type: 3 } as const
const TRAINER = { modelType: 3, whitespaceAsSuffix: 24, bosId: 41, eosId: 42, padId: 43 } as const
const NORMALIZER = { charsMap: 2, addDummyPrefix: 3, removeExtraWhitespaces: 4, escapeWhitespaces: 5 } as const

const MODEL_TYPE_BPE = 2

/**
 * @throws M4Error `FORMAT_INVALID` for bytes that are not such a file; `FORMAT_UNSUPPORTED` for other model types, for
 * normalisers other than identity, and for user-defined or unused pieces
 */
export function fromSentencePiece(bytes: Uint8Array): TokenizerJson {
  const { pieces, trainer, normalizer } = readModel(bytes)
  const unsupported = (what: string) =>
    new M4Error('FORMAT_UNSUPPORTED', `SentencePiece model: ${what}.`, {
      hint: 'M4 reads BPE models with the identity normaliser, as LLaMA has. For others give a tokenizer.json.',
    })
  const modelType = trainer.get(TRAINER.modelType) ?? 1
  if (modelType !== MODEL_TYPE_BPE) throw unsupported(`model type ${modelType}, expected ${MODEL_TYPE_BPE} (BPE)`)
  if (trainer.get(TRAINER.whitespaceAsSuffix)) throw unsupported('treats whitespace as a suffix')
  if (normalizer.get(NORMALIZER.charsMap)) throw unsupported('has a character map')
  if (normalizer.get(NORMALIZER.removeExtraWhitespaces) ?? 1) throw unsupported('removes extra whitespace')
  if (!(normalizer.get(NORMALIZER.escapeWhitespaces) ?? 1)) throw unsupported('does not escape whitespace')
  const odd = pieces.find(({ type }) => type === PIECE_TYPE.userDefined || type === PIECE_TYPE.unused)
  if (odd) throw unsupported(`piece ${JSON.stringify(odd.piece)} is user-defined or unused`)
  const id = (field: number, absent: number) => {
    const value = trainer.get(field) ?? absent
    return value < 0 ? undefined : value
  }
  return fromScoredPieces(pieces, {
    origin: 'SentencePiece model',
    dummyPrefix: (normalizer.get(NORMALIZER.addDummyPrefix) ?? 1) !== 0,
    bosId: id(TRAINER.bosId, 1),
    eosId: id(TRAINER.eosId, 2),
    padId: id(TRAINER.padId, -1),
  })
}

interface ModelProto {
  readonly pieces: ScoredPiece[]
  readonly trainer: ReadonlyMap<number, number>
  readonly normalizer: ReadonlyMap<number, number>
}

function readModel(bytes: Uint8Array): ModelProto {
  const pieces: ScoredPiece[] = []
  let trainer = new Map<number, number>()
  let normalizer = new Map<number, number>()
  try {
    const reader = new BinaryReader(bytes)
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag()
      if (field === MODEL.pieces) pieces.push(readPiece(reader.bytes()))
      else if (field === MODEL.trainer) trainer = readNumbers(reader.bytes())
      else if (field === MODEL.normalizer) normalizer = readNumbers(reader.bytes())
      else reader.skip(wire, field)
    }
  } catch (cause) {
    throw notAModel(`${(cause as Error).message}`, cause)
  }
  if (pieces.length === 0) throw notAModel('it has no pieces')
  return { pieces, trainer, normalizer }
}

function readPiece(bytes: Uint8Array): ScoredPiece {
  const reader = new BinaryReader(bytes)
  let piece = ''
  let score = 0
  let type: number = PIECE_TYPE.normal
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag()
    if (field === PIECE.piece) piece = reader.string()
    else if (field === PIECE.score) score = reader.float()
    else if (field === PIECE.type) type = reader.int32()
    else reader.skip(wire, field)
  }
  return { piece, score, type }
}

/** Whole-number fields by their value, byte and string fields by their length. */
function readNumbers(bytes: Uint8Array): Map<number, number> {
  const reader = new BinaryReader(bytes)
  const found = new Map<number, number>()
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag()
    if (wire === WireType.Varint) found.set(field, Number(reader.int64()))
    else if (wire === WireType.LengthDelimited) found.set(field, reader.bytes().length)
    else reader.skip(wire, field)
  }
  return found
}

const notAModel = (why: string, cause?: unknown) =>
  new M4Error('FORMAT_INVALID', `This is not a SentencePiece model file: ${why}.`, {
    hint: 'Expected the file that LLaMA checkpoints call tokenizer.model.',
    cause,
  })

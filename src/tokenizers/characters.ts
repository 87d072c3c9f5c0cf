/**
 * Characters as tokens: VITS and MMS text to speech. A text loses what the vocabulary lacks, and a blank stands between, before
 * and behind its characters, for the model to stretch.
 *
 * @reference huggingface/transformers@34ee3e4:src/transformers/models/vits/tokenization_vits.py
 */

import { M4Error } from '../core/errors.js'
import { checkTokenizerJson, type TokenizerJson, type WordLevelModel } from './tokenizer-json.js'
import type { DecodeStream, Tokenizer } from './types.js'

/**
 * `vocab.json` of a VITS checkpoint, character → id, → `tokenizer.json`.
 * @param blankId what stands between characters; null for a checkpoint without (`add_blank` false)
 * @throws M4Error `FORMAT_INVALID`
 */
export function fromCharacters(vocab: Readonly<Record<string, number>>, blankId: number | null = 0): TokenizerJson {
  return checkTokenizerJson({
    version: '1.0',
    added_tokens: [],
    model: { type: 'WordLevel', unk_token: null, vocab },
    m4: { bos: null, eos: null, pad: null, blank: blankId },
  })
}

/**
 * Lower case (unless the vocabulary has the capital), without characters that the vocabulary lacks, stripped.
 * Nothing of a text may be left: see `encode`.
 */
export function normaliseCharacters(text: string, vocabulary: { has(character: string): boolean }): string {
  let out = ''
  for (const character of text) {
    if (vocabulary.has(character)) out += character
    else for (const small of character.toLowerCase()) if (vocabulary.has(small)) out += small
  }
  return out.replace(OUTER_SPACE, '')
}

const OUTER_SPACE = /^\p{White_Space}+|\p{White_Space}+$/gu

/** @param file a checked `tokenizer.json` of the model type `WordLevel` */
export function characterTokenizer(file: TokenizerJson): Tokenizer {
  const ids = new Map(Object.entries((file.model as WordLevelModel).vocab))
  const long = [...ids.keys()].find((piece) => [...piece].length > 1 && !/^<.*>$/.test(piece))
  if (long !== undefined)
    throw new M4Error('FORMAT_UNSUPPORTED', `Vocabulary of characters: "${long}" is more than one.`, {
      hint: 'M4 reads VITS vocabularies of characters, without phonemes.',
    })
  const pieces: (string | undefined)[] = []
  for (const [piece, id] of ids) pieces[id] = piece
  const blank = file.m4?.blank ?? null
  if (blank !== null && pieces[blank] === undefined)
    throw new M4Error('FORMAT_INVALID', `Vocabulary of characters: the blank's id ${blank} is not in it.`)
  const decodeStream = (): DecodeStream => {
    let place = 0
    return {
      push(id) {
        const piece = pieces[id]
        if (piece === undefined)
          throw new M4Error('UNKNOWN_NAME', `Token id ${id} is not in the vocabulary of ${pieces.length} ids.`)
        // The blank's id may be a character's too: places tell them apart.
        return blank !== null && place++ % 2 === 0 ? '' : piece
      },
      end: () => '',
    }
  }
  return {
    kind: 'characters',
    vocabularySize: pieces.length,
    specialIds: new Map(),
    bosId: undefined,
    eosId: undefined,
    unknownId: undefined,
    padId: blank ?? undefined,
    encode(text, { addBos, addEos } = {}) {
      if (addBos || addEos)
        throw new M4Error('NOT_AVAILABLE', 'This tokenizer has no begin-of-text or end-of-text token.')
      const plain = Array.from(normaliseCharacters(text, ids), (character) => ids.get(character)!)
      if (blank === null || plain.length === 0) return plain
      return [blank, ...plain.flatMap((id) => [id, blank])]
    },
    decode(given) {
      const stream = decodeStream()
      return given.map((id) => stream.push(id)).join('')
    },
    decodeStream,
    idOf: (piece) => ids.get(piece),
    pieceOf: (id) => pieces[id],
  }
}

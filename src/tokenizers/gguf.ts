/** The tokenizer inside a GGUF file (`tokenizer.ggml.*` keys, model `llama`) → `tokenizer.json`. */

import { M4Error } from '../core/errors.js'
import { fromScoredPieces } from './scored-pieces.js'
import type { TokenizerJson } from './tokenizer-json.js'

/**
 * @param metadata key/values of the GGUF file; arrays as arrays or typed arrays
 * @throws M4Error `FORMAT_INVALID` for missing or inconsistent keys, `FORMAT_UNSUPPORTED` for tokenizers other than `llama`
 */
export function fromGguf(metadata: Readonly<Record<string, unknown>>): TokenizerJson {
  const model = metadata['tokenizer.ggml.model']
  if (model !== 'llama')
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `GGUF: tokenizer.ggml.model is ${JSON.stringify(model)}, expected "llama".`,
      {
        hint: 'M4 reads SentencePiece tokenizers from GGUF files. For others give a tokenizer.json.',
      },
    )
  const tokens = arrayOf(metadata, 'tokenizer.ggml.tokens')
  const scores = arrayOf(metadata, 'tokenizer.ggml.scores')
  const types = arrayOf(metadata, 'tokenizer.ggml.token_type')
  if (scores.length !== tokens.length || types.length !== tokens.length)
    throw invalid(`${tokens.length} tokens, but ${scores.length} scores and ${types.length} token types`)
  const pieces = Array.from(tokens, (piece, id) => {
    if (typeof piece !== 'string') throw invalid(`token ${id} is not a string`)
    return { piece, score: Number(scores[id]), type: Number(types[id]) }
  })
  return fromScoredPieces(pieces, {
    origin: 'GGUF tokenizer',
    dummyPrefix: metadata['tokenizer.ggml.add_space_prefix'] !== false,
    bosId: idOf(metadata, 'tokenizer.ggml.bos_token_id') ?? 1,
    eosId: idOf(metadata, 'tokenizer.ggml.eos_token_id') ?? 2,
    padId: idOf(metadata, 'tokenizer.ggml.padding_token_id'),
  })
}

function arrayOf(metadata: Readonly<Record<string, unknown>>, key: string): ArrayLike<unknown> {
  const value = metadata[key]
  if (Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)) return value as ArrayLike<unknown>
  throw invalid(`${key} is ${value === undefined ? 'missing' : 'not an array'}`)
}

function idOf(metadata: Readonly<Record<string, unknown>>, key: string): number | undefined {
  const value = metadata[key]
  if (value === undefined) return undefined
  const id = Number(value)
  if (!Number.isInteger(id)) throw invalid(`${key} is ${String(value)}, expected a token id`)
  return id
}

const invalid = (what: string) =>
  new M4Error('FORMAT_INVALID', `GGUF tokenizer: ${what}.`, { hint: 'Fetch the file again, or from another source.' })

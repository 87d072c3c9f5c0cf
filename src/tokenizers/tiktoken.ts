/**
 * tiktoken rank files (`<base64 of the token's bytes> <rank>` a line, e.g. gpt2.tiktoken) → `tokenizer.json` with GPT-2's
 * byte-level BPE. Ranks are ids, and a token's merge is the pair that is left when its bytes are merged with lower ranks only.
 */

import { M4Error } from '../core/errors.js'
import { BYTE_TO_CHARACTER, toByteAlphabet } from './byte-alphabet.js'
import { specialToken, type TokenizerJson, type TokenRoles } from './tokenizer-json.js'

/**
 * @param specials id → name of the special tokens, which rank files do not carry
 * @throws M4Error `FORMAT_INVALID` for bytes that are not such a file
 */
export function fromTiktoken(
  bytes: Uint8Array,
  specials: ReadonlyMap<number, string>,
  roles: TokenRoles = { bos: null, eos: null, pad: null },
): TokenizerJson {
  const tokens: Uint8Array[] = []
  for (const [index, line] of new TextDecoder().decode(bytes).split('\n').entries()) {
    if (line.trim() === '') continue
    const match = /^([A-Za-z0-9+/]+={0,2}) (\d+)\r?$/.exec(line)
    if (!match || Number(match[2]) !== tokens.length)
      throw new M4Error('FORMAT_INVALID', `Rank file, line ${index + 1}: expected "<base64> ${tokens.length}".`, {
        hint: 'Expected a tiktoken file such as gpt2.tiktoken, ranks in order.',
        details: { line: line.slice(0, 80) },
      })
    tokens.push(Uint8Array.from(atob(match[1]!), (character) => character.charCodeAt(0)))
  }
  return fromRankedTokens(tokens, specials, roles)
}

/**
 * Byte strings in rank order → byte-level BPE.
 * @throws M4Error `FORMAT_INVALID` when a byte has no token, a token occurs twice or cannot be made by merging two others
 */
export function fromRankedTokens(
  tokens: readonly Uint8Array[],
  specials: ReadonlyMap<number, string>,
  roles: TokenRoles,
): TokenizerJson {
  const ids = new Map<string, number>()
  for (const [rank, bytes] of tokens.entries()) {
    const piece = toByteAlphabet(bytes)
    if (piece === '' || ids.has(piece)) throw invalid(`rank ${rank} is ${piece === '' ? 'empty' : `again "${piece}"`}`)
    ids.set(piece, rank)
  }
  const missing = BYTE_TO_CHARACTER.findIndex((character) => !ids.has(character))
  if (missing >= 0) throw invalid(`byte ${missing} has no token`)
  const merges: [string, string][] = []
  for (const [piece, rank] of ids) if (piece.length > 1) merges.push(lastPair(piece, rank, ids))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...specials].map(([id, name]) => specialToken(id, name)),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: null, byte_fallback: false, vocab: Object.fromEntries(ids), merges },
    m4: roles,
  }
}

/** The two parts that are left of `piece` when everything ranked before it has been merged, lowest rank first. */
function lastPair(piece: string, rank: number, ids: ReadonlyMap<string, number>): [string, string] {
  const parts = [...piece]
  for (;;) {
    let best = rank
    let at = -1
    for (let i = 0; i + 1 < parts.length; i++) {
      const merged = ids.get(parts[i]! + parts[i + 1]!)
      if (merged !== undefined && merged < best) {
        best = merged
        at = i
      }
    }
    if (at < 0) break
    parts.splice(at, 2, parts[at]! + parts[at + 1]!)
  }
  if (parts.length !== 2) throw invalid(`rank ${rank}, "${piece}", is not made of two tokens of lower rank`)
  return [parts[0]!, parts[1]!]
}

const invalid = (what: string) =>
  new M4Error('FORMAT_INVALID', `Byte-level vocabulary: ${what}.`, {
    hint: 'Fetch the file again, or from another source.',
  })

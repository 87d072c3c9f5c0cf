/**
 * Ids → text, one id at a time, for the kinds of vocabulary whose pieces are merged. Whole texts are decoded by the same streams, so a streamed
 * answer and the answer at once are the same string. `sentencepiece-bpe` follows SentencePiece 0.1.97 `Decode`.
 */

import { M4Error } from '../core/errors.js'
import { CHARACTER_TO_BYTE } from './byte-alphabet.js'
import { WORD_END } from './clip.js'
import type { DecodeOptions, DecodeStream, MergingKind } from './types.js'

/** What decoding needs of a loaded tokenizer. */
export interface DecodeTable {
  readonly kind: MergingKind
  /** Sparse where the vocabulary has holes. */
  readonly pieces: readonly (string | undefined)[]
  /** Tokens with a fixed spelling: `special` ones are left out unless kept. */
  readonly added: ReadonlyMap<number, { readonly content: string; readonly special: boolean }>
  readonly unknownId: number | undefined
  /** WordPiece only: `##`. */
  readonly continuation: string
  /** WordPiece only: no space before `. , ? !`. */
  readonly cleanUp: boolean
  /** SentencePiece only: the encoder puts a space in front, so decoding takes one away. */
  readonly dummyPrefix: boolean
}

/** Turns pieces into text; `fixed` is a token with a fixed spelling and interrupts whatever is pending. */
interface PieceWriter {
  piece(piece: string): string
  fixed(content: string): string
  end(): string
}

/** What SentencePiece writes for its unknown piece. */
const UNKNOWN_SURFACE = ' \u2047 '

const WRITERS: Readonly<Record<MergingKind, (table: DecodeTable, continuing: boolean) => PieceWriter>> = {
  'sentencepiece-bpe': sentencePieceWriter,
  'byte-bpe': byteWriter,
  'clip-bpe': clipWriter,
  wordpiece: wordPieceWriter,
}

/** @throws M4Error `UNKNOWN_NAME` from `push` for an id outside the vocabulary */
export function makeDecodeStream(table: DecodeTable, options: DecodeOptions = {}): DecodeStream {
  const writer = WRITERS[table.kind](table, options.continuing ?? false)
  const unknownText = table.kind === 'sentencepiece-bpe' ? UNKNOWN_SURFACE : undefined
  return {
    push(id) {
      const added = table.added.get(id)
      if (id === table.unknownId && unknownText && !options.keepSpecial) return writer.fixed(unknownText)
      if (added) return added.special && !options.keepSpecial ? '' : writer.fixed(added.content)
      const piece = table.pieces[id]
      if (piece === undefined)
        throw new M4Error('UNKNOWN_NAME', `Token id ${id} is not in the vocabulary of ${table.pieces.length} ids.`, {
          hint: 'Ids of padded model heads have no text: mask them before choosing a token.',
          details: { id, vocabularySize: table.pieces.length },
        })
      return writer.piece(piece)
    },
    end: () => writer.end(),
  }
}

const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/

function sentencePieceWriter({ dummyPrefix }: DecodeTable, continuing: boolean): PieceWriter {
  let atStart = dummyPrefix && !continuing
  let pending: number[] = []
  // SentencePiece writes one U+FFFD for each byte that is no part of a character, where TextDecoder writes one a sequence.
  const takeBytes = (all: boolean) => {
    let text = ''
    let from = 0
    while (from < pending.length) {
      const { length, character } = characterAt(pending, from)
      if (character === undefined && length > pending.length - from && !all) break
      text += character ?? '\uFFFD'
      from += character === undefined ? 1 : length
    }
    pending = pending.slice(from)
    return started(text)
  }
  const started = (text: string) => {
    if (text !== '') atStart = false
    return text
  }
  return {
    piece(piece) {
      const byte = BYTE_PIECE.exec(piece)
      if (byte) {
        pending.push(Number.parseInt(byte[1]!, 16))
        return takeBytes(false)
      }
      const before = takeBytes(true)
      const text = piece.replaceAll('\u2581', ' ')
      const stripped = atStart && text.startsWith(' ') ? text.slice(1) : text
      // Only one space is taken away, even where that leaves nothing of the piece.
      atStart = false
      return before + stripped
    },
    fixed: (content) => takeBytes(true) + started(content),
    end: () => takeBytes(true),
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The character at `from`: undefined when the bytes are not one (yet); `length` is what its first byte announces. */
function characterAt(bytes: readonly number[], from: number): { length: number; character: string | undefined } {
  const lead = bytes[from]!
  const length =
    lead < 0x80
      ? 1
      : lead >= 0xc2 && lead < 0xe0
        ? 2
        : lead >= 0xe0 && lead < 0xf0
          ? 3
          : lead <= 0xf4 && lead >= 0xf0
            ? 4
            : 0
  const part = bytes.slice(from, from + length)
  // A wrong continuation byte cannot be mended by bytes to come.
  if (length === 0 || part.slice(1).some((byte) => (byte & 0xc0) !== 0x80)) return { length: 0, character: undefined }
  if (part.length < length) return { length, character: undefined }
  try {
    return { length, character: strictUtf8.decode(Uint8Array.from(part)) }
  } catch {
    return { length: 0, character: undefined }
  }
}

function byteWriter(): PieceWriter {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    // Characters outside the alphabet cannot occur: loading checks every piece.
    piece: (piece) =>
      decoder.decode(
        Uint8Array.from(piece, (character) => CHARACTER_TO_BYTE.get(character)!),
        { stream: true },
      ),
    fixed: (content) => decoder.decode() + content,
    end: () => decoder.decode(),
  }
}

/** CLIP writes a space behind every word, also before a full stop. */
function clipWriter(): PieceWriter {
  const bytes = byteWriter()
  return {
    ...bytes,
    piece: (piece) =>
      piece.endsWith(WORD_END) ? `${bytes.piece(piece.slice(0, -WORD_END.length))}${bytes.end()} ` : bytes.piece(piece),
  }
}

const CLOSING = new Set(['.', ',', '?', '!'])

function wordPieceWriter({ continuation, cleanUp }: DecodeTable, continuing: boolean): PieceWriter {
  let first = !continuing
  const separated = (piece: string) => {
    if (!first && piece.startsWith(continuation)) return piece.slice(continuation.length)
    const text = first || (cleanUp && CLOSING.has(piece)) ? piece : ` ${piece}`
    first = false
    return text
  }
  return { piece: separated, fixed: separated, end: () => '' }
}

/** What every tokenizer gives, whatever it was made from: text to ids and back, one id at a time if need be. */

export type TokenizerKind = 'sentencepiece-bpe' | 'byte-bpe' | 'clip-bpe' | 'wordpiece' | 'characters'

/** Kinds whose pieces are merged from smaller ones; characters have nothing to merge. */
export type MergingKind = Exclude<TokenizerKind, 'characters'>

export interface EncodeOptions {
  /** Puts the begin-of-text id in front (`[CLS]` for WordPiece). Default false. */
  readonly addBos?: boolean
  /** Puts the end-of-text id behind (`[SEP]` for WordPiece). Default false. */
  readonly addEos?: boolean
  /**
   * Reads `</s>`, `<|endoftext|>` and the like inside the text as the special tokens of that name. Default false: text that
   * comes from outside must not be able to end a turn or forge one.
   */
  readonly allowSpecial?: boolean
}

export interface DecodeOptions {
  /** Writes special tokens as their name instead of leaving them out. Default false. */
  readonly keepSpecial?: boolean
  /** The ids continue a text (tokens after a prompt), so a leading space belongs to them. Default false. */
  readonly continuing?: boolean
}

/** Text of ids that arrive one by one. What `push` returned is final: no half character, no space taken back later. */
export interface DecodeStream {
  /** @throws M4Error `UNKNOWN_NAME` for an id that the vocabulary does not have */
  push(id: number): string
  /** What was still held back: an incomplete character becomes U+FFFD. */
  end(): string
}

export interface Tokenizer {
  readonly kind: TokenizerKind
  /** Highest id + 1, special tokens included. Model heads may be padded beyond it. */
  readonly vocabularySize: number
  /** Special tokens by name, e.g. `</s>` → 2. */
  readonly specialIds: ReadonlyMap<string, number>
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly unknownId: number | undefined
  readonly padId: number | undefined
  /**
   * Ids of a text, without specials unless asked. Nothing is ever cut, whatever limits the tokenizer's file names.
   * @throws M4Error `NOT_AVAILABLE` when `addBos` or `addEos` is asked of a tokenizer that has no such token
   */
  encode(text: string, options?: EncodeOptions): number[]
  /** @throws M4Error `UNKNOWN_NAME` for an id that the vocabulary does not have */
  decode(ids: readonly number[], options?: DecodeOptions): string
  decodeStream(options?: DecodeOptions): DecodeStream
  /** Id of a vocabulary entry as the vocabulary spells it (`▁the`, `Ġthe`, `##ing`, `</s>`). */
  idOf(piece: string): number | undefined
  pieceOf(id: number): string | undefined
}

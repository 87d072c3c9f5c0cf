/**
 * `tokenizer.json` → a tokenizer. Normalising, splitting and merging is done by @huggingface/tokenizers 0.2.0. Checked: the ids
 * of SentencePiece and tiktoken on every golden case, on 20,000 random strings each, and on 20,909 distinct words of real text;
 * 0.1 s for 100 kB of prose, 0.3 s for one word of 100,000 characters. Ours are the parts that it does not offer: special
 * tokens in a text only when allowed, decoding that can stream, and two exactness repairs named below.
 */

import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers'
import { M4Error } from '../core/errors.js'
import { CHARACTER_TO_BYTE } from './byte-alphabet.js'
import { characterTokenizer } from './characters.js'
import { cleanClipText, WORD_END } from './clip.js'
import { type DecodeTable, makeDecodeStream } from './decode.js'
import { splitAtTokens } from './split.js'
import { checkTokenizerJson, invalidTokenizer, type Stage, type TokenizerJson } from './tokenizer-json.js'
import type { DecodeOptions, EncodeOptions, MergingKind, Tokenizer } from './types.js'

/**
 * @param json a parsed `tokenizer.json`. Its `truncation`, `padding` and `post_processor` are not followed: callers ask for
 * specials, and nothing is ever cut.
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function loadTokenizer(json: unknown): Tokenizer {
  const file = checkTokenizerJson(json)
  if (file.model.type === 'WordLevel') return characterTokenizer(file)
  const kind = kindOf(file)
  const ids = new Map<string, number>(Object.entries(file.model.vocab))
  for (const { content, id } of file.added_tokens) ids.set(content, id)
  const pieces: (string | undefined)[] = []
  for (const [piece, id] of ids) pieces[id] = piece
  const specialIds = new Map(file.added_tokens.filter((token) => token.special).map(({ content, id }) => [content, id]))
  const idFor = (piece: string | null | undefined) => (piece == null ? undefined : ids.get(piece))
  const unknownId = idFor(file.model.unk_token)
  const bosId = idFor(roleOf(file, 'bos'))
  const eosId = idFor(roleOf(file, 'eos'))
  checkAlphabet(file, kind, unknownId)

  const encodePlain = plainEncoder(file, unknownId)
  const alwaysMatched = file.added_tokens.filter((token) => !token.special)
  const splitAll = splitAtTokens(file.added_tokens)
  const splitPlain = splitAtTokens(alwaysMatched)
  const clean = file.m4?.clean === 'clip' ? cleanClipText : (text: string) => text
  const need = (id: number | undefined, name: string) => {
    if (id !== undefined) return id
    throw new M4Error('NOT_AVAILABLE', `This tokenizer has no ${name} token.`, { hint: 'Ask for ids without it.' })
  }
  const table: DecodeTable = {
    kind,
    pieces,
    added: new Map(file.added_tokens.map((token) => [token.id, token])),
    unknownId,
    continuation: file.model.type === 'WordPiece' ? file.model.continuing_subword_prefix : '',
    cleanUp: file.decoder?.type === 'WordPiece' && file.decoder.cleanup === true,
    dummyPrefix: stagesOf(file.decoder, 'decoders').some(({ type }) => type === 'Strip' || type === 'Metaspace'),
  }
  return {
    kind,
    vocabularySize: pieces.length,
    specialIds,
    bosId,
    eosId,
    unknownId,
    padId: idFor(roleOf(file, 'pad')),
    encode(text: string, options: EncodeOptions = {}) {
      const out: number[] = options.addBos ? [need(bosId, 'begin-of-text')] : []
      const split = options.allowSpecial ? splitAll : splitPlain
      for (const [index, section] of split(clean(wellFormed(text))).entries()) {
        if (typeof section === 'number') out.push(section)
        else for (const id of encodePlain(section, index)) out.push(id)
      }
      if (options.addEos) out.push(need(eosId, 'end-of-text'))
      return out
    },
    decode(idsToRead: readonly number[], options?: DecodeOptions) {
      const stream = makeDecodeStream(table, options)
      let text = ''
      for (const id of idsToRead) text += stream.push(id)
      return text + stream.end()
    },
    decodeStream: (options) => makeDecodeStream(table, options),
    idOf: (piece) => ids.get(piece),
    pieceOf: (id) => pieces[id],
  }
}

/** A lone surrogate is no character: as UTF-8 it is U+FFFD. */
const wellFormed = (text: string) => text.replace(/\p{Surrogate}/gu, '\uFFFD')

/** Parts of a stage that may be a `Sequence` (its parts stand under `key`) or single. */
function stagesOf(stage: Stage | null, key: string): readonly Stage[] {
  if (!stage) return []
  return stage.type === 'Sequence' ? ((stage[key] ?? []) as readonly Stage[]) : [stage]
}

function kindOf(file: TokenizerJson): MergingKind {
  const { model, decoder } = file
  if (model.type === 'WordPiece') return 'wordpiece'
  if (model.type === 'WordLevel') throw invalidTokenizer('a vocabulary of characters has no merges')
  if (model.end_of_word_suffix === WORD_END && !model.continuing_subword_prefix) return 'clip-bpe'
  if (model.end_of_word_suffix || model.continuing_subword_prefix)
    throw new M4Error('FORMAT_UNSUPPORTED', 'tokenizer.json: BPE with affixes at word ends is not read.', {
      hint: 'M4 reads byte-level BPE, SentencePiece BPE and WordPiece.',
    })
  const decoders = stagesOf(decoder, 'decoders').map(({ type }) => type)
  if (decoders.includes('ByteLevel')) return 'byte-bpe'
  if (decoders.includes('ByteFallback') || decoders.includes('Metaspace')) return 'sentencepiece-bpe'
  throw new M4Error(
    'FORMAT_UNSUPPORTED',
    `tokenizer.json: BPE with the decoder ${JSON.stringify(decoder)} is not known.`,
    {
      hint: 'Expected a ByteLevel decoder (GPT-2) or ByteFallback or Metaspace (SentencePiece).',
    },
  )
}

/** Names that files without the field `m4` use for a role; the first that the file has is taken. */
const ROLE_NAMES = Object.freeze({
  bos: ['<s>', '<|begin_of_text|>', '[CLS]'],
  eos: ['</s>', '<|end_of_text|>', '<|endoftext|>', '[SEP]'],
  pad: ['<pad>', '[PAD]'],
})

function roleOf(file: TokenizerJson, role: keyof typeof ROLE_NAMES): string | null {
  if (!file.m4)
    return ROLE_NAMES[role].find((name) => file.added_tokens.some(({ content }) => content === name)) ?? null
  const name = file.m4[role]
  if (name !== null && !file.added_tokens.some(({ content }) => content === name))
    throw invalidTokenizer(`field "m4" names ${name} as ${role}, which is not among its added tokens`)
  return name
}

/** Without a token for every byte, and none for unknown text, the library would drop characters silently. */
function checkAlphabet(file: TokenizerJson, kind: MergingKind, unknownId: number | undefined): void {
  const has = (piece: string) => Object.hasOwn(file.model.vocab, piece)
  if (file.model.unk_token != null && unknownId === undefined)
    throw invalidTokenizer(`unk_token ${file.model.unk_token} is not in the vocabulary`)
  if (kind === 'byte-bpe' || kind === 'clip-bpe') {
    const ends = kind === 'clip-bpe' ? ['', WORD_END] : ['']
    const missing = [...CHARACTER_TO_BYTE.keys()].find((character) => !ends.every((end) => has(character + end)))
    if (missing) throw invalidTokenizer(`byte ${CHARACTER_TO_BYTE.get(missing)} has no token`)
    const added = new Set(file.added_tokens.map(({ content }) => content))
    const odd = Object.keys(file.model.vocab).find(
      (piece) =>
        !added.has(piece) && [...withoutEnd(piece, kind)].some((character) => !CHARACTER_TO_BYTE.has(character)),
    )
    if (odd) throw invalidTokenizer(`piece ${JSON.stringify(odd)} is not written in the byte alphabet`)
  } else if (kind === 'sentencepiece-bpe' && unknownId === undefined) {
    const names = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
    const missing = names.find((name) => !has(name))
    if (missing) throw invalidTokenizer(`byte piece ${missing} is missing, and there is no unk_token`)
  }
}

const withoutEnd = (piece: string, kind: MergingKind) =>
  kind === 'clip-bpe' && piece.endsWith(WORD_END) ? piece.slice(0, -WORD_END.length) : piece

/** Text without special tokens → ids, through the library's stages. */
function plainEncoder(file: TokenizerJson, unknownId: number | undefined) {
  let library: LibraryTokenizer
  try {
    library = new LibraryTokenizer(
      // Added tokens are split off by us, so that a text cannot name one unasked.
      { ...file, added_tokens: [], pre_tokenizer: exactSplit(file.pre_tokenizer), post_processor: null },
      {},
    )
  } catch (cause) {
    throw new M4Error('FORMAT_UNSUPPORTED', `tokenizer.json: ${(cause as Error).message}.`, {
      hint: 'The library @huggingface/tokenizers does not know this stage.',
      cause,
    })
  }
  const { normalizer, pre_tokenizer: splitter, model } = library
  if (!model) throw invalidTokenizer('the library made no model of it')
  const vocabulary: ReadonlyMap<string, number> = model.tokens_to_ids
  const spacesIdeographs = stagesOf(file.normalizer, 'normalizers').some((stage) => stage.handle_chinese_chars === true)
  return (text: string, sectionIndex: number): number[] => {
    const spaced = spacesIdeographs ? text.replace(IDEOGRAPHS_BEYOND_BMP, ' $& ') : text
    const normal = normalizer ? normalizer.normalize(spaced) : spaced
    if (normal === '') return []
    const words = splitter ? splitter.pre_tokenize(normal, { section_index: sectionIndex }) : [normal]
    return model._call(words).map((piece: string) => {
      const id = vocabulary.get(piece) ?? unknownId
      if (id === undefined) throw invalidTokenizer(`the piece ${JSON.stringify(piece)} has no id`)
      return id
    })
  }
}

/** BERT puts spaces around ideographs; the library looks at UTF-16 units and misses those beyond the basic plane. */
const IDEOGRAPHS_BEYOND_BMP =
  /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B820}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu

/** GPT-2's pattern with Unicode white space: JavaScript's `\s` takes in U+FEFF and leaves out U+0085. */
const GPT2_WORDS =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+"

function exactSplit(stage: Stage | null): Stage | null {
  if (stage?.type !== 'ByteLevel' || stage.use_regex === false || stage.add_prefix_space === true) return stage
  return {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: GPT2_WORDS }, behavior: 'Isolated', invert: false },
      { ...stage, use_regex: false },
    ],
  }
}

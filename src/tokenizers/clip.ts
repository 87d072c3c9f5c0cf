/**
 * CLIP's byte-level BPE (also ImageBind's and Stable Diffusion's): its merge file → `tokenizer.json`, its cleaning of texts,
 * and the sequences of 77 ids that the models read.
 *
 * @reference facebookresearch/ImageBind@53680b0:imagebind/models/multimodal_preprocessors.py `SimpleTokenizer`
 */

import { M4Error } from '../core/errors.js'
import { BYTE_TO_CHARACTER } from './byte-alphabet.js'
import { unescapeHtml, windows1252 } from './html-entities.js'
import { specialToken, type TokenizerJson } from './tokenizer-json.js'

export const CLIP_START = '<|startoftext|>'
export const CLIP_END = '<|endoftext|>'
/** Marks the last piece of a word. */
export const WORD_END = '</w>'

/** 49408 ids: 256 bytes, the same at a word's end, the merges, start and end. */
const MERGES = 49_152 - 256 - 2

/**
 * @param merges text of `bpe_simple_vocab_16e6.txt`: a first line that says its version, then two pieces a line
 * @throws M4Error `FORMAT_INVALID`
 */
export function fromClipMerges(merges: string): TokenizerJson {
  const lines = merges.split('\n').slice(1, 1 + MERGES)
  const bytes = byteOrder().map((byte) => BYTE_TO_CHARACTER[byte]!)
  const pairs = lines.filter((line) => line.trim() !== '').map((line, i) => pairOf(line, i + 2))
  const pieces = [...bytes, ...bytes.map((piece) => piece + WORD_END), ...pairs.map((pair) => pair.join(''))]
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [CLIP_START, CLIP_END].map((name, i) => specialToken(pieces.length + i, name)),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: WORDS }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: null, byte_fallback: false, end_of_word_suffix: WORD_END, vocab, merges: pairs },
    m4: { bos: CLIP_START, eos: CLIP_END, pad: null, clean: 'clip' },
  }
}

/** Words, single digits and runs of other signs; `ſ` folds to `s` where letters are compared without case. */
const WORDS = "'[sſ]|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\p{White_Space}\\p{L}\\p{N}]+"

/** CLIP numbers the printable bytes first. */
function byteOrder(): number[] {
  const isPrintable = (byte: number) => BYTE_TO_CHARACTER[byte] === String.fromCharCode(byte)
  const all = Array.from({ length: 256 }, (_, byte) => byte)
  return [...all.filter(isPrintable), ...all.filter((byte) => !isPrintable(byte))]
}

function pairOf(line: string, number: number): [string, string] {
  const parts = line.replace(/\r$/, '').split(' ')
  if (parts.length === 2 && parts.every((part) => part !== '')) return parts as [string, string]
  throw new M4Error('FORMAT_INVALID', `CLIP merges, line ${number}: expected two pieces, got "${line.slice(0, 80)}".`, {
    hint: 'Expected bpe_simple_vocab_16e6.txt, unpacked.',
  })
}

/** What CLIP does to a text first: ftfy (see `tidyText`), HTML references twice, one space between words, lower case. */
export function cleanClipText(text: string): string {
  const plain = unescapeHtml(unescapeHtml(tidyText(text)))
  return plain.replace(SPACES, ' ').trim().toLowerCase()
}

const SPACES = /\p{White_Space}+/gu

/**
 * The parts of ftfy 6.3 `fix_text` that need no guessing: HTML references (where no tag is), Windows-1252 left as C1 controls,
 * ligatures, widths, curled quotes, line ends, terminal codes, control characters, NFC. Text that was decoded with a wrong character set is not mended.
 */
export function tidyText(text: string): string {
  const plain = text.includes('<') ? text : unescapeAll(text)
  return plain
    .replace(C1, windows1252)
    .replace(LIGATURES, (sign) => sign.normalize('NFKC'))
    .replace(WIDTHS, (sign) => sign.normalize('NFKC'))
    .replace(SINGLE_QUOTES, "'")
    .replace(DOUBLE_QUOTES, '"')
    .replace(LINE_ENDS, '\n')
    .replace(TERMINAL_CODES, '')
    .replace(CONTROLS, '')
    .normalize('NFC')
}

function unescapeAll(text: string): string {
  for (let before = text; ; ) {
    const after = before.replace(WHOLE_REFERENCES, unescapeHtml)
    if (after === before) return after
    before = after
  }
}

const WHOLE_REFERENCES = /&#?[0-9A-Za-z]{1,24};/g
const LIGATURES = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06]/g
const WIDTHS = /[\u3000\uff01-\uffef]/g
const SINGLE_QUOTES = /[\u02bc\u2018-\u201b]/g
const DOUBLE_QUOTES = /[\u201c-\u201f]/g
const LINE_ENDS = /\r\n|[\r\u0085\u2028\u2029]/g
const C1 = /[\u0080-\u009f]/g
const TERMINAL_CODES = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*[A-Za-z]`, 'g')
// Tab, line feed, form feed and carriage return stay.
const CONTROLS = /(?![\t\n\f\r\u0080-\u009f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffc]/gu

export interface ClipSequenceOptions {
  /** Default 77. */
  readonly length?: number
  readonly startId: number
  readonly endId: number
  /** Behind the end. Default 0, as OpenAI's and ImageBind's; Stable Diffusion 1 repeats `endId`. */
  readonly padId?: number
  /**
   * Where the ids do not fit: `keepEnd` cuts the text so that the end is the last id (ImageBind, transformers); `cut` cuts the
   * whole sequence, and the end is lost (both MobileFM forks). Default `keepEnd`.
   */
  readonly overflow?: 'keepEnd' | 'cut'
}

export interface ClipSequence {
  /** Start, text, end, padding. [length] */
  readonly ids: number[]
  /** Place of the first end, where the model reads the text's embedding; the largest id's where there is none. */
  readonly endIndex: number
  /** Ids of the text that did not fit: say so, nothing is cut silently. */
  readonly dropped: number
}

/** Ids of a text → the sequence that the model reads. @throws M4Error `USAGE` for a length below 2 */
export function clipSequence(text: readonly number[], options: ClipSequenceOptions): ClipSequence {
  const { length = 77, startId, endId, padId = 0, overflow = 'keepEnd' } = options
  if (!Number.isInteger(length) || length < 2)
    throw new M4Error('USAGE', `A sequence holds at least start and end, got a length of ${length}.`)
  const whole = [startId, ...text, endId]
  const cut = whole.slice(0, length)
  if (overflow === 'keepEnd' && whole.length > length) cut[length - 1] = endId
  const kept = Math.min(text.length, overflow === 'keepEnd' ? length - 2 : length - 1)
  const ids = [...cut, ...Array.from({ length: length - cut.length }, () => padId)]
  const largest = ids.reduce((best, id, i) => (id > ids[best]! ? i : best), 0)
  return { ids, endIndex: largest, dropped: text.length - kept }
}

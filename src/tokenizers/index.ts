/** Tokenizers: any checkpoint's vocabulary → `tokenizer.json` at build time → text to ids and back at run time. */

export { fromCharacters, normaliseCharacters } from './characters.js'
export {
  CLIP_END,
  CLIP_START,
  type ClipSequence,
  type ClipSequenceOptions,
  cleanClipText,
  clipSequence,
  fromClipMerges,
  tidyText,
} from './clip.js'
export { fromGguf } from './gguf.js'
export { loadTokenizer } from './load.js'
export {
  ARPABET,
  type Dictionary,
  decodeSounds,
  guessedWords,
  KOKORO_SYMBOLS,
  LETTER_COUNT,
  type LetterToSound,
  LONGEST_WORD,
  letterIds,
  letterToSound,
  normalise,
  type Phonemise,
  type PhonemiserOptions,
  phonemiser,
  readDictionary,
  toPhonemes,
} from './phonemes/index.js'
export { fromSentencePiece } from './sentencepiece.js'
export { fromTiktoken } from './tiktoken.js'
export { tinyTokenizer } from './tiny.js'
export type { AddedToken, TokenizerJson, TokenRoles } from './tokenizer-json.js'
export type { DecodeOptions, DecodeStream, EncodeOptions, Tokenizer, TokenizerKind } from './types.js'
export { fromGgmlWhisper, whisperSpecials } from './whisper.js'
export { whisperSuppress } from './whisper-suppress.js'

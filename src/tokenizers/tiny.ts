/** The tokenizer of the `tiny-random` firmware: one token a byte, no merges, `<s>` and `</s>` as a LLaMA has them. */

import { BYTE_TO_CHARACTER } from './byte-alphabet.js'
import { specialToken, type TokenizerJson } from './tokenizer-json.js'

/** 259 ids: 0 `<unk>`, 1 `<s>`, 2 `</s>`, then the 256 bytes, as in LLaMA's vocabulary. */
export function tinyTokenizer(): TokenizerJson {
  const specials = ['<unk>', '<s>', '</s>']
  const vocab = Object.fromEntries(BYTE_TO_CHARACTER.map((character, byte) => [character, specials.length + byte]))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials.map((name, id) => specialToken(id, name)),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: '<unk>', byte_fallback: false, vocab, merges: [] },
    m4: { bos: '<s>', eos: '</s>', pad: null },
  }
}

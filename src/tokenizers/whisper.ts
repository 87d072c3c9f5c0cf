/**
 * Whisper's special tokens (openai/whisper tokenizer.py) and its vocabulary as ggml files carry it. The `.en` models have one
 * token less in front (50256 instead of 50257), so all their specials are shifted by one.
 */

import { M4Error } from '../core/errors.js'
import { fromRankedTokens } from './tiktoken.js'
import type { TokenizerJson } from './tokenizer-json.js'

/** In id order. Whisper's 100th language (`yue`, large-v3) is in none of the models that M4 uses. */
const LANGUAGES =
  'en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su'.split(
    ' ',
  )

const TASKS = ['translate', 'transcribe', 'startoflm', 'startofprev', 'nospeech', 'notimestamps']

/** 0.00 s to 30.00 s in steps of 0.02 s. */
const TIMESTAMP_COUNT = 1501

/** Tokens before the specials: byte-level ranks. */
const RANK_COUNT = { english: 50256, multilingual: 50257 } as const

/** id → name; ids 50256…51863 for `.en`, 50257…51864 for multilingual models. */
export function whisperSpecials(isMultilingual: boolean): Map<number, string> {
  const names = ['endoftext', 'startoftranscript', ...LANGUAGES, ...TASKS]
  for (let step = 0; step < TIMESTAMP_COUNT; step++) names.push((step * 0.02).toFixed(2))
  const first = isMultilingual ? RANK_COUNT.multilingual : RANK_COUNT.english
  return new Map(names.map((name, index) => [first + index, `<|${name}|>`]))
}

const END_OF_TEXT = '<|endoftext|>'

/** Whisper's end-of-text token ends every answer; its prompt is put together by name, so there is no begin-of-text role. */
export const WHISPER_ROLES = Object.freeze({ bos: null, eos: END_OF_TEXT, pad: END_OF_TEXT })

/**
 * The vocabulary section of a ggml `.bin` file → `tokenizer.json`.
 * @param vocabulary bytes of each token in id order; an entry for `<|endoftext|>` behind the ranks is taken as such
 * @throws M4Error `FORMAT_INVALID` when the tokens are not those of a Whisper vocabulary
 */
export function fromGgmlWhisper(vocabulary: readonly Uint8Array[], isMultilingual: boolean): TokenizerJson {
  const ranks = isMultilingual ? RANK_COUNT.multilingual : RANK_COUNT.english
  if (vocabulary.length !== ranks && vocabulary.length !== ranks + 1)
    throw new M4Error(
      'FORMAT_INVALID',
      `Whisper vocabulary: expected ${ranks} tokens for ${isMultilingual ? 'a multilingual' : 'an English'} model, got ${vocabulary.length}.`,
      { hint: 'English models (.en) have n_vocab 51864, multilingual ones 51865.' },
    )
  const last = vocabulary[ranks]
  if (last && new TextDecoder().decode(last) !== END_OF_TEXT)
    throw new M4Error('FORMAT_INVALID', `Whisper vocabulary: token ${ranks} is not ${END_OF_TEXT}.`, {
      hint: 'Fetch the file again, or from another source.',
    })
  return fromRankedTokens(vocabulary.slice(0, ranks), whisperSpecials(isMultilingual), WHISPER_ROLES)
}

/**
 * Ids that Whisper must not choose while it transcribes: marks that stand for noises and speakers, and its own control tokens.
 *
 * @reference openai/whisper@ba3f3cd:whisper/tokenizer.py `non_speech_tokens`, whisper/decoding.py `_get_suppress_tokens`
 */

import type { Tokenizer } from './types.js'

const SYMBOLS = [
  ...'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
  ...'<< >> <<< >>> -- --- -( -[ (\' (" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪'.split(' '),
]
/** Notes are spelled with several tokens each; their first one is enough to stop them. */
const NOTES = [...'♩♪♫♬♭♮♯']
const CONTROLS = ['startoftranscript', 'translate', 'transcribe', 'startoflm', 'startofprev', 'nospeech']

/** Sorted ids to suppress at every step. */
export function whisperSuppress(tokenizer: Tokenizer): number[] {
  // A hyphen or an apostrophe inside a word is fine, one that begins a word is not.
  const ids = new Set([tokenizer.encode(' -')[0]!, tokenizer.encode(" '")[0]!])
  for (const symbol of [...SYMBOLS, ...NOTES])
    for (const spelled of [tokenizer.encode(symbol), tokenizer.encode(` ${symbol}`)])
      if (spelled.length === 1 || NOTES.includes(symbol)) ids.add(spelled[0]!)
  for (const name of CONTROLS) {
    const id = tokenizer.specialIds.get(`<|${name}|>`)
    if (id !== undefined) ids.add(id)
  }
  return [...ids].sort((a, b) => a - b)
}

/** Notices when a decoder says the same over and over: the tail of its tokens is one n-gram, repeated. */

/** A phrase of up to this many tokens … */
const LONGEST_PHRASE = 12
/** … said this often in a row … */
const REPEATS = 4
/** … and filling at least this many tokens is a loop: "no no no no" is not. */
const MIN_TOKENS = 16

/** Tokens to take off the end so that the repeated phrase stands once; 0 when the tail is no loop. */
export function loopedTokens(ids: readonly number[]): number {
  for (let phrase = 1; phrase <= LONGEST_PHRASE; phrase++) {
    const repeats = Math.max(REPEATS, Math.ceil(MIN_TOKENS / phrase))
    const length = repeats * phrase
    if (ids.length < length) continue
    let same = true
    for (let i = ids.length - 1; same && i >= ids.length - length + phrase; i--) same = ids[i] === ids[i - phrase]
    if (same) return length - phrase
  }
  return 0
}

/** A text as sentences, so that the first is heard while the rest is still being made. */

/** Ends of sentences; the marks of Chinese and Japanese need no space behind. */
const END = /[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+["”’」』）]*|\n\s*\n/g
/** A full stop behind these is none. */
const SHORTENED =
  /(?:^|[\s("“])(?:\p{Lu}|Mr|Mrs|Ms|Messrs|Dr|Prof|St|Sr|Jr|Gen|Col|Capt|Lt|Sgt|Rev|Hon|Gov|Sen|Rep|Pres|vs|cf|No|Nos|Fig|approx|e\.g|i\.e)\.$/u
/** Behind these a sentence may end, but not where a small letter follows: `the U.S. army`, `at 5 p.m. on Monday`. */
const MAY_END =
  /(?:\p{L}\.\p{L}|(?:^|\s)(?:etc|al|Inc|Ltd|Co|Corp|Bros|Ave|Blvd|Rd|Sq|Dept|est|min|max|hrs?|ft|lbs?|oz))\.$/u
/** None before a number: `p. 12`, `Jan. 5`. */
const BEFORE_NUMBER =
  /(?:^|[\s("“])(?:pp?|vols?|chs?|secs?|ext|art|op|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$/iu
/** Where a sentence that is too long is cut, best first. */
const CUTS = [/[;:—–]\s/g, /,\s/g, /\s/g]

/**
 * Sentences without the white space around them, none empty; together they hold every character but white space.
 * @param longest characters (code points) of a sentence; longer ones are cut at the last mark or space before that
 */
export function splitSentences(text: string, longest = 400): string[] {
  const sentences: string[] = []
  let from = 0
  for (const { index, 0: mark } of text.matchAll(END)) {
    const sentence = text.slice(from, index + mark.length).trim()
    if (mark === '.' && isShortened(sentence, text.slice(index + mark.length))) continue
    sentences.push(sentence)
    from = index + mark.length
  }
  sentences.push(text.slice(from).trim())
  return sentences.filter((sentence) => sentence !== '').flatMap((sentence) => cutLong(sentence, longest))
}

const isShortened = (before: string, behind: string): boolean =>
  SHORTENED.test(before) ||
  (MAY_END.test(before) && /^[ \t]*\p{Ll}/u.test(behind)) ||
  (BEFORE_NUMBER.test(before) && /^\s*\d/.test(behind))

/** Pieces of at most `longest` characters, cut behind a mark or at a space where there is one; nothing but white space is lost. */
export function cutLong(sentence: string, longest: number): string[] {
  const pieces: string[] = []
  let rest = sentence
  for (;;) {
    const characters = [...rest]
    if (characters.length <= longest) return [...pieces, rest]
    // A space right behind a full piece is a place to cut, too.
    const at = lastCut(characters.slice(0, longest + 1).join('')) ?? characters.slice(0, longest).join('').length
    pieces.push(rest.slice(0, at).trimEnd())
    rest = rest.slice(at).trimStart()
  }
}

/** Behind the last mark, or else space, of the second half. */
function lastCut(head: string): number | undefined {
  for (const cut of CUTS) {
    const last = [...head.matchAll(cut)].at(-1)
    if (last && last.index + 1 > head.length / 2) return last.index + 1
  }
  return undefined
}

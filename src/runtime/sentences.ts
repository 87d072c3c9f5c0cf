/** A text as sentences, so that the first is heard while the rest is still being made. */

/** Ends of sentences; the marks of Chinese and Japanese need no space behind. */
const END = /[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+["”’」』）]*|\n\s*\n/g
/** A full stop behind these is none. */
const SHORTENED = /(?:^|[\s("“])(?:\p{Lu}|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|No|Fig|approx|e\.g|i\.e)\.$/u
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
    if (mark === '.' && SHORTENED.test(sentence)) continue
    sentences.push(sentence)
    from = index + mark.length
  }
  sentences.push(text.slice(from).trim())
  return sentences.filter((sentence) => sentence !== '').flatMap((sentence) => cutLong(sentence, longest))
}

function cutLong(sentence: string, longest: number): string[] {
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

/** Words and n-grams as the text metrics count them. */

/** What Python's `str.split()` takes for white space; JavaScript's `\s` differs in U+001C–1F, U+0085 and U+FEFF. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python counts U+001C to U+001F as white space.
const WHITE_SPACE = /[\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/

/** Pieces between runs of white space; none is empty. */
export const splitWords = (text: string): string[] => text.split(WHITE_SPACE).filter((word) => word !== '')

/** Stands between the words of an n-gram's key: no word holds it. */
const JOINT = ' '

/** Every run of `order` words with its number of occurrences. */
export function countNgrams(words: readonly string[], order: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (let i = 0; i + order <= words.length; i++) {
    const key = words.slice(i, i + order).join(JOINT)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

/** How often the n-grams of `a` occur in `b` too, each at most as often as there. */
export function overlap(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const [key, count] of a) sum += Math.min(count, b.get(key) ?? 0)
  return sum
}

/** The largest count of each n-gram over several texts: what multi-reference metrics clip to. */
export function largestCounts(texts: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const largest = new Map<string, number>()
  for (const text of texts) for (const [key, count] of text) largest.set(key, Math.max(count, largest.get(key) ?? 0))
  return largest
}

export const mean = (values: readonly number[]): number =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : Number.NaN

/** 2pr / (p + r); 0 where both are. */
export const harmonic = (precision: number, recall: number): number =>
  precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0

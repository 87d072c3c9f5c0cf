/** Between a word and the classes of its letters: what the letter-to-sound model reads, and what its scores say. */

/** ' is 1, a to z are 2 to 27; 0 is no letter. */
export const LETTER_COUNT = 28

/** Letters that the model reads at once. */
export const LONGEST_WORD = 32

/** Ids of a word's letters; what is no letter is left out. @param word lower case */
export const letterIds = (word: string): number[] =>
  [...word].flatMap((letter) => (letter === "'" ? 1 : /[a-z]/.test(letter) ? letter.charCodeAt(0) - 95 : []))

/**
 * The likeliest sounds with one main stress: every letter takes its best class without one, but the letter that gains the most by it
 * (or loses the least).
 * @param scores logits or log-probabilities [T, sounds.length]
 * @param sounds ARPAbet of each class, '' for a silent letter
 * @returns ARPAbet with stress
 */
export function decodeSounds(scores: Float32Array, sounds: readonly string[]): string {
  const letters = Array.from({ length: scores.length / sounds.length }, (_, at) => {
    const row = scores.subarray(at * sounds.length, (at + 1) * sounds.length)
    return { main: best(row, sounds, true), other: best(row, sounds, false) }
  })
  const gains = letters.map(({ main, other }) => main.score - other.score)
  const stressed = gains.indexOf(Math.max(...gains))
  return letters
    .map(({ main, other }, at) => (at === stressed ? main : other).sound)
    .filter((sound) => sound !== '')
    .join(' ')
}

function best(row: Float32Array, sounds: readonly string[], isMain: boolean) {
  let found = { sound: '', score: Number.NEGATIVE_INFINITY }
  for (const [at, sound] of sounds.entries())
    if (sound.includes('1') === isMain && row[at]! > found.score) found = { sound, score: row[at]! }
  return found
}

/**
 * Which letter gives which phonemes: expectation maximisation over all ways to cut a pronunciation into as many pieces as the word
 * has letters, each piece of none, one or two phonemes.
 *
 * @paper epsilon scattering: Black, Lenzo, Pagel, "Issues in building general letter to sound rules" (1998)
 */

export interface Spelling {
  /** Ids of letters. */
  readonly letters: readonly number[]
  /** Ids of phonemes, stress left out. */
  readonly phones: readonly number[]
}

/** Phonemes of one letter at most. */
const LONGEST = 2
/** Before anything is known, each phoneme more is this much less likely. */
const PRIOR = 0.1

/** Table of P(piece | letter): none, one phoneme, or two in a row. */
class Pieces {
  readonly #probabilities: Float64Array
  readonly #counts: Float64Array
  readonly #perLetter: number

  constructor(
    readonly letterCount: number,
    readonly phoneCount: number,
  ) {
    this.#perLetter = 1 + phoneCount + phoneCount ** 2
    this.#probabilities = new Float64Array(letterCount * this.#perLetter)
    this.#counts = new Float64Array(this.#probabilities.length)
    for (let letter = 0; letter < letterCount; letter++)
      for (let piece = 0; piece < this.#perLetter; piece++)
        this.#probabilities[letter * this.#perLetter + piece] =
          piece === 0 ? PRIOR : piece <= phoneCount ? 1 / phoneCount : PRIOR / phoneCount ** 2
  }

  index({ letters, phones }: Spelling, letter: number, from: number, length: number): number {
    const start = letters[letter]! * this.#perLetter
    if (length === 0) return start
    if (length === 1) return start + 1 + phones[from]!
    return start + 1 + this.phoneCount + phones[from]! * this.phoneCount + phones[from + 1]!
  }

  probability(index: number): number {
    return this.#probabilities[index]!
  }

  count(index: number, share: number): void {
    this.#counts[index]! += share
  }

  /** Counts become probabilities; the next pass counts anew. */
  maximise(): void {
    for (let letter = 0; letter < this.letterCount; letter++) {
      const start = letter * this.#perLetter
      let sum = 0
      for (let piece = 0; piece < this.#perLetter; piece++) sum += this.#counts[start + piece]!
      for (let piece = 0; piece < this.#perLetter; piece++)
        this.#probabilities[start + piece] = sum > 0 ? this.#counts[start + piece]! / sum : 0
    }
    this.#counts.fill(0)
  }
}

/**
 * The likeliest cut of each spelling: how many phonemes each of its letters has; undefined where there are too many for its letters.
 * @param passes of expectation maximisation
 */
export function alignSpellings(
  spellings: readonly Spelling[],
  letterCount: number,
  phoneCount: number,
  passes = 6,
): (readonly number[] | undefined)[] {
  const pieces = new Pieces(letterCount, phoneCount)
  for (let pass = 0; pass < passes; pass++) {
    for (const spelling of spellings) expect(spelling, pieces)
    pieces.maximise()
  }
  return spellings.map((spelling) => likeliest(spelling, pieces))
}

/** Table [letters + 1, phonemes + 1] of what can be reached from its corner. */
function expect(spelling: Spelling, pieces: Pieces): void {
  const [rows, columns] = [spelling.letters.length, spelling.phones.length]
  const wide = columns + 1
  const forward = new Float64Array((rows + 1) * wide)
  forward[0] = 1
  for (let l = 0; l < rows; l++)
    for (let p = 0; p <= columns; p++) {
      const here = forward[l * wide + p]!
      if (here === 0) continue
      for (let n = 0; n <= LONGEST && p + n <= columns; n++)
        forward[(l + 1) * wide + p + n]! += here * pieces.probability(pieces.index(spelling, l, p, n))
    }
  const total = forward[rows * wide + columns]!
  if (!(total > 0)) return
  const backward = new Float64Array((rows + 1) * wide)
  backward[rows * wide + columns] = 1
  for (let l = rows - 1; l >= 0; l--)
    for (let p = 0; p <= columns; p++)
      for (let n = 0; n <= LONGEST && p + n <= columns; n++) {
        const index = pieces.index(spelling, l, p, n)
        const step = pieces.probability(index) * backward[(l + 1) * wide + p + n]!
        backward[l * wide + p]! += step
        pieces.count(index, (forward[l * wide + p]! * step) / total)
      }
}

/** Viterbi. */
function likeliest(spelling: Spelling, pieces: Pieces): readonly number[] | undefined {
  const [rows, columns] = [spelling.letters.length, spelling.phones.length]
  const wide = columns + 1
  const best = new Float64Array((rows + 1) * wide)
  const taken = new Uint8Array((rows + 1) * wide)
  best[0] = 1
  for (let l = 0; l < rows; l++)
    for (let p = 0; p <= columns; p++) {
      const here = best[l * wide + p]!
      if (here === 0) continue
      for (let n = 0; n <= LONGEST && p + n <= columns; n++) {
        const next = here * pieces.probability(pieces.index(spelling, l, p, n))
        const at = (l + 1) * wide + p + n
        if (next > best[at]!) {
          best[at] = next
          taken[at] = n
        }
      }
    }
  if (!(best[rows * wide + columns]! > 0)) return undefined
  const lengths: number[] = []
  for (let [l, p] = [rows, columns]; l > 0; l--) {
    const n = taken[l * wide + p]!
    lengths.unshift(n)
    p -= n
  }
  return lengths
}

/** Word and character error rate: Levenshtein distance with unit costs over the reference's length (speechbrain, in percent there). */

export interface ErrorRate {
  readonly insertions: number
  readonly deletions: number
  readonly substitutions: number
  /** insertions + deletions + substitutions; where several splits give this total, the split is one of them. */
  readonly errors: number
  /** Words, or characters, of the reference. */
  readonly referenceLength: number
  /** errors / referenceLength, 0.05 for 5 %; null where the reference is empty. May exceed 1. */
  readonly rate: number | null
}

/** Words are what white space separates; case and punctuation count: normalise before, if that is wanted. */
export function wordErrorRate(reference: string, hypothesis: string): ErrorRate {
  return errorRate(words(reference), words(hypothesis))
}

/** Characters are code points; the spaces between words count, runs of them as one. */
export function characterErrorRate(reference: string, hypothesis: string): ErrorRate {
  return errorRate([...words(reference).join(' ')], [...words(hypothesis).join(' ')])
}

/** Over a whole set: errors and lengths are summed first, so long sentences weigh more. */
export function sumErrorRates(rates: Iterable<ErrorRate>): ErrorRate {
  let [insertions, deletions, substitutions, referenceLength] = [0, 0, 0, 0]
  for (const rate of rates) {
    insertions += rate.insertions
    deletions += rate.deletions
    substitutions += rate.substitutions
    referenceLength += rate.referenceLength
  }
  return summary(insertions, deletions, substitutions, referenceLength)
}

const words = (text: string) => text.split(/\s+/).filter((word) => word !== '')

function summary(insertions: number, deletions: number, substitutions: number, referenceLength: number): ErrorRate {
  const errors = insertions + deletions + substitutions
  const rate = referenceLength === 0 ? null : errors / referenceLength
  return { insertions, deletions, substitutions, errors, referenceLength, rate }
}

interface Cell {
  readonly insertions: number
  readonly deletions: number
  readonly substitutions: number
}

const total = (cell: Cell) => cell.insertions + cell.deletions + cell.substitutions

function errorRate(reference: readonly string[], hypothesis: readonly string[]): ErrorRate {
  let row: Cell[] = Array.from({ length: hypothesis.length + 1 }, (_, insertions) => ({
    insertions,
    deletions: 0,
    substitutions: 0,
  }))
  for (const expected of reference) {
    const above = row
    row = [{ ...above[0]!, deletions: above[0]!.deletions + 1 }]
    for (const [i, got] of hypothesis.entries()) {
      const diagonal = above[i]!
      const substituted = expected === got ? diagonal : { ...diagonal, substitutions: diagonal.substitutions + 1 }
      const deleted = { ...above[i + 1]!, deletions: above[i + 1]!.deletions + 1 }
      const inserted = { ...row[i]!, insertions: row[i]!.insertions + 1 }
      row.push([deleted, inserted].reduce((best, cell) => (total(cell) < total(best) ? cell : best), substituted))
    }
  }
  const { insertions, deletions, substitutions } = row.at(-1)!
  return summary(insertions, deletions, substitutions, reference.length)
}

/**
 * Classification: accuracy, F1, confusion, ranking scores of binary classifiers. Fractions, not percent; an empty ratio is 0.
 *
 * @reference scikit-learn 1.2.1 sklearn.metrics
 */

import { harmonic, mean } from './words.js'

export const accuracy = (truth: readonly number[], predicted: readonly number[]): number =>
  mean(truth.map((label, i) => (label === predicted[i] ? 1 : 0)))

/** How often the label is among the `k` largest scores. Of equal scores the later class ranks higher, as in scikit-learn. */
export function topKAccuracy(truth: readonly number[], scores: readonly (readonly number[])[], k: number): number {
  const hits = truth.map((label, i) => {
    const row = scores[i]!
    const above = row.filter((score, j) => score > row[label]! || (score === row[label]! && j > label)).length
    return above < k ? 1 : 0
  })
  return mean(hits)
}

/** Rows: truth; columns: predicted; in the order of the labels that occur. */
export function confusion(truth: readonly number[], predicted: readonly number[]): number[][] {
  const labels = labelsOf(truth, predicted)
  const place = new Map(labels.map((label, i) => [label, i]))
  const matrix = labels.map(() => labels.map(() => 0))
  for (const [i, label] of truth.entries()) matrix[place.get(label)!]![place.get(predicted[i]!)!]! += 1
  return matrix
}

export interface FScores {
  /** Means over classes. */
  readonly macro: { readonly precision: number; readonly recall: number; readonly f1: number }
  /** Over all decisions: equals accuracy where each has one label. */
  readonly microF1: number
  /** Mean over classes, each weighing as often as it is true. */
  readonly weightedF1: number
}

export function fScores(truth: readonly number[], predicted: readonly number[]): FScores {
  const classes = confusion(truth, predicted).map((row, k, matrix) => {
    const right = row[k]!
    const guessed = matrix.reduce((sum, other) => sum + other[k]!, 0)
    const support = row.reduce((sum, count) => sum + count, 0)
    const [precision, recall] = [ratio(right, guessed), ratio(right, support)]
    return { precision, recall, f1: harmonic(precision, recall), support }
  })
  return {
    macro: {
      precision: mean(classes.map(({ precision }) => precision)),
      recall: mean(classes.map(({ recall }) => recall)),
      f1: mean(classes.map(({ f1 }) => f1)),
    },
    microF1: accuracy(truth, predicted),
    weightedF1: classes.reduce((sum, { f1, support }) => sum + f1 * support, 0) / truth.length,
  }
}

/** F1 of class 1 against 0. */
export function binaryF1(truth: readonly number[], predicted: readonly number[]): number {
  const { truePositive, falsePositive, falseNegative } = binaryCounts(truth, predicted)
  return ratio(2 * truePositive, 2 * truePositive + falsePositive + falseNegative)
}

/** Matthews correlation of a binary decision, -1 to 1. */
export function matthews(truth: readonly number[], predicted: readonly number[]): number {
  const { truePositive: tp, falsePositive: fp, falseNegative: fn, trueNegative: tn } = binaryCounts(truth, predicted)
  return ratio(tp * tn - fp * fn, Math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
}

/** Mean of -log p(truth) under the softmax of each row of logits. */
export function logLoss(truth: readonly number[], logits: readonly (readonly number[])[]): number {
  const losses = truth.map((label, i) => {
    const row = logits[i]!
    const top = Math.max(...row)
    return top + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) - row[label]!
  })
  return mean(losses)
}

/** Area under the ROC curve: the chance that a positive scores above a negative, ties half. */
export function rocAuc(truth: readonly number[], scores: readonly number[]): number {
  const ranked = ranks(scores)
  const positives = truth.filter((label) => label === 1).length
  const sum = ranked.reduce((total, rank, i) => total + (truth[i] === 1 ? rank : 0), 0)
  return (sum - (positives * (positives + 1)) / 2) / (positives * (truth.length - positives))
}

/** Sum of precision times gain of recall down the ranking; equal scores count as one step. */
export function averagePrecision(truth: readonly number[], scores: readonly number[]): number {
  const order = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!)
  const positives = truth.filter((label) => label === 1).length
  let [hits, counted, sum] = [0, 0, 0]
  for (const [at, i] of order.entries()) {
    if (truth[i] === 1) hits++
    if (at + 1 < order.length && scores[order[at + 1]!] === scores[i]) continue
    sum += (hits - counted) * (hits / (at + 1))
    counted = hits
  }
  return ratio(sum, positives)
}

/** Places from 1, smallest first; equal values share the mean of theirs. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!)
  const out = new Array<number>(values.length)
  for (let from = 0; from < order.length; ) {
    let to = from + 1
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++
    for (let at = from; at < to; at++) out[order[at]!] = (from + to + 1) / 2
    from = to
  }
  return out
}

const ratio = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)

const labelsOf = (...lists: readonly (readonly number[])[]) => [...new Set(lists.flat())].sort((a, b) => a - b)

function binaryCounts(truth: readonly number[], predicted: readonly number[]) {
  const count = (label: number, guess: number) =>
    truth.filter((each, i) => (each === 1 ? 1 : 0) === label && (predicted[i] === 1 ? 1 : 0) === guess).length
  return {
    truePositive: count(1, 1),
    falsePositive: count(0, 1),
    falseNegative: count(1, 0),
    trueNegative: count(0, 0),
  }
}

/** Differences and correlations of numbers: regression, counting, semantic similarity, perplexity. */

import { ranks } from './classification.js'
import { mean } from './words.js'

export const meanAbsoluteError = (truth: readonly number[], predicted: readonly number[]): number =>
  mean(truth.map((value, i) => Math.abs(value - predicted[i]!)))

/** What crowd counting calls MSE. */
export const rootMeanSquareError = (truth: readonly number[], predicted: readonly number[]): number =>
  Math.sqrt(mean(truth.map((value, i) => (value - predicted[i]!) ** 2)))

/** Linear correlation, -1 to 1; NaN where one side does not vary. */
export function pearson(a: readonly number[], b: readonly number[]): number {
  const [middleA, middleB] = [mean(a), mean(b)]
  let [product, squareA, squareB] = [0, 0, 0]
  for (const [i, value] of a.entries()) {
    const [x, y] = [value - middleA, b[i]! - middleB]
    product += x * y
    squareA += x * x
    squareB += y * y
  }
  return product / Math.sqrt(squareA * squareB)
}

/** Correlation of ranks. */
export const spearman = (a: readonly number[], b: readonly number[]): number => pearson(ranks(a), ranks(b))

/** exp(-mean log p) of natural log probabilities. */
export const perplexityOf = (logProbabilities: readonly number[]): number => Math.exp(-mean(logProbabilities))

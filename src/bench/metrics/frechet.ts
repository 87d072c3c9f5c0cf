/**
 * How far two sets of image features lie apart (Fréchet inception distance), and how sharp and varied class predictions are
 * (inception score).
 *
 * @paper arXiv:1706.08500, arXiv:1606.03498
 */

import { symmetricEigen } from './symmetric-eigen.js'
import { mean } from './words.js'

/** Rows of features, row-major. */
export interface Features {
  readonly rows: number
  readonly width: number
  readonly data: ArrayLike<number>
}

/** |μ1 - μ2|² + tr(Σ1 + Σ2 - 2 (Σ1 Σ2)^½) with sample covariances (n - 1), in float64. */
export function frechetDistance(a: Features, b: Features): number {
  const [first, second] = [moments(a), moments(b)]
  const n = a.width
  let distance = 0
  for (let i = 0; i < n; i++)
    distance += (first.mean[i]! - second.mean[i]!) ** 2 + first.covariance[i * n + i]! + second.covariance[i * n + i]!
  // Σ1 Σ2 has the eigenvalues of the symmetric Σ1^½ Σ2 Σ1^½.
  const root = squareRoot(first.covariance, n)
  const { values } = symmetricEigen(product(product(root, second.covariance, n), root, n), n)
  return distance - 2 * values.reduce((sum, value) => sum + Math.sqrt(Math.max(value, 0)), 0)
}

/** exp of the mean Kullback-Leibler divergence of each row of class probabilities from their mean; one split. */
export function inceptionScore({ rows, width, data }: Features): number {
  const middle = Array.from({ length: width }, (_, k) =>
    mean(Array.from({ length: rows }, (__, row) => data[row * width + k]!)),
  )
  let sum = 0
  for (let i = 0; i < rows * width; i++) {
    const p = data[i]!
    if (p > 0) sum += p * Math.log(p / middle[i % width]!)
  }
  return Math.exp(sum / rows)
}

function moments({ rows, width, data }: Features): { mean: Float64Array; covariance: Float64Array } {
  const middle = new Float64Array(width)
  for (let i = 0; i < rows * width; i++) middle[i % width]! += data[i]! / rows
  const covariance = new Float64Array(width * width)
  const off = new Float64Array(width)
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < width; k++) off[k] = data[row * width + k]! - middle[k]!
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++) covariance[i * width + j]! += (off[i]! * off[j]!) / (rows - 1)
  }
  return { mean: middle, covariance }
}

/** The symmetric root of a positive semidefinite matrix. */
function squareRoot(matrix: Float64Array, n: number): Float64Array {
  const { values, vectors } = symmetricEigen(matrix, n)
  const scaled = vectors.map((value, i) => value * Math.sqrt(Math.max(values[i % n]!, 0)))
  const turned = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) turned[j * n + i] = vectors[i * n + j]!
  return product(scaled, turned, n)
}

function product(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) {
      const factor = a[i * n + k]!
      for (let j = 0; j < n; j++) out[i * n + j]! += factor * b[k * n + j]!
    }
  return out
}

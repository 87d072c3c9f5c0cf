/**
 * Eigenvalues and eigenvectors of a real symmetric matrix: Householder reduction to three diagonals, then implicit QL steps.
 *
 * @paper Martin, Reinsch, Wilkinson 1968 (tred2), Bowdler et al. 1968 (tql2), Numerische Mathematik 11
 */

import { M4Error } from '../../core/errors.js'

export interface SymmetricEigen {
  /** In no particular order. */
  readonly values: Float64Array
  /** [n, n] row-major; column j belongs to `values[j]`. */
  readonly vectors: Float64Array
}

/** @param matrix [n, n] row-major, symmetric. @throws M4Error `SHAPE_MISMATCH`, `INVALID_REQUEST` when it is not finite */
export function symmetricEigen(matrix: Float64Array, n: number): SymmetricEigen {
  if (matrix.length !== n * n)
    throw new M4Error('SHAPE_MISMATCH', `Expected ${n * n} elements of a ${n} by ${n} matrix, got ${matrix.length}.`)
  if (!matrix.every(Number.isFinite))
    throw new M4Error('INVALID_REQUEST', 'The matrix has elements that are not finite.', {
      hint: 'Are there at least two samples, and are all features finite?',
    })
  const vectors = matrix.slice()
  const values = new Float64Array(n)
  const beside = new Float64Array(n)
  reduce(vectors, values, beside, n)
  iterate(vectors, values, beside, n)
  return { values, vectors }
}

/** To the diagonal `d` and its neighbour `e`; `v` becomes the product of the reflections. */
function reduce(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  for (let i = n - 1; i > 0; i--) {
    const last = i - 1
    let scale = 0
    for (let k = 0; k <= last; k++) scale += Math.abs(v[i * n + k]!)
    let h = 0
    if (last === 0 || scale === 0) e[i] = v[i * n + last]!
    else {
      for (let k = 0; k <= last; k++) {
        const value = v[i * n + k]! / scale
        v[i * n + k] = value
        h += value * value
      }
      const f = v[i * n + last]!
      const g = f >= 0 ? -Math.sqrt(h) : Math.sqrt(h)
      e[i] = scale * g
      h -= f * g
      v[i * n + last] = f - g
      let sum = 0
      for (let j = 0; j <= last; j++) {
        v[j * n + i] = v[i * n + j]! / h
        let product = 0
        for (let k = 0; k <= j; k++) product += v[j * n + k]! * v[i * n + k]!
        for (let k = j + 1; k <= last; k++) product += v[k * n + j]! * v[i * n + k]!
        e[j] = product / h
        sum += e[j]! * v[i * n + j]!
      }
      const half = sum / (h + h)
      for (let j = 0; j <= last; j++) {
        const value = v[i * n + j]!
        e[j]! -= half * value
        for (let k = 0; k <= j; k++) v[j * n + k]! -= value * e[k]! + e[j]! * v[i * n + k]!
      }
    }
    d[i] = h
  }
  accumulateReflections(v, d, n)
}

function accumulateReflections(v: Float64Array, d: Float64Array, n: number): void {
  d[0] = 0
  for (let i = 0; i < n; i++) {
    if (d[i] !== 0) {
      // Products of row i with all columns before it, row by row: the matrix is read in order.
      const products = new Float64Array(i)
      for (let k = 0; k < i; k++) {
        const factor = v[i * n + k]!
        for (let j = 0; j < i; j++) products[j]! += factor * v[k * n + j]!
      }
      for (let k = 0; k < i; k++) {
        const factor = v[k * n + i]!
        for (let j = 0; j < i; j++) v[k * n + j]! -= products[j]! * factor
      }
    }
    d[i] = v[i * n + i]!
    v[i * n + i] = 1
    for (let j = 0; j < i; j++) {
      v[j * n + i] = 0
      v[i * n + j] = 0
    }
  }
}

const STEPS = 60

function iterate(v: Float64Array, d: Float64Array, e: Float64Array, n: number): void {
  for (let i = 1; i < n; i++) e[i - 1] = e[i]!
  e[n - 1] = 0
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l
      while (m < n - 1 && Math.abs(e[m]!) > Number.EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!))) m++
      if (m === l) break
      if (step === STEPS)
        throw new M4Error('INVALID_REQUEST', `The eigenvalues did not settle within ${STEPS} steps.`, {
          hint: 'Scale the features to a common size.',
        })
      rotate(v, d, e, n, l, m)
    }
  }
}

/** One QL sweep over rows `l` to `m`. */
function rotate(v: Float64Array, d: Float64Array, e: Float64Array, n: number, l: number, m: number): void {
  let g = (d[l + 1]! - d[l]!) / (2 * e[l]!)
  let r = Math.hypot(g, 1)
  g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r))
  let [s, c, p] = [1, 1, 0]
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]!
    const b = c * e[i]!
    r = Math.hypot(f, g)
    e[i + 1] = r
    if (r === 0) {
      d[i + 1]! -= p
      e[m] = 0
      return
    }
    s = f / r
    c = g / r
    g = d[i + 1]! - p
    r = (d[i]! - g) * s + 2 * c * b
    p = s * r
    d[i + 1] = g + p
    g = c * r - b
    for (let k = 0; k < n; k++) {
      const value = v[k * n + i + 1]!
      v[k * n + i + 1] = s * v[k * n + i]! + c * value
      v[k * n + i] = c * v[k * n + i]! - s * value
    }
  }
  d[l]! -= p
  e[l] = g
  e[m] = 0
}

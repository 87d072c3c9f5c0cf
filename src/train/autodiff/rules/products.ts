/** Gradients of matrix products. */

import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule } from '../types.js'
import { asRows, reshapeLike, sumTo } from './like.js'

/** a · b with either transposed in place. */
export const product = (scope: Scope, a: Value, b: Value, transA = false, transB = false, alpha = 1): Value =>
  !transA && !transB && alpha === 1
    ? scope.op('MatMul', [a, b])
    : scope.op('FusedMatMul', [a, b], {
        transA: transA ? 1 : 0,
        transB: transB ? 1 : 0,
        ...(alpha === 1 ? {} : { alpha }),
      })

/** Rows beyond this multiple of the columns: the transposed product is faster (32000 x 288: 248 GFLOP/s against 470). */
const TALL = 4

interface Matrices {
  readonly scope: Scope
  readonly a: Value
  readonly b: Value
  readonly dy: Value
  readonly transA: boolean
  readonly transB: boolean
  readonly alpha: number
}

/** y = alpha · op(a)·op(b) over equal leading axes, or with b a plain matrix that all of them share. */
function gradientOfA({ scope, a, b, dy, transA, transB, alpha }: Matrices): Value {
  // y = a·B: da = dy·Bᵀ.  y = aᵀ·B: da = B·dyᵀ.
  const da = transA ? product(scope, b, dy, transB, true, alpha) : product(scope, dy, b, false, !transB, alpha)
  return sumTo(scope, da, a)
}

function gradientOfB({ scope, a, b, dy, transA, transB, alpha }: Matrices): Value {
  const shared = b.dims.length <= a.dims.length && b.dims.slice(0, -2).every((dim) => dim === 1)
  if (shared && !transA && a.dims.length > 2) {
    // One product over all rows of all batches.
    const rows = { scope, a: asRows(scope, a), b, dy: asRows(scope, dy) }
    return reshapeLike(scope, matrixGradient({ ...rows, transA, transB, alpha }), b)
  }
  if (b.dims.length === 2 && a.dims.length === 2) return matrixGradient({ scope, a, b, dy, transA, transB, alpha })
  // y = A·b: db = Aᵀ·dy.  y = A·bᵀ: db = dyᵀ·A.
  const db = transB ? product(scope, dy, a, true, transA, alpha) : product(scope, a, dy, !transA, false, alpha)
  return sumTo(scope, db, b)
}

/** db of plain matrices. */
function matrixGradient({ scope, a, b, dy, transA, transB, alpha }: Matrices): Value {
  if (!transB) return product(scope, a, dy, !transA, false, alpha)
  const [rows, columns] = b.dims.slice(-2)
  if (typeof rows === 'number' && typeof columns === 'number' && rows > TALL * columns) {
    const turned = product(scope, a, dy, !transA, false, alpha) // [K, N]
    return scope.op('Transpose', [turned], { perm: [1, 0] })
  }
  return product(scope, dy, a, true, transA, alpha)
}

const matMul: Backward<'MatMul'> = ({ scope, inputs, dys, wanted }) => {
  const [a, b] = inputs as [Value, Value]
  if (a.dims.length === 1 || b.dims.length === 1) return vectorMatMul(scope, a, b, dys[0]!, wanted)
  const matrices = { scope, a, b, dy: dys[0]!, transA: false, transB: false, alpha: 1 }
  return [wanted[0] ? gradientOfA(matrices) : undefined, wanted[1] ? gradientOfB(matrices) : undefined]
}

/** With the missing axes put in. */
function vectorMatMul(scope: Scope, a: Value, b: Value, dy: Value, wanted: readonly boolean[]): (Value | undefined)[] {
  const left = a.dims.length === 1 ? scope.op('Unsqueeze', [a, scope.int64([0])]) : a
  const right = b.dims.length === 1 ? scope.op('Unsqueeze', [b, scope.int64([1])]) : b
  let full = dy
  if (b.dims.length === 1) full = scope.op('Unsqueeze', [full, scope.int64([-1])])
  if (a.dims.length === 1) full = scope.op('Unsqueeze', [full, scope.int64([-2])])
  const matrices = { scope, a: left, b: right, dy: full, transA: false, transB: false, alpha: 1 }
  return [
    wanted[0] ? reshapeLike(scope, gradientOfA(matrices), a) : undefined,
    wanted[1] ? reshapeLike(scope, gradientOfB(matrices), b) : undefined,
  ]
}

const fusedMatMul: Backward<'FusedMatMul'> = ({ scope, attributes, inputs, dys, wanted }) => {
  const [a, b] = inputs as [Value, Value]
  const [transA, transB] = [attributes.transA === 1, attributes.transB === 1]
  const matrices = { scope, a, b, dy: dys[0]!, transA, transB, alpha: attributes.alpha! }
  return [wanted[0] ? gradientOfA(matrices) : undefined, wanted[1] ? gradientOfB(matrices) : undefined]
}

export const PRODUCT_GRADIENTS = {
  MatMul: matMul,
  FusedMatMul: fusedMatMul,
} as const satisfies { [K in OpName]?: GradientRule<K> }

/** Gradients of matrix products and norms. */

import { M4Error } from '../../../core/errors.js'
import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
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
    const rows = { scope, a: asRows(scope, a, a.dims.at(-1)!), b, dy: asRows(scope, dy, dy.dims.at(-1)!) }
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

/**
 * Optional outputs that the rules of norms read instead of computing them again: output index → suffix of its name.
 * `differentiable` in ../inline.ts asks for them.
 */
export const SAVED_STATISTICS: { readonly [K in OpName]?: Readonly<Record<number, string>> } = {
  LayerNormalization: { 1: 'mean', 2: 'inverseDeviation' },
  SimplifiedLayerNormalization: { 1: 'inverseRms' },
  SkipSimplifiedLayerNormalization: { 2: 'inverseRms', 3: 'sum' },
}

function saved({ node, outputs }: RuleContext<never>, index: number): Value {
  const value = outputs[index]
  if (!value)
    throw new M4Error(
      'USAGE',
      `${node.op} ${node.name}: its gradient needs output ${index}, which the node leaves out.`,
      {
        hint: 'Bring the graph in with `differentiable`.',
      },
    )
  return value
}

const axesFrom = (x: Value, axis: number): number[] => {
  const first = axis < 0 ? axis + x.dims.length : axis
  return x.dims.map((_, i) => i).slice(first)
}

interface Normalised {
  readonly scope: Scope
  readonly x: Value
  readonly scale: Value
  readonly inverse: Value
  readonly dy: Value
  readonly axes: readonly number[]
}

/** y = x/rms(x) · scale: dx = (dŷ − x·mean(dŷ·x)/rms²)/rms with dŷ = dy·scale. arXiv:1910.07467 */
function rmsInput({ scope, x, scale, inverse, dy, axes }: Normalised): Value {
  const dx = scope.op('Mul', [dy, scale])
  const mean = scope.op('ReduceMean', [scope.op('Mul', [dx, x]), scope.int64(axes)], { keepdims: 1 })
  const cube = scope.op('Mul', [scope.op('Mul', [inverse, inverse]), inverse])
  const along = scope.op('Mul', [x, scope.op('Mul', [mean, cube])])
  return scope.op('Sub', [scope.op('Mul', [dx, inverse]), along])
}

const rmsScale = ({ scope, x, scale, inverse, dy }: Normalised): Value =>
  sumTo(scope, scope.op('Mul', [dy, scope.op('Mul', [x, inverse])]), scale)

const simplifiedNorm: Backward<'SimplifiedLayerNormalization'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [x, scale] = inputs as [Value, Value]
  const parts = {
    scope,
    x,
    scale,
    inverse: saved(context as never, 1),
    dy: dys[0]!,
    axes: axesFrom(x, attributes.axis!),
  }
  return [wanted[0] ? rmsInput(parts) : undefined, wanted[1] ? rmsScale(parts) : undefined]
}

const skipNorm: Backward<'SkipSimplifiedLayerNormalization'> = (context) => {
  const { scope, inputs, dys, wanted } = context
  const [input, skip, scale, bias] = inputs as [Value, Value, Value, Value?]
  const x = saved(context as never, 3)
  const dSum = dys[3]
  if (!dys[0]) return [dSum, dSum && sumTo(scope, dSum, skip), undefined, bias && dSum && sumTo(scope, dSum, bias)]
  const parts = { scope, x, scale, inverse: saved(context as never, 2), dy: dys[0], axes: axesFrom(x, -1) }
  const normed = rmsInput(parts)
  const dx = dSum ? scope.op('Add', [normed, dSum]) : normed
  return [
    wanted[0] ? sumTo(scope, dx, input) : undefined,
    wanted[1] ? sumTo(scope, dx, skip) : undefined,
    wanted[2] ? rmsScale(parts) : undefined,
    wanted[3] ? sumTo(scope, dx, bias!) : undefined,
  ]
}

/** dx = (dŷ − mean(dŷ) − x̂·mean(dŷ·x̂))/σ with dŷ = dy·scale. arXiv:1607.06450 */
const layerNorm: Backward<'LayerNormalization'> = (context) => {
  const { scope, attributes, inputs, dys, wanted } = context
  const [x, scale, bias] = inputs as [Value, Value, Value?]
  const [mean, inverse, dy] = [saved(context as never, 1), saved(context as never, 2), dys[0]!]
  const axes = scope.int64(axesFrom(x, attributes.axis!))
  const unit = scope.op('Mul', [scope.op('Sub', [x, mean]), inverse])
  const input = () => {
    const dUnit = scope.op('Mul', [dy, scale])
    const level = scope.op('ReduceMean', [dUnit, axes], { keepdims: 1 })
    const along = scope.op('ReduceMean', [scope.op('Mul', [dUnit, unit]), axes], { keepdims: 1 })
    const centred = scope.op('Sub', [dUnit, level])
    return scope.op('Mul', [scope.op('Sub', [centred, scope.op('Mul', [unit, along])]), inverse])
  }
  return [
    wanted[0] ? input() : undefined,
    wanted[1] ? sumTo(scope, scope.op('Mul', [dy, unit]), scale) : undefined,
    wanted[2] ? sumTo(scope, dy, bias!) : undefined,
  ]
}

export const PRODUCT_GRADIENTS = {
  MatMul: matMul,
  FusedMatMul: fusedMatMul,
  LayerNormalization: layerNorm,
  SimplifiedLayerNormalization: simplifiedNorm,
  SkipSimplifiedLayerNormalization: skipNorm,
} as const satisfies { [K in OpName]?: GradientRule<K> }

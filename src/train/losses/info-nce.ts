/**
 * Symmetric InfoNCE: each of N items finds its partner among the N of the other side, both ways.
 *
 * @paper CLIP, arXiv:2103.00020 fig. 3 · arXiv:1807.03748 eq. 4
 */

import { DTYPES } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import { crossEntropy } from './cross-entropy.js'

/** exp(logScale), a scale that is learned; cut off at `largest` if given (CLIP: 100). float32 [] or [1] → the same. */
export function learnedScale(scope: Scope, logScale: Value, largest?: number): Value {
  const scale = scope.op('Exp', [logScale], {}, 'scale')
  return largest === undefined ? scale : scope.op('Clip', [scale, undefined, scope.float32(largest)])
}

/** 1 / temperature. @throws M4Error `USAGE` for one that is not above 0 */
export function fixedScale(scope: Scope, temperature: number): Value {
  if (!(temperature > 0)) throw new M4Error('USAGE', `InfoNCE: expected a temperature above 0, got ${temperature}.`)
  return scope.float32(1 / temperature)
}

/**
 * Mean cross-entropy of scale·a·bᵀ over rows and over columns, half each; item i belongs to item i.
 * a, b float32 [N, E], unit vectors (see `unitLength`) → scalar.
 */
export function infoNce(tape: Tape, scope: Scope, a: Value, b: Value, scale: Value): Value {
  const cosines = scope.op('FusedMatMul', [a, b], { transB: 1 }, 'cosines') // [N, N]
  const logits = scope.op('Mul', [cosines, scale], {}, 'logits')
  const count = scope.op('Shape', [a], { start: 0, end: 1 }) // [1]
  const numbers = scope.op('Range', [scope.int64(0), scope.op('Squeeze', [count, scope.int64([0])]), scope.int64(1)])
  const share = scope.op('Div', [scope.float32(0.5), scope.op('Cast', [count], { to: DTYPES.float32.onnx })])
  const shares = scope.op('Expand', [share, count], {}, 'shares') // 1/2N each
  const turned = scope.op('Transpose', [logits], { perm: [1, 0] }, 'turned')
  const [rows, columns] = [logits, turned].map((x, i) =>
    crossEntropy(tape, scope.scope(i === 0 ? 'rows' : 'columns'), x, numbers, shares),
  )
  return scope.op('Add', [rows, columns], {}, 'infoNce')
}

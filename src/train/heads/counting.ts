/** How many there are: objects a patch, never less than none, added up. */

import type { Scope, Value } from '../../graph/index.js'
import type { PatchGrid } from '../../runtime/patch-heads/index.js'
import type { Tape } from '../autodiff/tape.js'
import { mseLoss, smoothL1Loss } from '../losses/index.js'
import { itemRows, requireSizes } from './checks.js'
import { linear, linearParameters } from './layers.js'
import type { TaskHead } from './types.js'

export interface CountingConfig extends PatchGrid {
  readonly in: number
  /** Weight of the count's own error beside that of the patches. Default 1. */
  readonly countWeight?: number
}

export interface Counted {
  readonly count: number
  /** Objects of each patch, row by row. */
  readonly density: Float32Array
}

/** log(1 + eˣ), stable; its derivative is σ(x). */
export function softplus(tape: Tape, scope: Scope, x: Value): Value {
  const decay = scope.op('Exp', [scope.op('Neg', [scope.op('Abs', [x])])])
  const log = scope.op('Log', [scope.op('Add', [decay, scope.float32(1)])])
  return tape.composite({
    output: scope.op('Add', [scope.op('Relu', [x]), log], {}, 'softplus'),
    inputs: [x],
    backward: (inner, dy) => [inner.op('Mul', [dy, inner.op('Sigmoid', [x])])],
  })
}

/** softplus(−2) = 0.13 objects a patch to begin with: most patches hold none. */
const FIRST_BIAS = -2

/**
 *   features [B, P, C] → density [B, P], count [B]
 *   target   density float32 [B, P]: objects a patch (an object between patches may be shared out); the count is its sum
 * @throws M4Error `USAGE`
 */
export function countingHead(config: CountingConfig): TaskHead<'density' | 'count', 'density', Counted> {
  const { rows, columns, countWeight = 1 } = config
  const name = 'counting'
  requireSizes(name, { in: config.in, rows, columns })
  const patches = rows * columns
  const total = (scope: Scope, density: Value) => scope.op('ReduceSum', [density, scope.int64([1])], { keepdims: 0 })
  return {
    name,
    takes: 'patches',
    in: config.in,
    patches,
    out: 1,
    parameters: linearParameters('density', config.in, 1, FIRST_BIAS),
    targets: { density: { dtype: 'float32', dims: ['B', patches] } },
    program: (emit, features) => {
      const { tape, scope } = emit
      const flat = scope.op('Reshape', [linear(emit, features, 'density'), scope.int64([-1, patches])], {}, 'logits')
      const density = softplus(tape, scope, flat)
      return { density, count: total(scope, density) }
    },
    // Errors of patches are added up, not averaged: one object too many costs the same in a fine grid as in a coarse one.
    loss: ({ tape, scope }, { density, count }, targets) => {
      const mean = mseLoss(tape, scope.scope('patches'), density, targets.density)
      const whole = smoothL1Loss(tape, scope.scope('count'), count, total(scope, targets.density))
      return scope.op('Add', [
        scope.op('Mul', [mean, scope.float32(patches)]),
        scope.op('Mul', [whole, scope.float32(countWeight)]),
      ])
    },
    decode: (outputs) => {
      const counts = itemRows(name, 'count', outputs.count, [])
      return itemRows(name, 'density', outputs.density, [patches]).map((row, i) => ({
        count: counts[i]![0]!,
        density: row.slice(),
      }))
    },
  }
}

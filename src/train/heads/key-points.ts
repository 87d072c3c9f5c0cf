/**
 * Places of named points: a map over patches for each, the point where its weights balance.
 *
 * @paper soft-argmax and a Gaussian as target: arXiv:1801.07372 (DSNT) §4
 */

import type { PatchGrid } from '../../runtime/patch-heads/index.js'
import { smoothL1Loss, softCrossEntropy } from '../losses/index.js'
import { atLeast } from '../losses/reduction.js'
import { itemRows, requireSizes } from './checks.js'
import { linearParameters, patchCentres, patchMaps } from './layers.js'
import type { TaskHead } from './types.js'

export interface KeyPointConfig extends PatchGrid {
  readonly in: number
  readonly points: number
  /** Width of the Gaussian that a map is to be, in patches. Default 0.75. */
  readonly sigma?: number
  /** Weight of the distance between points beside that of maps. Default 1. */
  readonly distanceWeight?: number
}

export interface KeyPoint {
  /** Shares of the picture, from its top left corner. */
  readonly x: number
  readonly y: number
  /** Largest weight of its map: 1 where all of it is in one patch. */
  readonly confidence: number
}

/** Below, the distance is squared: a tenth of the picture. */
const NEAR = 0.1

/**
 *   features [B, P, C] → maps [B, K, P], points [B, K, 2] (x, y in 0 to 1), confidence [B, K]
 *   targets  points float32 [B, K, 2] · visible float32 [B, K], 0 for points that do not count
 * @throws M4Error `USAGE`
 */
export function keyPointHead(
  config: KeyPointConfig,
): TaskHead<'maps' | 'points' | 'confidence', 'points' | 'visible', KeyPoint[]> {
  const { rows, columns, points: count, sigma = 0.75, distanceWeight = 1 } = config
  const name = 'key-points'
  requireSizes(name, { in: config.in, rows, columns, points: count })
  const patches = rows * columns
  const centres = patchCentres(config)
  return {
    name,
    takes: 'patches',
    in: config.in,
    patches,
    out: count,
    parameters: linearParameters('maps', config.in, count),
    targets: {
      points: { dtype: 'float32', dims: ['B', count, 2] },
      visible: { dtype: 'float32', dims: ['B', count] },
    },
    program: (emit, features) => {
      const { scope } = emit
      const maps = patchMaps(emit, features, 'maps')
      const weights = scope.op('Softmax', [maps], { axis: -1 }, 'weights')
      return {
        maps,
        points: scope.op('MatMul', [weights, scope.float32(centres, [patches, 2])], {}, 'points'),
        confidence: scope.op('ReduceMax', [weights, scope.int64([-1])], { keepdims: 0 }, 'confidence'),
      }
    },
    loss: ({ tape, scope }, { maps, points }, targets) => {
      const total = atLeast(scope, scope.op('ReduceSum', [targets.visible], { keepdims: 0 }))
      const share = scope.op('Div', [targets.visible, total]) // [B, K]
      // exp(−d²/2σ²) over its sum, d in patches.
      const place = scope.op('Unsqueeze', [targets.points, scope.int64([2])]) // [B, K, 1, 2]
      const apart = scope.op('Sub', [place, scope.float32(centres, [1, 1, patches, 2])])
      const inPatches = scope.op('Mul', [apart, scope.float32([columns / sigma, rows / sigma])])
      const squares = scope.op('ReduceSum', [scope.op('Mul', [inPatches, inPatches]), scope.int64([-1])], {
        keepdims: 0,
      })
      const wanted = scope.op('Softmax', [scope.op('Mul', [squares, scope.float32(-0.5)])], { axis: -1 }, 'wanted')
      const shares = scope.op('Mul', [wanted, scope.op('Unsqueeze', [share, scope.int64([-1])])])
      const flat = (x: typeof maps) => scope.op('Reshape', [x, scope.int64([-1, patches])])
      const entropy = softCrossEntropy(tape, scope.scope('maps'), flat(maps), flat(shares))
      // Less the entropy of the Gaussian itself: 0 where the map is as wanted.
      const log = scope.op('Log', [scope.op('Max', [wanted, scope.float32(1e-38)])])
      const own = scope.op('ReduceSum', [scope.op('Mul', [shares, log])], { keepdims: 0 })
      const divergence = scope.op('Add', [entropy, own])
      const each = scope.op('Mul', [scope.op('Unsqueeze', [share, scope.int64([-1])]), scope.float32(0.5)])
      const distance = smoothL1Loss(tape, scope.scope('distance'), points, targets.points, NEAR, each)
      return scope.op('Add', [divergence, scope.op('Mul', [distance, scope.float32(distanceWeight)])])
    },
    decode: (outputs) => {
      const confidence = itemRows(name, 'confidence', outputs.confidence, [count])
      return itemRows(name, 'points', outputs.points, [count, 2]).map((row, item) =>
        Array.from({ length: count }, (_, k) => ({
          x: row[2 * k]!,
          y: row[2 * k + 1]!,
          confidence: confidence[item]![k]!,
        })),
      )
    },
  }
}

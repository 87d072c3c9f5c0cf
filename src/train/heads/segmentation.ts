/** A class, or how much of it is foreground, for every pixel: a linear layer over patches, linear between their centres. */

import type { PatchGrid } from '../../runtime/patch-heads/index.js'
import { binaryLoss, classDiceLoss, classLoss, l1Loss } from '../losses/index.js'
import { itemRows, requireSizes, requireWeights } from './checks.js'
import { linearParameters, patchMaps, upsampled } from './layers.js'
import type { TaskHead } from './types.js'

interface PixelConfig extends PatchGrid {
  /** Width of the features, C. */
  readonly in: number
  /** Pixels of masks. */
  readonly height: number
  readonly width: number
}

export interface SegmentationConfig extends PixelConfig {
  readonly classes: number
  readonly classWeights?: readonly number[]
  /** Weight of the Dice loss beside cross-entropy. Default 1. */
  readonly diceWeight?: number
}

export interface Segmented {
  readonly height: number
  readonly width: number
  /** Class of each pixel, row by row. */
  readonly labels: Uint16Array
}

const sizes = ({ in: inner, rows, columns, height, width }: PixelConfig) => ({
  in: inner,
  rows,
  columns,
  height,
  width,
})

/**
 *   features [B, P, C] → logits [B, K, height, width]
 *   target   labels int64 [B, height, width], −100 for pixels that do not count
 * @throws M4Error `USAGE`
 */
export function segmentationHead(config: SegmentationConfig): TaskHead<'logits', 'labels', Segmented> {
  const { rows, columns, height, width, classes, classWeights, diceWeight = 1 } = config
  const name = 'segmentation'
  requireSizes(name, { ...sizes(config), classes })
  if (classWeights) requireWeights(name, classWeights, classes)
  return {
    name,
    takes: 'patches',
    in: config.in,
    patches: rows * columns,
    out: classes,
    parameters: linearParameters('pixels', config.in, classes),
    targets: { labels: { dtype: 'int64', dims: ['B', height, width] } },
    program: (emit, features) => ({
      logits: upsampled(emit.scope, patchMaps(emit, features, 'pixels'), config, height, width),
    }),
    loss: ({ tape, scope }, { logits }, { labels }) => {
      const weights = classWeights ? { classWeights: scope.float32(classWeights) } : {}
      const entropy = classLoss(tape, scope.scope('entropy'), logits, labels, weights)
      if (!diceWeight) return entropy
      const dice = classDiceLoss(scope.scope('overlap'), logits, labels)
      return scope.op('Add', [entropy, scope.op('Mul', [dice, scope.float32(diceWeight)])])
    },
    decode: ({ logits }) =>
      itemRows(name, 'logits', logits, [classes, height, width]).map((row) => ({
        height,
        width,
        labels: largestOf(row, classes),
      })),
  }
}

/** The first axis' place of the largest number. [K, N] → [N] */
function largestOf(row: Float32Array, classes: number): Uint16Array {
  const count = row.length / classes
  const labels = new Uint16Array(count)
  for (let k = 1; k < classes; k++)
    for (let i = 0; i < count; i++) if (row[k * count + i]! > row[labels[i]! * count + i]!) labels[i] = k
  return labels
}

export interface Matte {
  readonly height: number
  readonly width: number
  /** Share of foreground, 0 to 1, row by row. */
  readonly alpha: Float32Array
}

/**
 *   features [B, P, C] → logits [B, 1, height, width], alpha the same in 0 to 1
 *   target   alpha float32 [B, 1, height, width], 0 to 1
 * @throws M4Error `USAGE`
 */
export function mattingHead(config: PixelConfig): TaskHead<'logits' | 'alpha', 'alpha', Matte> {
  const { rows, columns, height, width } = config
  const name = 'matting'
  requireSizes(name, sizes(config))
  return {
    name,
    takes: 'patches',
    in: config.in,
    patches: rows * columns,
    out: 1,
    parameters: linearParameters('pixels', config.in, 1),
    targets: { alpha: { dtype: 'float32', dims: ['B', 1, height, width] } },
    program: (emit, features) => {
      const logits = upsampled(emit.scope, patchMaps(emit, features, 'pixels'), config, height, width)
      return { logits, alpha: emit.scope.op('Sigmoid', [logits], {}, 'alpha') }
    },
    // Cross-entropy moves what is far off; the distance makes soft edges right.
    loss: ({ tape, scope }, { logits, alpha }, targets) =>
      scope.op('Add', [
        binaryLoss(tape, scope.scope('entropy'), logits, targets.alpha),
        l1Loss(tape, scope.scope('distance'), alpha, targets.alpha),
      ]),
    decode: ({ alpha }) =>
      itemRows(name, 'alpha', alpha, [1, height, width]).map((row) => ({ height, width, alpha: row.slice() })),
  }
}

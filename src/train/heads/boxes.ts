/**
 * Objects in boxes: fixed anchor boxes on the grid of patches, each scored for every class and moved to its object.
 *
 * @paper anchors: arXiv:1506.01497 §3.1 · focal loss and its first bias: arXiv:1708.02002 §4.1
 */

import { DTYPES } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import {
  type Anchored,
  anchorBoxes,
  type Box,
  type DecodeLimits,
  type FoundBox,
  foundBoxes,
  type LabelledBox,
  offsetsOf,
  overlap,
} from '../../runtime/patch-heads/index.js'
import { focalElements, IGNORED_LABEL, reduced, smoothL1Loss } from '../losses/index.js'
import { itemRows, requireSizes } from './checks.js'
import { linear, linearParameters } from './layers.js'
import type { TaskHead } from './types.js'

export interface BoxConfig extends Anchored {
  readonly in: number
  /** An anchor that overlaps an object this much is to find it. Default 0.5. */
  readonly positiveFrom?: number
  /** One that overlaps every object less is to find nothing; what lies between is not learned. Default 0.4. */
  readonly negativeBelow?: number
  readonly decode?: DecodeLimits
}

/** Label of an anchor that is to find nothing. */
const NOTHING = -1
/** Each anchor begins sure that it holds nothing: p = 0.01. */
const FIRST_BIAS = -Math.log(99)
/** Smooth L1 is squared below. */
const NEAR = 1

/**
 *   features [B, P, C] → scores [B, P·A, K] (logits), offsets [B, P·A, 4]
 *   targets  labels int64 [B, P·A]: class, −1 for nothing, −100 for what is not learned · offsets float32 [B, P·A, 4]; see `boxTargets`
 * @throws M4Error `USAGE`
 */
export function boxHead(config: BoxConfig): TaskHead<'scores' | 'offsets', 'labels' | 'offsets', FoundBox[]> {
  const { rows, columns, classes, anchors } = config
  const name = 'boxes'
  requireSizes(name, { in: config.in, rows, columns, classes, 'anchors.length': anchors.length })
  const perPatch = anchors.length
  const count = rows * columns * perPatch
  return {
    name,
    takes: 'patches',
    in: config.in,
    patches: rows * columns,
    out: classes,
    parameters: [
      ...linearParameters('scores', config.in, perPatch * classes, FIRST_BIAS),
      ...linearParameters('offsets', config.in, perPatch * 4),
    ],
    targets: {
      labels: { dtype: 'int64', dims: ['B', count] },
      offsets: { dtype: 'float32', dims: ['B', count, 4] },
    },
    program: (emit, features) => {
      const rowsOf = (part: string, each: number) =>
        emit.scope.op(
          'Reshape',
          [linear(emit, features, part), emit.scope.int64([-1, count, each])],
          {},
          `${part}/rows`,
        )
      return { scores: rowsOf('scores', classes), offsets: rowsOf('offsets', 4) }
    },
    loss: ({ tape, scope }, { scores, offsets }, targets) => {
      const float = (x: typeof scores) => scope.op('Cast', [x], { to: DTYPES.float32.onnx })
      const column = (x: typeof scores) => scope.op('Unsqueeze', [x, scope.int64([2])])
      const numbers = scope.int64(
        Array.from({ length: classes }, (_, k) => k),
        [1, 1, classes],
      )
      const wanted = float(scope.op('Equal', [column(targets.labels), numbers])) // [B, N, K]
      const learned = float(scope.op('Not', [scope.op('Equal', [targets.labels, scope.int64(IGNORED_LABEL)])]))
      const positive = float(scope.op('Less', [scope.int64(NOTHING), targets.labels])) // [B, N]
      const found = scope.op('Max', [scope.op('ReduceSum', [positive], { keepdims: 0 }), scope.float32(1)])
      const share = (mask: typeof scores) => column(scope.op('Div', [mask, found]))
      const focal = reduced(scope, focalElements(tape, scope.scope('focal'), scores, wanted), share(learned))
      const moved = smoothL1Loss(tape, scope.scope('moved'), offsets, targets.offsets, NEAR, share(positive))
      return scope.op('Add', [focal, moved])
    },
    decode: (outputs) => {
      const offsets = itemRows(name, 'offsets', outputs.offsets, [count, 4])
      return itemRows(name, 'scores', outputs.scores, [count, classes]).map((scores, item) =>
        foundBoxes(config, scores, offsets[item]!, config.decode),
      )
    },
  }
}

/**
 * Which anchor is to find what, for the objects of each picture. The best anchor of an object finds it however little they overlap.
 * @throws M4Error `USAGE` for a box without area or outside the picture, or a label that is no class
 */
export function boxTargets(
  config: BoxConfig,
  pictures: readonly (readonly LabelledBox[])[],
): Record<'labels' | 'offsets', HostTensor> {
  const anchors = anchorBoxes(config.rows, config.columns, config.anchors)
  const labels = new Float64Array(pictures.length * anchors.length)
  const offsets = new Float32Array(pictures.length * anchors.length * 4)
  for (const [i, objects] of pictures.entries()) {
    for (const object of objects) requireBox(object, config.classes)
    const assigned = assign(anchors, objects, config)
    assigned.forEach((choice, n) => {
      const at = i * anchors.length + n
      labels[at] = typeof choice === 'number' ? choice : choice.label
      if (typeof choice !== 'number') offsets.set(offsetsOf(anchors[n]!, choice.box), at * 4)
    })
  }
  return {
    labels: int64Tensor([pictures.length, anchors.length], labels),
    offsets: hostTensor('float32', [pictures.length, anchors.length, 4], offsets),
  }
}

/** The object of each anchor, or why it has none. */
function assign(
  anchors: readonly Box[],
  objects: readonly LabelledBox[],
  { positiveFrom = 0.5, negativeBelow = 0.4 }: BoxConfig,
): (LabelledBox | number)[] {
  const best = objects.map(() => ({ anchor: 0, overlap: -1 }))
  const assigned = anchors.map((anchor, n): LabelledBox | number => {
    let [nearest, most] = [-1, 0]
    for (const [k, { box }] of objects.entries()) {
      const shared = overlap(anchor, box)
      if (shared > best[k]!.overlap) best[k] = { anchor: n, overlap: shared }
      if (shared > most) [nearest, most] = [k, shared]
    }
    if (most >= positiveFrom) return objects[nearest]!
    return most < negativeBelow ? NOTHING : IGNORED_LABEL
  })
  for (const [k, { anchor }] of best.entries()) assigned[anchor] = objects[k]!
  return assigned
}

function requireBox({ label, box }: LabelledBox, classes: number): void {
  const [x, y, width, height] = box
  const inside = x >= -1e-6 && y >= -1e-6 && x + width <= 1 + 1e-6 && y + height <= 1 + 1e-6
  if (!(width > 0 && height > 0 && inside))
    throw new M4Error('USAGE', `Box [${box.join(', ')}]: expected shares of the picture with an area, 0 to 1.`, {
      hint: 'Divide x and width by the width of the picture, y and height by its height.',
    })
  if (!Number.isInteger(label) || label < 0 || label >= classes)
    throw new M4Error('USAGE', `Label ${label} of a box: expected 0 to ${classes - 1}.`)
}

/**
 * Pictures of Fuyu: no encoder, each patch of 30×30 dots goes through one linear layer and stands in the text as a token.
 *
 *   picture ─ pad to whole patches ─ (x/255 - 0.5)/0.5 ─ patches, colours innermost ─ linear ─ embeddings in the places of |SPEAKER|
 *
 * @reference huggingface/transformers src/transformers/models/fuyu/{image_processing_fuyu,processing_fuyu}.py
 */

import { DTYPES } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import type { QuantisationPlan } from './linear.js'
import type { PersimmonConfig } from './persimmon.js'
import { dense } from './transformer.js'
import type { WeightTensor } from './weights.js'

/** Dots. Larger pictures are shrunk to fit before they come here; smaller ones stay as they are. */
export const FUYU_LARGEST = { width: 1920, height: 1080 } as const
/** What lies right of and below a picture, in 0…255. */
const BORDER = 1

/** Dots a side of a patch. @throws M4Error `SHAPE_MISMATCH` */
export function fuyuPatchSide({ patchWidth }: PersimmonConfig): number {
  const side = Math.sqrt(patchWidth / 3)
  if (patchWidth > 0 && Number.isInteger(side)) return side
  throw new M4Error('SHAPE_MISMATCH', `Patches of ${patchWidth} numbers are no squares of three colours.`, {
    hint: 'Only Fuyu checkpoints take pictures.',
  })
}

/** What the runtime makes of a picture before the graph: dots. */
export const fuyuPictureFacts = (config: PersimmonConfig) => ({
  patchSide: fuyuPatchSide(config),
  largestWidth: FUYU_LARGEST.width,
  largestHeight: FUYU_LARGEST.height,
})

/** `picture` uint8 [H, W, 3] → `embeddings` float32 [P, C] row by row, `grid` int64 [2]: rows and columns of patches. */
export function fuyuPatchGraph(
  config: PersimmonConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  plan: QuantisationPlan,
): Graph {
  const side = fuyuPatchSide(config)
  const g = new GraphBuilder('backbone.patches')
  const picture = g.input('picture', 'uint8', ['H', 'W', 3])
  const size = g.op('Shape', [picture], { start: 0, end: 2 }, 'size')
  const grid = g.op('Div', [g.op('Add', [size, g.int64([side - 1])], {}, 'rounded'), g.int64([side])], {}, 'patchGrid')
  const missing = g.op('Sub', [g.op('Mul', [grid, g.int64([side])], {}, 'wholeSize'), size], {}, 'missing')
  const pads = g.op('Concat', [g.int64([0, 0, 0]), missing, g.int64([0])], { axis: 0 }, 'pads')
  const dots = g.op('Cast', [picture], { to: DTYPES.float32.onnx }, 'dots')
  const padded = g.op('Pad', [dots, pads, g.float32(BORDER)], {}, 'padded')
  const normal = g.op('Sub', [g.op('Mul', [padded, g.float32(2 / 255)], {}, 'scaled'), g.float32(1)], {}, 'normal')
  const patches = cut(g, normal, grid, side)
  const ctx = { weights, plan, normEpsilon: config.normEpsilon }
  g.output('embeddings', dense(ctx, g, patches, 'patches', 'projected'))
  g.output('grid', grid)
  return g.build()
}

/** [H, W, 3] → [P, side · side · 3] */
function cut(scope: Scope, normal: Value, grid: Value, side: number): Value {
  const [rows, columns] = scope.ops('Split', [grid], { axis: 0, num_outputs: 2 }, ['rows', 'columns'])
  const tall = scope.int64([side])
  const shape = scope.op('Concat', [rows!, tall, columns!, tall, scope.int64([3])], { axis: 0 }, 'cutShape')
  const split = scope.op('Reshape', [normal, shape], {}, 'cut')
  const gathered = scope.op('Transpose', [split], { perm: [0, 2, 1, 3, 4] }, 'gathered')
  return scope.op('Reshape', [gathered, scope.int64([-1, side * side * 3])], {}, 'flat')
}

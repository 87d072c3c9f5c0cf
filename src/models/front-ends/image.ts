/**
 * ImageBind's picture front end as a graph: short side to 224 as PIL resizes, centre crop, normalise.
 *
 * @reference facebookresearch/ImageBind@53680b0:imagebind/data.py `load_and_transform_vision_data`
 * @reference pytorch/vision@v0.14.0:torchvision/transforms/functional.py `resize`, `center_crop`
 */

import { DTYPES } from '../../core/dtypes.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { resizeMatrix, toFloat } from './resize.js'

export interface PixelConfig {
  /** Dots a side of what the model sees. */
  readonly size: number
  /** Of red, green and blue in [0, 1]. */
  readonly mean: readonly number[]
  readonly std: readonly number[]
}

/** CLIP's numbers, which ImageBind took over. */
export const CLIP_PIXELS: PixelConfig = {
  size: 224,
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
}

/**
 * `picture` uint8 [H, W, 3] → `pixels` float32 [1, 3, S, S], normalised.
 * @param withCrop also gives `crop`, uint8 [S, S, 3], what the model sees as a picture
 */
export function imageFrontEndGraph(config: PixelConfig = CLIP_PIXELS, withCrop = false): Graph {
  const g = new GraphBuilder('imageFrontEnd')
  const crop = imageCrop(g, g.input('picture', 'uint8', ['H', 'W', 3]), config.size) // [3, S, S]
  if (withCrop) g.output('crop', g.op('Transpose', [crop], { perm: [1, 2, 0] }, 'rows'))
  const normal = normalisePixels(g, toFloat(g, crop, 'crop/float'), config, [3, 1, 1])
  g.output('pixels', g.op('Unsqueeze', [normal, g.int64([0])], {}, 'batch'))
  return g.build()
}

/** `picture` uint8 [H, W, 3] → planes of colour. uint8 [3, S, S] */
export function imageCrop(scope: Scope, picture: Value, size: number): Value {
  const shape = scope.op('Shape', [picture], { end: 2 }, 'shape')
  const [height, width] = [0, 1].map((axis) => scope.op('Gather', [shape, scope.int64(axis)], {}, `size/${axis}`))
  const matrix = (from: Value, other: Value, name: string) => {
    const axis = scope.scope(name)
    const to = shortSideTo(axis, from, other, size)
    const offset = centreOffset(axis, to, size)
    return resizeMatrix(axis, { from, to, offset, count: size }, 'bicubic')
  }
  // Bytes are moved before they are widened: a quarter of the traffic.
  const planes = toFloat(scope, scope.op('Transpose', [picture], { perm: [2, 0, 1] }, 'planes'), 'planes/float')
  const across = scope.op('Transpose', [matrix(width!, height!, 'x')], { perm: [1, 0] }, 'x/matrix') // [W, S]
  const narrow = roundToByte(scope, scope.op('MatMul', [planes, across], {}, 'narrow'), 'narrow') // [3, H, S]
  const stored = toFloat(scope, narrow, 'narrow/float')
  const down = matrix(height!, width!, 'y') // [S, H]
  return roundToByte(scope, scope.op('MatMul', [down, stored], {}, 'resized'), 'resized') // [3, S, S]
}

/** The short side becomes `size`, the long one floor(size · long / short): for each side, the larger of the two. */
function shortSideTo(scope: Scope, side: Value, other: Value, size: number): Value {
  const scaled = scope.op('Div', [scope.op('Mul', [side, scope.int64(size)], {}, 'scaled'), other], {}, 'floor')
  return scope.op('Max', [scaled, scope.int64(size)], {}, 'to')
}

/** round((to - size) / 2), halves to even as Python rounds: q + r·(q mod 2) for the quotient q and the rest r. */
function centreOffset(scope: Scope, to: Value, size: number): Value {
  const two = scope.int64(2)
  const rest = (x: Value, half: Value, name: string) =>
    scope.op('Sub', [x, scope.op('Mul', [half, two], {}, `${name}/even`)], {}, name)
  const spare = scope.op('Sub', [to, scope.int64(size)], {}, 'spare')
  const half = scope.op('Div', [spare, two], {}, 'half')
  const odd = rest(half, scope.op('Div', [half, two], {}, 'quarter'), 'half/odd')
  return scope.op('Add', [half, scope.op('Mul', [rest(spare, half, 'spare/odd'), odd], {}, 'up')], {}, 'offset')
}

/** PIL stores bytes between its two passes: halves go up, what is beyond 0…255 is cut. → uint8 */
function roundToByte(scope: Scope, x: Value, name: string): Value {
  const floored = scope.op('Max', [x, scope.float32(0)], {}, `${name}/floored`)
  const clipped = scope.op('Min', [floored, scope.float32(255)], {}, `${name}/clipped`)
  const raised = scope.op('Add', [clipped, scope.float32(0.5)], {}, `${name}/raised`)
  return scope.op('Cast', [raised], { to: UINT8 }, `${name}/byte`)
}

const UINT8 = DTYPES.uint8.onnx

/** (x / 255 - mean) / std. @param dims shape of mean and std, 3 where the colours are and 1 elsewhere */
export function normalisePixels(scope: Scope, x: Value, { mean, std }: PixelConfig, dims: readonly number[]): Value {
  const unit = scope.op('Div', [x, scope.float32(255)], {}, 'unit')
  const centred = scope.op('Sub', [unit, scope.float32(mean, dims)], {}, 'centred')
  return scope.op('Div', [centred, scope.float32(std, dims)], {}, 'normal')
}

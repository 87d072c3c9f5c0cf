/**
 * ImageBind's video front end as a graph: a clip of 2 s → 2 frames, short side to 224, three crops.
 * The five clips of a video are five runs; their 15 embeddings are averaged (`clipSpans` says where they start).
 *
 * @reference facebookresearch/ImageBind@53680b0:imagebind/data.py `load_and_transform_video_data`, `SpatialCrop`
 * @reference facebookresearch/pytorchvideo@28fe037:pytorchvideo/transforms/functional.py `short_side_scale`
 */

import { DTYPES } from '../../core/dtypes.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { CLIP_PIXELS, normalisePixels, type PixelConfig } from './image.js'
import { resizeMatrix, toFloat } from './resize.js'

export interface VideoConfig extends PixelConfig {
  /** Frames that the model sees of a clip, evenly spread from the first to the last. */
  readonly frames: number
  /** 1: the centre. 3: left, centre, right, or top, centre, bottom. */
  readonly crops: 1 | 3
}

export const IMAGEBIND_VIDEO: VideoConfig = { ...CLIP_PIXELS, frames: 2, crops: 3 }

/** `clip` uint8 [3, T, H, W] → `crops` float32 [crops, 3, frames, S, S], normalised */
export function videoFrontEndGraph(config: VideoConfig = IMAGEBIND_VIDEO): Graph {
  const { size } = config
  const g = new GraphBuilder('videoFrontEnd')
  const clip = g.input('clip', 'uint8', [3, 'T', 'H', 'W'])
  const shape = g.op('Shape', [clip], {}, 'shape')
  const sizeOf = (axis: number, name: string) => g.op('Gather', [shape, g.int64(axis)], {}, name)
  const [height, width] = [sizeOf(2, 'height'), sizeOf(3, 'width')]
  const bytes = g.op(
    'Gather',
    [clip, frameIndices(g.scope('time'), () => sizeOf(1, 'length'), config.frames)],
    { axis: 1 },
    'frames',
  )
  const frames = toFloat(g, bytes, 'frames/float') // [3, F, H, W]
  const toHeight = shortSideTo(g.scope('y'), height, width, size)
  const toWidth = shortSideTo(g.scope('x'), width, height, size)
  const crops = (config.crops === 1 ? ['centre'] : ['first', 'centre', 'last']).map((name) => {
    const crop = g.scope(name)
    const matrix = (from: Value, to: Value, axis: string) => {
      const scope = crop.scope(axis)
      return resizeMatrix(scope, { from, to, offset: OFFSETS[name]!(scope, to, size), count: size }, 'bilinear')
    }
    const across = crop.op('Transpose', [matrix(width, toWidth, 'x')], { perm: [1, 0] }, 'x/matrix')
    const narrow = crop.op('MatMul', [frames, across], {}, 'narrow') // [3, F, H, S]
    const resized = crop.op('MatMul', [matrix(height, toHeight, 'y'), narrow], {}, 'resized') // [3, F, S, S]
    return crop.op('Unsqueeze', [resized, crop.int64([0])], {}, 'crop')
  })
  const all = crops.length > 1 ? g.op('Concat', crops, { axis: 0 }, 'crops/dots') : crops[0]!
  g.output('crops', normalisePixels(g, all, config, [3, 1, 1, 1]))
  return g.build()
}

/** The short side has no room to move, so one rule serves both sides. */
const OFFSETS: Readonly<Record<string, (scope: Scope, to: Value, size: number) => Value>> = Object.freeze({
  first: (scope) => scope.int64(0),
  // Rounded up, where a picture's centre is rounded to even.
  centre: (scope, to, size) =>
    scope.op('Div', [scope.op('Sub', [to, scope.int64(size - 1)], {}, 'room'), scope.int64(2)], {}, 'offset'),
  last: (scope, to, size) => scope.op('Sub', [to, scope.int64(size)], {}, 'offset'),
})

const { float64, int64 } = DTYPES

/** floor(side / other · size) with PyTorch's rounding, in float64; `size` for the short side. */
function shortSideTo(scope: Scope, side: Value, other: Value, size: number): Value {
  const wide = (x: Value, name: string) => scope.op('Cast', [x], { to: float64.onnx }, name)
  const ratio = scope.op('Div', [wide(side, 'side'), wide(other, 'other')], {}, 'ratio')
  const scaled = scope.op('Mul', [ratio, wide(scope.int64(size), 'size')], {}, 'scaled')
  return scope.op('Max', [scope.op('Cast', [scaled], { to: int64.onnx }, 'floor'), scope.int64(size)], {}, 'to')
}

/** torch.linspace(0, T - 1, frames) cut to whole numbers: the second half is counted from the end. → int64 [frames] */
function frameIndices(scope: Scope, time: () => Value, frames: number): Value {
  if (frames === 1) return scope.int64([0])
  const end = toFloat(scope, scope.op('Sub', [time(), scope.int64(1)], {}, 'last'), 'last/float')
  const step = scope.op('Div', [end, scope.float32(frames - 1)], {}, 'step')
  const half = Math.floor(frames / 2)
  const steps = (from: number, to: number, name: string) => {
    const count = Math.abs(to - from)
    const list = Array.from({ length: count }, (_, i) => from + Math.sign(to - from) * i)
    return scope.op('Mul', [step, scope.float32(list)], {}, name)
  }
  const late = scope.op('Sub', [end, steps(frames - half - 1, -1, 'back')], {}, 'late')
  const positions = scope.op('Concat', [steps(0, half, 'early'), late], { axis: 0 }, 'positions')
  return scope.op('Cast', [positions], { to: int64.onnx }, 'indices')
}

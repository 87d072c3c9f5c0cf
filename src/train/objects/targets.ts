/** What a head is to give for each view, in shares of its square; and the head itself, sized for the data. */

import { M4Error } from '../../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { decodeImage } from '../../media/index.js'
import type { LabelledBox, PatchGrid, Region } from '../../runtime/patch-heads/index.js'
import {
  type BoxConfig,
  boxHead,
  boxTargets,
  countingHead,
  keyPointHead,
  mattingHead,
  segmentationHead,
  type TaskHead,
  withHidden,
} from '../heads/index.js'
import { IGNORED_LABEL } from '../losses/index.js'
import { anchorShapes } from './anchors.js'
import { shapeAt } from './masks.js'
import type { ObjectTask } from './task.js'
import { boxInSquare, bytesOf, pointInSquare, pointOf, type SizedView } from './views.js'

/** Pixels of a mask's target across a patch: what lies between patches is interpolated, finer targets would say nothing more. */
const PIXELS_A_PATCH = 4

/** Of points, in patches: wider maps are pulled inwards at the border, where half of them is cut off. */
const SIGMA = 0.5

export interface HeadSizes extends PatchGrid {
  /** Of the features, C. */
  readonly width: number
  /** Of boxes: see `anchorsFor`. */
  readonly anchors: BoxConfig['anchors']
}

/** @param hidden widths of layers in front of it */
export function objectHead({ head, labels }: ObjectTask, sizes: HeadSizes, hidden: readonly number[]): TaskHead {
  const { rows, columns, width, anchors } = sizes
  const grid = { rows, columns }
  const pixels = { height: rows * PIXELS_A_PATCH, width: columns * PIXELS_A_PATCH }
  const make: { readonly [H in ObjectTask['head']]: (inner: number) => unknown } = {
    boxes: (inner) => boxHead({ ...grid, in: inner, classes: labels.length, anchors }),
    'key-points': (inner) => keyPointHead({ ...grid, in: inner, points: labels.length, sigma: SIGMA }),
    segmentation: (inner) => segmentationHead({ ...grid, ...pixels, in: inner, classes: labels.length }),
    matting: (inner) => mattingHead({ ...grid, ...pixels, in: inner }),
    counting: (inner) => countingHead({ ...grid, in: inner }),
  }
  return withHidden(width, hidden, (inner) => make[head](inner) as TaskHead)
}

/** Shapes that suit the boxes to be found; none for other heads. */
export function anchorsFor({ head }: ObjectTask, views: readonly SizedView[]): BoxConfig['anchors'] {
  if (head !== 'boxes') return []
  const boxes = views.flatMap(({ objects, region }) =>
    objects.map(({ box, crowd }) => (box && !crowd ? boxInSquare(box, region) : undefined)),
  )
  return anchorShapes(boxes.flatMap((box) => (box ? [[box[2], box[3]] as const] : [])))
}

/** Targets of one view, by the names of the head, without the axis of items. */
type ViewTargets = Readonly<Record<string, { readonly dims: readonly number[]; readonly data: Float32Array }>>

/** Targets that are classes; all others are float32. */
const CLASSES = new Set(['labels'])

/**
 * Made once; a batch is put together from them.
 * @throws M4Error `FORMAT_INVALID` for a damaged mask, `PICTURE_INVALID` for a matte that cannot be read
 */
export async function objectTargets(
  task: ObjectTask,
  sizes: HeadSizes,
  views: readonly SizedView[],
): Promise<(rows: readonly number[]) => Record<string, HostTensor>> {
  const all: ViewTargets[] = []
  for (const view of views) all.push(await TARGETS[task.head](view, task, sizes))
  return (rows) =>
    Object.fromEntries(
      Object.entries(all[0]!).map(
        ([
          name,
          {
            dims,
            data: { length },
          },
        ]) => {
          const data = new Float32Array(rows.length * length)
          for (const [i, row] of rows.entries()) data.set(all[row]![name]!.data, i * length)
          const shape = [rows.length, ...dims]
          return [`target/${name}`, CLASSES.has(name) ? int64Tensor(shape, data) : hostTensor('float32', shape, data)]
        },
      ),
    )
}

type TargetsOf = (view: SizedView, task: ObjectTask, sizes: HeadSizes) => ViewTargets | Promise<ViewTargets>

const TARGETS: { readonly [H in ObjectTask['head']]: TargetsOf } = {
  boxes({ objects, region }, { labels }, { rows, columns, width, anchors }) {
    const wanted = objects.flatMap(({ label, box, crowd }): LabelledBox[] => {
      const place = labels.indexOf(label)
      const inside = box && !crowd && place >= 0 ? boxInSquare(box, region) : undefined
      return inside ? [{ label: place, box: inside }] : []
    })
    const targets = boxTargets({ rows, columns, in: width, classes: labels.length, anchors }, [wanted])
    const plain = ({ dims, data }: HostTensor) => ({
      dims: dims.slice(1),
      data: Float32Array.from(data as never, Number),
    })
    return { labels: plain(targets.labels), offsets: plain(targets.offsets) }
  },
  'key-points'({ objects, region }, { labels }) {
    const points = new Float32Array(2 * labels.length)
    const visible = new Float32Array(labels.length)
    for (const [k, [x, y, seen]] of (objects[0]?.keypoints?.points ?? []).entries()) {
      const inside = seen > 0 ? pointInSquare(x, y, region) : undefined
      if (!inside) continue
      points.set(inside, 2 * k)
      visible[k] = 1
    }
    return { points: { dims: [labels.length, 2], data: points }, visible: { dims: [labels.length], data: visible } }
  },
  segmentation({ objects, region }, { labels }, grid) {
    const { xs, ys } = pixelCentres(grid, region)
    const data = new Float32Array(xs.length * ys.length)
    // What no picture is under has no class; what a crowd covers may be anything.
    for (const [i] of data.entries())
      if (xs[i % xs.length]! > region.width || ys[Math.floor(i / xs.length)]! > region.height) data[i] = IGNORED_LABEL
    for (const object of objects) {
      const label = object.crowd ? IGNORED_LABEL : labels.indexOf(object.label)
      if (label < 0 && !object.crowd) continue
      for (const [i, covered] of shapeAt(object, xs, ys).entries())
        if (covered && data[i] !== IGNORED_LABEL) data[i] = label
    }
    return { labels: { dims: [ys.length, xs.length], data } }
  },
  async matting(view, _, grid) {
    const { xs, ys } = pixelCentres(grid, view.region)
    const { alpha, width, height } = await matteOf(view)
    const data = Float32Array.from({ length: xs.length * ys.length }, (__, i) => {
      const [x, y] = [Math.floor(xs[i % xs.length]!), Math.floor(ys[Math.floor(i / xs.length)]!)]
      return x < width && y < height ? alpha[y * width + x]! : 0
    })
    return { alpha: { dims: [1, ys.length, xs.length], data } }
  },
  counting({ objects, region }, _, { rows, columns }) {
    const density = new Float32Array(rows * columns)
    for (const object of objects) {
      const point = object.crowd ? undefined : pointOf(object)
      const inside = point && pointInSquare(...point, region)
      if (!inside) continue
      const [column, row] = [Math.floor(inside[0] * columns), Math.floor(inside[1] * rows)]
      density[Math.min(row, rows - 1) * columns + Math.min(column, columns - 1)]!++
    }
    return { density: { dims: [rows * columns], data: density } }
  },
}

/** Where the pixels of a mask's target lie, in dots of the picture; views of masks are whole pictures. */
function pixelCentres({ rows, columns }: PatchGrid, { side }: Region) {
  const centres = (patches: number) =>
    Float64Array.from({ length: patches * PIXELS_A_PATCH }, (_, i) => ((i + 0.5) * side) / (patches * PIXELS_A_PATCH))
  return { xs: centres(columns), ys: centres(rows) }
}

export interface Matte {
  /** 0 to 1, row by row. */
  readonly alpha: Float32Array
  readonly width: number
  readonly height: number
}

/** @throws M4Error `PICTURE_INVALID`, also for one of another size than its picture */
export async function matteOf({ matte, path, region }: SizedView): Promise<Matte> {
  const { data, width, height } = await decodeImage(await bytesOf(matte!))
  if (width !== region.width || height !== region.height)
    throw new M4Error(
      'PICTURE_INVALID',
      `${matte} has ${width} × ${height} dots, its picture ${path} has ${region.width} × ${region.height}.`,
      { hint: 'A matte is as large as its picture.' },
    )
  return { alpha: Float32Array.from({ length: width * height }, (_, i) => data[3 * i]! / 255), width, height }
}

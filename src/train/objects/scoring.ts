/**
 * How good answers of heads on patches are: for each head what is asked, what is kept of an answer, the score of a set, and the best
 * answer that does not look at the picture, which stands against it.
 */

import {
  type CocoAnnotation,
  cocoScores,
  correctPoints,
  type MaskCounts,
  maskCounts,
  matteError,
  meanAbsoluteError,
  type PointCounts,
  segmentationScores,
  shareOfCorrectPoints,
} from '../../bench/metrics/index.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import type { CountOutput, DetectOutput, KeypointsOutput, Request, SegmentOutput } from '../../runtime/index.js'
import { IGNORED_LABEL } from '../losses/index.js'
import { shapeAt } from './masks.js'
import { matteOf } from './targets.js'
import type { ObjectHead } from './task.js'
import { pointInSquare, pointOf, type SizedView } from './views.js'

interface Asked {
  readonly file: Uint8Array
  readonly adapter: HeadAdapter
}

export interface Scoring<Output = unknown, Kept = unknown> {
  readonly metric: string
  ask(asked: Asked, view: SizedView): Request
  keep(view: SizedView, output: Output, labels: readonly string[]): Kept | Promise<Kept>
  score(kept: readonly Kept[]): number
  /** For `--json`: the answer in short. */
  shown(output: Output): string
  /** Told from what is trained on; absent where there is none, as no boxes are the right answer of no picture. */
  constant?(train: readonly SizedView[], labels: readonly string[]): Promise<(view: SizedView) => Output>
}

/** A box that is found with little certainty still counts in average precision, behind the others. */
const LEAST_SCORE = 0.02

/** PCK@0.1 */
const NEAR = 0.1

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

interface Detected {
  readonly view: SizedView
  readonly output: DetectOutput
}

const boxes: Scoring<DetectOutput, Detected> = {
  metric: 'map@0.5',
  ask: ({ file, adapter }) => ({ task: 'detect', picture: { file }, adapter, minScore: LEAST_SCORE }),
  keep: (view, output) => ({ view, output }),
  score: averagePrecision,
  shown: ({ boxes: found }) => JSON.stringify(found),
}

/** @reference cocodataset/cocoapi: AP at an overlap of 0.5, mean over the classes that the truth has */
function averagePrecision(pictures: readonly Detected[]): number {
  const names = new Set(pictures.flatMap(({ view }) => view.objects.map(({ label }) => label)))
  const ids = new Map([...names].map((name, id) => [name, id]))
  const set = {
    images: pictures.map((_, id) => ({ id })),
    categories: [...ids.values()].map((id) => ({ id })),
    annotations: pictures.flatMap(({ view }, image_id) =>
      view.objects.flatMap(({ label, box, crowd }): CocoAnnotation[] =>
        box
          ? [{ image_id, category_id: ids.get(label)!, bbox: box, area: box[2] * box[3], iscrowd: Number(crowd) }]
          : [],
      ),
    ),
  }
  const found = pictures.flatMap(({ output }, image_id) =>
    output.boxes.flatMap(({ label, score, box }) =>
      ids.has(label) ? [{ image_id, category_id: ids.get(label)!, score, bbox: box }] : [],
    ),
  )
  const { AP50 } = cocoScores('bbox', set, found)
  // -1: there is nothing to find.
  return AP50! < 0 ? Number.NaN : AP50!
}

const keyPoints: Scoring<KeypointsOutput, PointCounts> = {
  metric: 'pck@0.1',
  ask: ({ file, adapter }, { box }) => ({
    task: 'keypoints',
    picture: { file },
    adapter,
    ...(box ? { region: box } : {}),
  }),
  keep({ objects, region }, { points }) {
    const truth = (objects[0]!.keypoints?.points ?? []).map(([x, y, seen]) =>
      seen > 0 ? ([x, y] as const) : undefined,
    )
    return correctPoints(
      truth,
      points.map(({ x, y }) => [x, y] as const),
      { size: region.side, share: NEAR },
    )
  },
  score: shareOfCorrectPoints,
  shown: ({ points }) => JSON.stringify(points),
  async constant(train, labels) {
    const middles = labels.map((name, k) => {
      const places = train.flatMap(({ objects, region }) => {
        const [x, y, seen] = objects[0]?.keypoints?.points[k] ?? [0, 0, 0]
        const inside = seen > 0 ? pointInSquare(x, y, region) : undefined
        return inside ? [inside] : []
      })
      return { name, x: mean(places.map(([x]) => x)) || 0, y: mean(places.map(([, y]) => y)) || 0 }
    })
    return ({ region: { left, top, side } }) => ({
      points: middles.map(({ name, x, y }) => ({ name, x: left + x * side, y: top + y * side, score: 1 })),
    })
  },
}

const segmentation: Scoring<SegmentOutput, MaskCounts> = {
  metric: 'miou',
  ask: ({ file, adapter }) => ({ task: 'segment', picture: { file }, adapter }),
  keep: (view, output, labels) =>
    maskCounts(maskOf(view, labels), 'mask' in output ? output.mask : [], {
      classes: labels.length,
      ignore: IGNORED_LABEL,
    }),
  score: (pictures) => segmentationScores(pictures).mIoU,
  shown: ({ width, height }) => `${width} × ${height}`,
  async constant(train, labels) {
    const dots = labels.map(() => 0)
    for (const view of train) for (const label of maskOf(view, labels)) if (label >= 0) dots[label]!++
    const usual = dots.indexOf(Math.max(...dots))
    return ({ region: { width, height } }) => ({
      width,
      height,
      labels,
      mask: new Uint16Array(width * height).fill(usual),
    })
  },
}

/** The class of every dot; later objects lie over earlier ones, and what a crowd covers does not count. */
function maskOf({ objects, region: { width, height } }: SizedView, labels: readonly string[]): Int32Array {
  const centres = (count: number) => Float64Array.from({ length: count }, (_, i) => i + 0.5)
  const [xs, ys] = [centres(width), centres(height)]
  const mask = new Int32Array(width * height)
  for (const object of objects) {
    // What a head has no class for cannot be counted for or against one.
    const place = labels.indexOf(object.label)
    const label = object.crowd || place < 0 ? IGNORED_LABEL : place
    const covered = shapeAt(object, xs, ys)
    for (let i = 0; i < mask.length; i++) if (covered[i]) mask[i] = label
  }
  return mask
}

const matting: Scoring<SegmentOutput, number> = {
  metric: 'mse',
  ask: segmentation.ask,
  keep: async (view, output) => matteError((await matteOf(view)).alpha, 'alpha' in output ? output.alpha : []).mse,
  score: mean,
  shown: segmentation.shown,
  async constant(train) {
    const means: number[] = []
    for (const view of train) means.push(mean(Array.from((await matteOf(view)).alpha)))
    const level = mean(means)
    return ({ region: { width, height } }) => ({ width, height, alpha: new Float32Array(width * height).fill(level) })
  },
}

interface Counted {
  readonly truth: number
  readonly count: number
}

const countOf = ({ objects }: SizedView) => objects.filter((object) => !object.crowd && pointOf(object)).length

const counting: Scoring<CountOutput, Counted> = {
  metric: 'mae',
  ask: ({ file, adapter }) => ({ task: 'count', picture: { file }, adapter }),
  keep: (view, { count }) => ({ truth: countOf(view), count }),
  score: (pictures) =>
    meanAbsoluteError(
      pictures.map(({ truth }) => truth),
      pictures.map(({ count }) => count),
    ),
  shown: ({ count }) => String(count),
  async constant(train) {
    const count = mean(train.map(countOf))
    const density = { rows: 1, columns: 1, cellDots: 1, values: Float32Array.of(count) }
    return () => ({ count, density })
  },
}

export const SCORINGS = { boxes, 'key-points': keyPoints, segmentation, matting, counting } as unknown as {
  readonly [H in ObjectHead]: Scoring
}

/**
 * COCO detection and keypoint scores: average precision and recall over overlaps 0.50–0.95, 101 recall points; -1 where no ground
 * truth falls in an area range.
 *
 * @paper arXiv:1405.0312 · @reference cocodataset/cocoapi@8c9bcc3 PythonAPI/pycocotools/cocoeval.py
 */

import { bboxOverlap, keypointBox, keypointSimilarity } from './coco-overlap.js'
import { mean } from './words.js'

/** x, y of the upper left corner, width, height. */
export type Box = readonly [number, number, number, number]

export interface CocoAnnotation {
  readonly image_id: number
  readonly category_id: number
  readonly bbox: Box
  readonly area: number
  readonly iscrowd?: number
  /** x, y, visibility of each joint. */
  readonly keypoints?: readonly number[]
  readonly num_keypoints?: number
}

export interface CocoDetection {
  readonly image_id: number
  readonly category_id: number
  readonly score: number
  readonly bbox?: Box
  readonly keypoints?: readonly number[]
}

export interface CocoSet {
  readonly images: readonly { readonly id: number }[]
  readonly categories: readonly { readonly id: number }[]
  readonly annotations: readonly CocoAnnotation[]
}

export type CocoScores = Readonly<Record<string, number>>

interface Kind {
  /** Detections of an image that count, best first; the last is the main one. */
  readonly detections: readonly number[]
  readonly areas: readonly string[]
  readonly overlap: (detection: CocoDetection, truth: CocoAnnotation) => number
  readonly area: (detection: CocoDetection) => number
}

const KINDS = {
  bbox: {
    detections: [1, 10, 100],
    areas: ['all', 'small', 'medium', 'large'],
    overlap: (detection, truth) => bboxOverlap(detection.bbox!, truth.bbox, truth.iscrowd === 1),
    area: ({ bbox }) => bbox![2] * bbox![3],
  },
  keypoints: {
    detections: [20],
    areas: ['all', 'medium', 'large'],
    overlap: (detection, truth) => keypointSimilarity(detection.keypoints!, truth),
    area: ({ keypoints }) => {
      const [, , width, height] = keypointBox(keypoints!)
      return width * height
    },
  },
} as const satisfies Record<string, Kind>

const AREAS: Readonly<Record<string, readonly [number, number]>> = {
  all: [0, 1e10],
  small: [0, 32 ** 2],
  medium: [32 ** 2, 96 ** 2],
  large: [96 ** 2, 1e10],
}

/** As numpy.linspace steps: the same roundings decide ties. */
const steps = (from: number, to: number, count: number) =>
  Array.from({ length: count }, (_, i) => (i === count - 1 ? to : from + i * ((to - from) / (count - 1))))
const OVERLAPS = steps(0.5, 0.95, 10)
const RECALLS = steps(0, 1, 101)

/** Detections of categories that the set does not have are left out. */
export function cocoScores(kind: keyof typeof KINDS, set: CocoSet, detections: readonly CocoDetection[]): CocoScores {
  const { detections: limits, areas }: Kind = KINDS[kind]
  const limit = limits.at(-1)!
  const pairs = matchTables(KINDS[kind], set, detections, limit)
  const at = (area: string, count: number) => accumulate(pairs, AREAS[area]!, count)
  const all = at('all', limit)
  const byArea = areas.slice(1).map((area) => ({ letter: area[0]!, result: at(area, limit) }))
  const middle = (overlap: number) => OVERLAPS.indexOf(OVERLAPS.find((each) => Math.abs(each - overlap) < 1e-9)!)
  const one = (values: readonly (readonly number[])[], overlap: number) => defined(values[middle(overlap)]!)
  const isBox = kind === 'bbox'
  return {
    AP: defined(all.precision.flat()),
    AP50: one(all.precision, 0.5),
    AP75: one(all.precision, 0.75),
    ...Object.fromEntries(byArea.map(({ letter, result }) => [`AP${letter}`, defined(result.precision.flat())])),
    ...(isBox
      ? Object.fromEntries(limits.map((count) => [`AR${count}`, defined(at('all', count).recall.flat())]))
      : { AR: defined(all.recall.flat()), AR50: one(all.recall, 0.5), AR75: one(all.recall, 0.75) }),
    ...Object.fromEntries(byArea.map(({ letter, result }) => [`AR${letter}`, defined(result.recall.flat())])),
  }
}

const defined = (values: readonly number[]) => {
  const known = values.filter((value) => value > -1)
  return known.length ? mean(known) : -1
}

/** One image and category: what must be found, what was found (best first), and how far each pair overlaps. */
interface Pairs {
  readonly truths: readonly { readonly area: number; readonly crowd: boolean; readonly ignored: boolean }[]
  readonly found: readonly { readonly score: number; readonly area: number }[]
  /** [found][truth] */
  readonly overlaps: readonly (readonly number[])[]
}

interface Placed {
  readonly image_id: number
  readonly category_id: number
}

const placeOf = ({ image_id, category_id }: Placed) => `${category_id} ${image_id}`

/** What there is of each category in each image, in order. */
function byPlace<T extends Placed>(all: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const each of all) {
    const group = groups.get(placeOf(each))
    if (group) group.push(each)
    else groups.set(placeOf(each), [each])
  }
  return groups
}

/** Per category, its images that have anything. */
function matchTables(kind: Kind, set: CocoSet, detections: readonly CocoDetection[], limit: number): Pairs[][] {
  const categories = [...new Set(set.categories.map(({ id }) => id))].sort((a, b) => a - b)
  const images = [...new Set(set.images.map(({ id }) => id))].sort((a, b) => a - b)
  const [allTruths, allFound] = [byPlace(set.annotations), byPlace(detections)]
  return categories.map((category) =>
    images.flatMap((image) => {
      const place = placeOf({ image_id: image, category_id: category })
      const truths = allTruths.get(place) ?? []
      const found = (allFound.get(place) ?? []).sort((a, b) => b.score - a.score).slice(0, limit)
      if (!truths.length && !found.length) return []
      return [
        {
          truths: truths.map(({ area, iscrowd, keypoints, num_keypoints: joints }) => ({
            area,
            crowd: iscrowd === 1,
            ignored: iscrowd === 1 || (keypoints !== undefined && kind === KINDS.keypoints && joints === 0),
          })),
          found: found.map((detection) => ({ score: detection.score, area: kind.area(detection) })),
          overlaps: found.map((detection) => truths.map((truth) => kind.overlap(detection, truth))),
        },
      ]
    }),
  )
}

/** precision [overlap][category · recall point], recall [overlap][category]; -1 where there is nothing to find. */
function accumulate(
  tables: readonly (readonly Pairs[])[],
  range: readonly [number, number],
  limit: number,
): { precision: number[][]; recall: number[][] } {
  const precision: number[][] = OVERLAPS.map(() => [])
  const recall: number[][] = OVERLAPS.map(() => [])
  for (const images of tables)
    for (const [t, overlap] of OVERLAPS.entries()) {
      const matched = images.map((pairs) => matchImage(pairs, overlap, range, limit))
      const wanted = matched.reduce((sum, each) => sum + each.wanted, 0)
      if (wanted === 0) {
        precision[t]!.push(...RECALLS.map(() => -1))
        recall[t]!.push(-1)
        continue
      }
      const ranked = matched.flatMap(({ found }) => found).sort((a, b) => b.score - a.score)
      const curve = precisionRecall(ranked, wanted)
      precision[t]!.push(...curve.precision)
      recall[t]!.push(curve.recall)
    }
  return { precision, recall }
}

interface Found {
  readonly score: number
  readonly right: boolean
  readonly ignored: boolean
}

/** Greedy: the best detection takes the best free truth; crowds may be taken again and count for nothing. */
function matchImage(
  { truths, found, overlaps }: Pairs,
  threshold: number,
  [least, most]: readonly [number, number],
  limit: number,
): { found: Found[]; wanted: number } {
  const outside = (area: number) => area < least || area > most
  const ignored = truths.map((truth) => truth.ignored || outside(truth.area))
  const order = truths.map((_, i) => i).sort((a, b) => Number(ignored[a]) - Number(ignored[b]))
  const taken = new Set<number>()
  const matched = found.slice(0, limit).map(({ score, area }, d): Found => {
    let best = Math.min(threshold, 1 - 1e-10)
    let match = -1
    for (const g of order) {
      if (taken.has(g) && !truths[g]!.crowd) continue
      if (match >= 0 && !ignored[match] && ignored[g]) break
      if (overlaps[d]![g]! < best) continue
      best = overlaps[d]![g]!
      match = g
    }
    if (match >= 0) taken.add(match)
    return { score, right: match >= 0, ignored: match >= 0 ? ignored[match]! : outside(area) }
  })
  return { found: matched, wanted: ignored.filter((each) => !each).length }
}

/** Precision at each recall point, made falling; the recall reached. */
function precisionRecall(ranked: readonly Found[], wanted: number): { precision: number[]; recall: number } {
  let [right, wrong] = [0, 0]
  const recalls: number[] = []
  const precisions: number[] = []
  for (const found of ranked) {
    if (!found.ignored && found.right) right++
    if (!found.ignored && !found.right) wrong++
    recalls.push(right / wanted)
    precisions.push(right / (right + wrong + Number.EPSILON))
  }
  for (let i = precisions.length - 1; i > 0; i--) precisions[i - 1] = Math.max(precisions[i - 1]!, precisions[i]!)
  let at = 0
  const precision = RECALLS.map((recall) => {
    while (at < recalls.length && recalls[at]! < recall) at++
    return precisions[at] ?? 0
  })
  return { precision, recall: recalls.at(-1) ?? 0 }
}

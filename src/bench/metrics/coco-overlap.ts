/**
 * How well a detection covers what it should find: intersection over union of boxes, object keypoint similarity of poses.
 *
 * @reference cocodataset/cocoapi@8c9bcc3 common/maskApi.c bbIou, PythonAPI/pycocotools/cocoeval.py computeOks
 */

import type { Box, CocoAnnotation } from './coco.js'

/** 0–1. Of a crowd region any part will do: the union is then the detection alone. */
export function bboxOverlap(found: Box, truth: Box, crowd: boolean): number {
  const side = (axis: 0 | 1) =>
    Math.min(found[axis] + found[axis + 2]!, truth[axis] + truth[axis + 2]!) - Math.max(found[axis], truth[axis])
  const [width, height] = [side(0), side(1)]
  if (width <= 0 || height <= 0) return 0
  const own = found[2] * found[3]
  const both = width * height
  return both / (crowd ? own : own + truth[2] * truth[3] - both)
}

/** Spread of human annotators per joint, nose to ankles, times ten. */
const SIGMAS = [
  0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89,
].map((tenfold) => tenfold / 10)

/** Mean over the labelled joints of exp(-d² / (2 area (2σ)²)); without any, distance from the doubled box counts. 0–1 */
export function keypointSimilarity(found: readonly number[], truth: CocoAnnotation): number {
  const joints = truth.keypoints ?? []
  const labelled = SIGMAS.filter((_, j) => joints[3 * j + 2]! > 0).length
  const beyond = (value: number, start: number, size: number) =>
    Math.max(0, start - size - value) + Math.max(0, value - (start + 2 * size))
  let sum = 0
  for (const [j, sigma] of SIGMAS.entries()) {
    if (labelled > 0 && !(joints[3 * j + 2]! > 0)) continue
    const [x, y] = [found[3 * j]!, found[3 * j + 1]!]
    const dx = labelled ? x - joints[3 * j]! : beyond(x, truth.bbox[0], truth.bbox[2])
    const dy = labelled ? y - joints[3 * j + 1]! : beyond(y, truth.bbox[1], truth.bbox[3])
    sum += Math.exp(-(dx * dx + dy * dy) / (2 * sigma) ** 2 / (truth.area + Number.EPSILON) / 2)
  }
  return sum / (labelled || SIGMAS.length)
}

/** The box around a pose's joints: its area stands for the person's. */
export function keypointBox(keypoints: readonly number[]): Box {
  const [xs, ys] = [0, 1].map((axis) => keypoints.filter((_, i) => i % 3 === axis)) as [number[], number[]]
  const [left, top] = [Math.min(...xs), Math.min(...ys)]
  return [left, top, Math.max(...xs) - left, Math.max(...ys) - top]
}

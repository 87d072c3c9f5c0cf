/** Path 3 with a head of patches: boxes, points, masks and counts of one picture, in its own dots. Only the encoder wakes. */

import { M4Error } from '../core/errors.js'
import type { Picture } from '../media/index.js'
import { applyHead, type HeadAdapter, type HeadType, requireType } from './class-head.js'
import { pictureOf } from './paint-tasks.js'
import {
  type Box,
  balancePoints,
  foundBoxes,
  largestAtDots,
  mapAtDots,
  type PatchGrid,
  type Region,
  regionOf,
  sigmoid,
  softplus,
  squareOf,
} from './patch-heads/index.js'
import type {
  CountOutput,
  CountRequest,
  DetectOutput,
  DetectRequest,
  KeypointsOutput,
  KeypointsRequest,
  PictureSource,
  SegmentOutput,
  SegmentRequest,
} from './requests.js'
import type { Work } from './work.js'

export async function* detect(request: DetectRequest, work: Work): AsyncGenerator<never, DetectOutput> {
  const { adapter, minScore: score, overlap, top: count } = request
  requireShare('minScore', score)
  requireShare('overlap', overlap)
  if (count !== undefined && !(Number.isInteger(count) && count >= 1))
    throw new M4Error('INVALID_REQUEST', `top: expected a whole number, 1 or more, got ${count}.`)
  const { maps, grid, region } = await headMaps(request, ['boxes'], work)
  return work.stage('decode', async () => {
    const { labels, anchors = [] } = adapter
    const [patches, classes] = [grid.rows * grid.columns, labels.length]
    const [scoreCount, offsetCount] = [anchors.length * classes, anchors.length * 4]
    const [scores, offsets] = [new Float32Array(patches * scoreCount), new Float32Array(patches * offsetCount)]
    for (let p = 0; p < patches; p++) {
      const row = maps.subarray(p * adapter.out, (p + 1) * adapter.out)
      scores.set(row.subarray(0, scoreCount), p * scoreCount)
      offsets.set(row.subarray(scoreCount), p * offsetCount)
    }
    const found = foundBoxes({ ...grid, classes, anchors }, scores, offsets, { score, overlap, count })
    return {
      boxes: found.flatMap((each) => {
        const box = boxInDots(each.box, region)
        // What was found in the padding is nowhere.
        return box[2] > 0 && box[3] > 0 ? [{ label: labels[each.label]!, score: each.score, box }] : []
      }),
    }
  })
}

export async function* keypoints(request: KeypointsRequest, work: Work): AsyncGenerator<never, KeypointsOutput> {
  const { maps, grid, region } = await headMaps(request, ['key-points'], work)
  const { left, top, width, height, side } = region
  const points = balancePoints(maps, grid).map(({ x, y, confidence }, k) => ({
    name: request.adapter.labels[k]!,
    x: left + Math.min(x * side, width),
    y: top + Math.min(y * side, height),
    score: confidence,
  }))
  return { points }
}

export async function* segment(request: SegmentRequest, work: Work): AsyncGenerator<never, SegmentOutput> {
  const { type, labels } = request.adapter
  const { maps, grid, region } = await headMaps(request, ['segmentation', 'matting'], work)
  const { width, height } = region
  return work.stage('decode', async () =>
    type === 'matting'
      ? { width, height, alpha: mapAtDots(maps, 0, grid, region).map(sigmoid) }
      : { width, height, labels, mask: largestAtDots(maps, grid, region) },
  )
}

export async function* count(request: CountRequest, work: Work): AsyncGenerator<never, CountOutput> {
  const { maps, grid, region } = await headMaps(request, ['counting'], work)
  const cellDots = region.side / grid.columns
  // Cells that lie in the padding altogether are none of the picture's.
  const [rows, columns] = [Math.ceil(region.height / cellDots), Math.ceil(region.width / cellDots)]
  const values = Float32Array.from({ length: rows * columns }, (_, i) =>
    softplus(maps[Math.floor(i / columns) * grid.columns + (i % columns)]!),
  )
  return { count: values.reduce((sum, value) => sum + value, 0), density: { rows, columns, cellDots, values } }
}

interface Looked {
  readonly picture: PictureSource
  readonly adapter: HeadAdapter
  readonly region?: Box | undefined
}

/**
 * What the head gives for every patch, [P, out]. The request is checked before the encoder wakes.
 * @throws M4Error `INVALID_REQUEST`, `PICTURE_INVALID`, `NOT_AVAILABLE`, `SHAPE_MISMATCH` for a head of another encoder
 */
async function headMaps(request: Looked, types: readonly HeadType[], work: Work) {
  const { adapter } = request
  if (!adapter)
    throw new M4Error('INVALID_REQUEST', `adapter: expected a head of type ${types.join(' or ')}, got none.`, {
      hint: 'The image has no such head of its own: train one with `m4fm adapter train`.',
    })
  requireType(adapter, ...types)
  const { picture, region } = await work.stage('decode', async () => {
    const read: Picture = await pictureOf(request.picture)
    return { picture: read, region: regionOf(read, request.region) }
  })
  const features = await work.stage('encode', async () => {
    const encoder = await work.use('IMG')
    return encoder.patches(squareOf(picture, region), work.signal)
  })
  work.done('IMG')
  requireGrid(adapter, features)
  const maps = await work.stage('head', async () => {
    const out = new Float32Array(features.rows * features.columns * adapter.out)
    for (let p = 0; p * adapter.out < out.length; p++) {
      const patch = features.data.subarray(p * features.width, (p + 1) * features.width)
      out.set(applyHead(adapter, patch), p * adapter.out)
    }
    return out
  })
  return { maps, grid: { rows: features.rows, columns: features.columns }, region }
}

function requireGrid({ name, patches }: HeadAdapter, { rows, columns }: PatchGrid): void {
  if (patches?.rows === rows && patches.columns === columns) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `Adapter ${name} reads ${patches?.rows} × ${patches?.columns} patches, module IMG gives ${rows} × ${columns}.`,
    { hint: 'Use the image that it was trained on, or train it again on this one.', details: { adapter: name } },
  )
}

function requireShare(name: string, value: number | undefined): void {
  if (value === undefined || (value >= 0 && value <= 1)) return
  throw new M4Error('INVALID_REQUEST', `${name}: expected 0 to 1, got ${value}.`)
}

/** Shares of the square → dots of the picture, what lies in the padding cut off. */
function boxInDots([x, y, w, h]: Box, { left, top, width, height, side }: Region): Box {
  const [x0, y0] = [Math.min(x * side, width), Math.min(y * side, height)]
  const [x1, y1] = [Math.min((x + w) * side, width), Math.min((y + h) * side, height)]
  return [left + x0, top + y0, x1 - x0, y1 - y0]
}

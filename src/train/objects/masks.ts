/**
 * Shapes of objects at points of a picture: polygons by the even-odd rule, run-length masks as COCO writes them.
 *
 * @reference cocodataset/cocoapi@8c9bcc3 common/maskApi.c rleFrString, rleDecode
 */

import { M4Error } from '../../core/errors.js'
import type { ImageObject, RunLengthMask } from '../data/index.js'

/**
 * Which of the points a shape covers.
 * @param xs rising, in dots; the centre of the first dot is 0.5
 * @param ys as xs
 * @returns 1 where it does, [ys, xs]
 * @throws M4Error `FORMAT_INVALID` for a run-length mask that is damaged
 */
export function shapeAt(
  { polygons = [], mask }: Pick<ImageObject, 'polygons' | 'mask'>,
  xs: ArrayLike<number>,
  ys: ArrayLike<number>,
): Uint8Array {
  const covered = new Uint8Array(xs.length * ys.length)
  for (const polygon of polygons) fillPolygon(polygon, xs, ys, covered)
  if (mask) {
    const [height, width] = mask.size
    const dots = runLengthDots(mask)
    for (let j = 0; j < ys.length; j++)
      for (let i = 0; i < xs.length; i++) {
        const [x, y] = [Math.floor(xs[i]!), Math.floor(ys[j]!)]
        if (x >= 0 && y >= 0 && x < width && y < height && dots[x * height + y]) covered[j * xs.length + i] = 1
      }
  }
  return covered
}

/** @param polygon x, y, x, y, … */
function fillPolygon(polygon: readonly number[], xs: ArrayLike<number>, ys: ArrayLike<number>, covered: Uint8Array) {
  for (let j = 0; j < ys.length; j++) {
    const crossings = crossingsAt(polygon, ys[j]!)
    let i = 0
    for (let c = 0; c + 1 < crossings.length; c += 2) {
      while (i < xs.length && xs[i]! < crossings[c]!) i++
      for (; i < xs.length && xs[i]! < crossings[c + 1]!; i++) covered[j * xs.length + i] = 1
    }
  }
}

/** Where the outline crosses the line at height y, rising. */
function crossingsAt(polygon: readonly number[], y: number): number[] {
  const crossings: number[] = []
  for (let at = 0; at < polygon.length; at += 2) {
    const next = (at + 2) % polygon.length
    const [x0, y0, x1, y1] = [polygon[at]!, polygon[at + 1]!, polygon[next]!, polygon[next + 1]!]
    if (y0 > y !== y1 > y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0))
  }
  return crossings.sort((a, b) => a - b)
}

/** 1 for each dot of the mask, column by column. [width, height] */
export function runLengthDots({ size: [height, width], counts }: RunLengthMask): Uint8Array {
  const runs = typeof counts === 'string' ? runsOf(counts) : counts
  const total = runs.reduce((sum, run) => sum + run, 0)
  if (total !== height * width || runs.some((run) => !(run >= 0)))
    throw new M4Error('FORMAT_INVALID', `Mask: its runs cover ${total} dots, expected ${height} × ${width}.`, {
      hint: 'Get the annotations again from where they came.',
    })
  const dots = new Uint8Array(total)
  let at = 0
  for (const [i, run] of runs.entries()) {
    if (i % 2) dots.fill(1, at, at + run)
    at += run
  }
  return dots
}

/** Five bits a letter, a sixth where more follow; from the third run on, differences to the run before the last. */
function runsOf(text: string): number[] {
  const runs: number[] = []
  for (let at = 0; at < text.length; ) {
    let [value, shift, more] = [0, 0, true]
    while (more && at < text.length) {
      const bits = text.charCodeAt(at++) - 48
      value |= (bits & 0x1f) << shift
      shift += 5
      more = (bits & 0x20) !== 0
      if (!more && bits & 0x10) value |= -1 << shift
    }
    runs.push(runs.length > 2 ? value + runs.at(-2)! : value)
  }
  return runs
}

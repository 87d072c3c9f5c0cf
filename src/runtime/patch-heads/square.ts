/**
 * The square that an encoder looks at for heads of patches. Front ends cut the middle out of a picture; what is to be found may lie
 * beside it, so the whole picture, or a region of it, is put into the top left corner of a square.
 */

import { M4Error } from '../../core/errors.js'
import { type Picture, shrinkToFit } from '../../media/index.js'
import type { Box } from './box-geometry.js'

/** Part of a picture in its own dots, and the side of the square that it is put into. */
export interface Region {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
  /** The longer of width and height: shares of the square times this are dots. */
  readonly side: number
}

/** Larger squares are made smaller first: encoders look at 224 or so, and a strip of 20000 × 10 dots must not become a gigabyte. */
const LARGEST_SIDE = 1024

/** The mean of ImageNet: what front ends turn into zeros, or nearly. */
const PADDING = [124, 116, 104] as const

/**
 * The whole dots that a box touches. @param box in dots; default the whole picture
 * @throws M4Error `INVALID_REQUEST` for a box without area, or beside the picture
 */
export function regionOf({ width, height }: Pick<Picture, 'width' | 'height'>, box?: Box): Region {
  if (!box) return { left: 0, top: 0, width, height, side: Math.max(width, height) }
  if (!Array.isArray(box) || box.length !== 4 || !box.every(Number.isFinite) || !(box[2] > 0 && box[3] > 0))
    throw new M4Error('INVALID_REQUEST', `box: expected x, y, width and height with an area, got ${box}.`)
  const [left, top] = [Math.max(0, Math.floor(box[0])), Math.max(0, Math.floor(box[1]))]
  const [right, bottom] = [Math.min(width, Math.ceil(box[0] + box[2])), Math.min(height, Math.ceil(box[1] + box[3]))]
  if (right <= left || bottom <= top)
    throw new M4Error('INVALID_REQUEST', `box: ${box.join(', ')} lies beside the picture of ${width} × ${height} dots.`)
  const size = { width: right - left, height: bottom - top }
  return { left, top, ...size, side: Math.max(size.width, size.height) }
}

/** The region as a square picture, right of it and below it padding. */
export function squareOf(picture: Picture, region: Region): Picture {
  const { data, width, height } = shrinkToFit(cropped(picture, region), { width: LARGEST_SIDE, height: LARGEST_SIDE })
  const side = Math.max(width, height)
  if (width === height) return { data, width, height }
  const square = Uint8Array.from({ length: 3 * side * side }, (_, i) => PADDING[i % 3]!)
  for (let y = 0; y < height; y++) square.set(data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * y * side)
  return { data: square, width: side, height: side }
}

function cropped(picture: Picture, { left, top, width, height }: Region): Picture {
  if (width === picture.width && height === picture.height) return picture
  const data = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++) {
    const from = 3 * ((top + y) * picture.width + left)
    data.set(picture.data.subarray(from, from + 3 * width), 3 * y * width)
  }
  return { data, width, height }
}

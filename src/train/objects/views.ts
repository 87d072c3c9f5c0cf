/** Samples → what the encoder looks at: a picture, or for points of one object the region of its box. */

import { readFile } from 'node:fs/promises'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import { decodeImage, type Picture } from '../../media/index.js'
import { type Box, type Region, regionOf } from '../../runtime/patch-heads/index.js'
import type { DataSet, ImageObject } from '../data/index.js'
import { isObjectSample, type ObjectTask } from './task.js'

export interface View {
  /** Absolute. */
  readonly path: string
  /** As the annotations say; absent for mattes. */
  readonly size?: { readonly width: number; readonly height: number }
  /** Where to look, in dots; absent for the whole picture. */
  readonly box?: Box
  readonly objects: readonly ImageObject[]
  /** File of the matte. */
  readonly matte?: string
}

/** A view with its picture's size known. */
export interface SizedView extends View {
  readonly region: Region
}

export type ViewSet = Pick<DataSet, 'path' | 'files'> & { readonly samples: readonly View[] }

export function viewsOf(set: DataSet, { head }: Pick<ObjectTask, 'head'>): ViewSet {
  const views = set.samples.filter(isObjectSample).flatMap((sample): View[] => {
    const { path } = sample
    if (sample.kind === 'image-matte') return [{ path, objects: [], matte: sample.matte }]
    const { objects, width, height } = sample
    const size = { width, height }
    if (head !== 'key-points') return [{ path, size, objects }]
    const whole = { left: 0, top: 0, ...size, side: 1 }
    return (
      objects
        .filter(({ keypoints, crowd }) => !crowd && keypoints?.points.some(([, , visible]) => visible > 0))
        // A box beside the picture was said when the data were read.
        .filter(({ box }) => !box || boxInSquare(box, whole))
        .map((object) => ({ path, size, objects: [object], ...(object.box ? { box: object.box } : {}) }))
    )
  })
  return { path: set.path, files: set.files, samples: views }
}

/** Pictures of views, each file read and decoded once for views that follow each other. */
export function pictureReader(): (view: View) => Promise<{ readonly picture: Picture; readonly view: SizedView }> {
  let last: { readonly path: string; readonly picture: Picture } | undefined
  return async (view) => {
    const { path, size, box } = view
    if (last?.path !== path) last = { path, picture: await decodeImage(await bytesOf(path)) }
    const { picture } = last
    if (size && (size.width !== picture.width || size.height !== picture.height))
      throw new M4Error(
        'PICTURE_INVALID',
        `the picture has ${picture.width} × ${picture.height} dots, its annotations are for ${size.width} × ${size.height}.`,
        { hint: 'Give the pictures that were annotated.' },
      )
    return { picture, view: { ...view, region: regionOf(picture, box) } }
  }
}

/** @throws M4Error `FILE_NOT_FOUND`, `IO` */
export async function bytesOf(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
}

/** A box of dots as shares of the region's square, what lies beside the region cut off; undefined where nothing is left. */
export function boxInSquare([x, y, w, h]: Box, { left, top, width, height, side }: Region): Box | undefined {
  const cut = (at: number, size: number) => Math.min(Math.max(at, 0), size) / side
  const [x0, y0] = [cut(x - left, width), cut(y - top, height)]
  const [x1, y1] = [cut(x + w - left, width), cut(y + h - top, height)]
  return x1 > x0 && y1 > y0 ? [x0, y0, x1 - x0, y1 - y0] : undefined
}

/** A point of dots as shares of the region's square; undefined beside the region. */
export function pointInSquare(x: number, y: number, { left, top, width, height, side }: Region) {
  const [across, down] = [x - left, y - top]
  const inside = across >= 0 && down >= 0 && across <= width && down <= height
  return inside ? ([across / side, down / side] as const) : undefined
}

/** The point that stands for an object where objects are counted. */
export function pointOf({ box, keypoints }: ImageObject): readonly [x: number, y: number] | undefined {
  const labelled = keypoints?.points.find(([, , visible]) => visible > 0)
  if (labelled) return [labelled[0], labelled[1]]
  return box && [box[0] + box[2] / 2, box[1] + box[3] / 2]
}

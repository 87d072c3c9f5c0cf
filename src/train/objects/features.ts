/** Patch features of views: each view is seen once by the image's encoder, the way `detect` and the like will see it. */

import { M4Error, throwIfAborted } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import { type PictureEncoder, squareOf } from '../../runtime/index.js'
import type { FeatureCache } from '../encoders/features.js'
import { allocated, LIMIT_BYTES } from '../media/features.js'
import { type MediaFinding, unreadable, unreadableList } from '../media/unreadable.js'
import { pictureReader, type SizedView, type ViewSet } from './views.js'

export interface SeenViews {
  /** Without those whose picture cannot be used. */
  readonly views: readonly SizedView[]
  /** Of those, in their order. [P, C] each */
  readonly features: FeatureCache
}

export interface SeeOptions extends LongOperation {
  readonly onFinding?: (finding: MediaFinding) => void
}

/**
 * @throws M4Error `FORMAT_INVALID` where too many pictures cannot be used, `FILE_NOT_FOUND`, `OUT_OF_MEMORY`, `NOT_AVAILABLE`, `ABORTED`,
 * `ENGINE`
 */
export async function seeViews(encoder: PictureEncoder, set: ViewSet, options: SeeOptions): Promise<SeenViews> {
  const { signal, onProgress, onFinding } = options
  const { rows, columns, width } = encoder.patchGrid
  const [total, size] = [set.samples.length, rows * columns * width]
  const data = allocated(total, size, LIMIT_BYTES)
  const unread = unreadableList(set, onFinding)
  const views: SizedView[] = []
  const read = pictureReader()
  for (const [i, view] of set.samples.entries()) {
    throwIfAborted(signal)
    try {
      const { picture, view: sized } = await read(view)
      const patches = await encoder.patches(squareOf(picture, sized.region), signal)
      if (!patches.data.every(Number.isFinite)) throw notFinite(view.path)
      data.set(patches.data, views.length * size)
      views.push(sized)
    } catch (error) {
      unread.add(unreadable(error, view.path, view.path), i + 1)
    }
    onProgress?.({ task: 'features', done: i + 1, total, unit: 'items' })
  }
  unread.end(views.length)
  const features = { count: views.length, dims: [rows * columns, width], data: data.subarray(0, views.length * size) }
  return { views, features }
}

const notFinite = (path: string) =>
  new M4Error('ENGINE', `${path}: its features are no numbers.`, { hint: 'Run `m4fm verify` on the image.' })

/** Path 4, a part of the picture generator alone: the same picture with more dots. */

import { M4Error } from '../core/errors.js'
import type { Picture } from '../media/index.js'
import { pictureOf } from './paint-tasks.js'
import type { UpscaleRequest } from './requests.js'
import type { FlowPainter } from './small-flow.js'
import type { Work } from './work.js'

/** Of the picture that is given: 32 channels of it are held at once, 128 bytes a dot and colour. */
const MOST_DOTS = 1024 * 1024

/** @throws M4Error `PICTURE_INVALID`, `INVALID_REQUEST`, `NOT_AVAILABLE`, `ABORTED`, `ENGINE` */
export async function* upscale(request: UpscaleRequest, work: Work): AsyncGenerator<never, Picture> {
  if (!work.image.manifest.modules['IMG-gen']?.graphs.upscale)
    throw new M4Error('NOT_AVAILABLE', `The image ${work.image.manifest.name} has no IMG-gen with a part upscale.`, {
      hint: 'Use an image of the recipe lite.',
      details: { role: 'IMG-gen' },
    })
  if (typeof request.picture !== 'object' || request.picture === null)
    throw new M4Error('INVALID_REQUEST', 'picture: expected {file} or {data, width, height}, got none.')
  const picture = await work.stage('decode picture', () => pictureOf(request.picture))
  if (picture.width * picture.height > MOST_DOTS)
    throw new M4Error(
      'INVALID_REQUEST',
      `picture: expected at most ${MOST_DOTS} dots, got ${picture.width} × ${picture.height}.`,
      { hint: 'Cut it into parts.' },
    )
  const painter = (await work.use('IMG-gen')) as FlowPainter
  return work.stage('upscale', () => painter.upscale(picture, work.signal))
}

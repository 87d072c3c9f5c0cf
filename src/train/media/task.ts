/** What is trained on pictures, sounds and motion: which module's vectors, which head, and what an image must have for it. */

import { M4Error } from '../../core/errors.js'
import type { Image } from '../../firmware/image.js'
import type { Role } from '../../firmware/manifest.js'
import type { HeadType } from '../../runtime/class-head.js'
import { readsTextsInto } from '../../runtime/space.js'
import type {
  DataSet,
  ImageCaptionSample,
  ImageLabelSample,
  MotionLabelSample,
  SampleKind,
  SoundLabelSample,
} from '../data/index.js'

export type MediaSample = ImageLabelSample | SoundLabelSample | MotionLabelSample | ImageCaptionSample
export type MediaKind = MediaSample['kind']

interface MediaRow {
  /** The module whose vectors are the features. */
  readonly module: Extract<Role, 'IMG' | 'AUD-B' | 'IMU'>
  readonly head: HeadType
  /** The request that the adapter serves. */
  readonly task: 'match' | 'retrieve'
  /** One of them, in messages. */
  readonly what: string
}

export const MEDIA: { readonly [K in MediaKind]: MediaRow } = Object.freeze({
  'image-label': { module: 'IMG', head: 'classifier', task: 'match', what: 'picture' },
  'sound-label': { module: 'AUD-B', head: 'classifier', task: 'match', what: 'sound' },
  'motion-label': { module: 'IMU', head: 'classifier', task: 'match', what: 'recording' },
  'image-caption': { module: 'IMG', head: 'retrieval', task: 'retrieve', what: 'picture' },
})

export interface MediaTask extends MediaRow {
  readonly kind: MediaKind
  /** Of a classifier: its classes, in the order of its outputs. */
  readonly labels: readonly string[]
  /** The image reads texts into the same space: labels and captions can be compared without an adapter. */
  readonly joint: boolean
}

/** Data that this room trains on, or refuses with a reason; all else is text. */
export const isMediaKind = (kind: SampleKind): boolean => Object.hasOwn(MEDIA, kind) || kind === 'image-objects'

export const isMediaSample = (sample: { readonly kind: SampleKind }): sample is MediaSample =>
  Object.hasOwn(MEDIA, sample.kind)

/**
 * The task that fits the data.
 * @throws M4Error `NOT_AVAILABLE` where the image lacks what it needs (`details.needs`), `INVALID_REQUEST` for fewer than two classes
 */
export function mediaTask({ kind, labels, path }: DataSet, { manifest }: Pick<Image, 'manifest'>): MediaTask {
  if (kind === 'image-objects') throw objectsNotAvailable(path)
  if (!isMediaSample({ kind }))
    throw new M4Error('NOT_AVAILABLE', `${path} holds ${kind}, which trains no head on features.`, {
      hint: `Heads are trained on ${Object.keys(MEDIA).join(', ')}.`,
    })
  const row = MEDIA[kind as MediaKind]
  require(manifest, row.module, `to train on ${row.what}s`)
  if (row.head === 'retrieval') require(manifest, 'TXT', 'to read captions')
  if (row.head === 'classifier' && labels.length < 2)
    throw new M4Error('INVALID_REQUEST', `${path}: expected two classes or more, got ${labels.length}.`, {
      hint: 'There is nothing to tell apart: add samples of another class.',
      details: { labels },
    })
  const joint = readsTextsInto(manifest, row.module)
  return { ...row, kind: kind as MediaKind, labels: row.head === 'classifier' ? labels : [], joint }
}

function require({ modules, name }: Image['manifest'], module: Role, why: string): void {
  if (modules[module]) return
  throw new M4Error('NOT_AVAILABLE', `The image ${name} has no module ${module} ${why}.`, {
    hint: `It has ${Object.keys(modules).join(', ') || 'none'}. Use an image that is built with it.`,
    details: { needs: module },
  })
}

/**
 * Boxes, key points and masks need a vector a patch; encoders of images give one a picture. The heads themselves are in heads/, and
 * train on whatever features they are given.
 */
const objectsNotAvailable = (path: string) =>
  new M4Error(
    'NOT_AVAILABLE',
    `${path} holds objects in pictures. Their heads read a vector a patch, [B, P, C]; encoders of images give one vector a picture.`,
    {
      hint: 'Give whole pictures with labels (image,label) or captions (image,caption).',
      details: { needs: 'an output of patch tokens, [B, P, C], of graph encode of module IMG' },
    },
  )

/** Pictures with objects: which head the data train, and whether the image can run it. */

import { M4Error } from '../../core/errors.js'
import type { Image } from '../../firmware/image.js'
import { givesPatches, noPatches } from '../../runtime/patch-heads/index.js'
import type { DataSet, ImageMatteSample, ImageObject, ImageObjectsSample, SampleKind } from '../data/index.js'

export const OBJECT_TASKS = ['detect', 'keypoints', 'segment', 'count'] as const
export type ObjectTaskName = (typeof OBJECT_TASKS)[number]

export type ObjectHead = 'boxes' | 'key-points' | 'segmentation' | 'matting' | 'counting'

export interface ObjectTask {
  /** The request that the adapter serves. */
  readonly task: ObjectTaskName
  readonly head: ObjectHead
  readonly module: 'IMG'
  /** Classes, or names of points; none of a matte or a count. */
  readonly labels: readonly string[]
}

export type ObjectSample = ImageObjectsSample | ImageMatteSample

/** What is behind every object of a mask. */
export const BACKGROUND = 'background'

export const isObjectKind = (kind: SampleKind): kind is ObjectSample['kind'] =>
  kind === 'image-objects' || kind === 'image-matte'

export const isObjectSample = (sample: { readonly kind: SampleKind }): sample is ObjectSample =>
  isObjectKind(sample.kind)

/** What an object must have for a task, in words. */
const NEEDS: Readonly<Record<ObjectTaskName, string>> = {
  detect: 'boxes (bbox)',
  keypoints: 'points with names (keypoints)',
  segment: 'shapes (segmentation)',
  count: 'points or boxes',
}

const HAS: Readonly<Record<ObjectTaskName, (object: ImageObject) => boolean>> = {
  detect: ({ box }) => box !== undefined,
  keypoints: ({ keypoints }) => keypoints !== undefined,
  segment: ({ polygons, mask }) => polygons !== undefined || mask !== undefined,
  count: ({ box, keypoints }) => box !== undefined || keypoints !== undefined,
}

/**
 * The task that fits the data: points of names are found, one point an object is counted, boxes are detected, shapes segmented; the
 * first of these that the objects have.
 * @param train what is trained on: classes that none of its objects has cannot be learned
 * @param wanted in place of that choice
 * @throws M4Error `NOT_AVAILABLE` where the image gives no patches (`details.needs`), `INVALID_REQUEST` for data without what the task
 * needs
 */
export function objectTask(train: DataSet, { manifest }: Pick<Image, 'manifest'>, wanted?: ObjectTaskName): ObjectTask {
  if (!givesPatches(manifest)) throw noPatches()
  if (train.kind === 'image-matte') {
    if (wanted === undefined || wanted === 'segment')
      return { task: 'segment', head: 'matting', module: 'IMG', labels: [] }
    throw new M4Error('INVALID_REQUEST', `${train.path} holds mattes, which train the task segment, not ${wanted}.`)
  }
  const objects = train.samples
    .filter(isObjectSample)
    .flatMap((sample) => (sample.kind === 'image-objects' ? sample.objects.filter(({ crowd }) => !crowd) : []))
  const task = wanted ?? usualTask(objects)
  const fitting = objects.filter(HAS[task])
  if (!fitting.length)
    throw new M4Error(
      'INVALID_REQUEST',
      `${train.path}: no object to train on has ${NEEDS[task]}, which ${task} needs.`,
      {
        hint: `Give such data, or choose another task: --task ${OBJECT_TASKS.join(' or ')}.`,
        details: { task },
      },
    )
  const classes = train.labels.filter((label) => fitting.some((object) => object.label === label))
  switch (task) {
    case 'detect':
      return { task, head: 'boxes', module: 'IMG', labels: classes }
    case 'keypoints':
      return { task, head: 'key-points', module: 'IMG', labels: pointNames(train.path, fitting) }
    case 'segment':
      return { task, head: 'segmentation', module: 'IMG', labels: withBackground(train.path, classes) }
    case 'count':
      return { task, head: 'counting', module: 'IMG', labels: [] }
  }
}

function usualTask(objects: readonly ImageObject[]): ObjectTaskName {
  const pointed = objects.filter(HAS.keypoints)
  if (pointed.some(({ keypoints }) => keypoints!.points.length > 1)) return 'keypoints'
  if (pointed.length) return 'count'
  return objects.some(HAS.detect) ? 'detect' : 'segment'
}

/** One list for all objects: a head has one set of points. @throws M4Error `INVALID_REQUEST` */
function pointNames(path: string, objects: readonly ImageObject[]): readonly string[] {
  const { names, points } = objects[0]!.keypoints!
  const other = objects.find(({ keypoints }) => keypoints!.names.join() !== names.join())
  if (other)
    throw new M4Error(
      'INVALID_REQUEST',
      `${path}: "${objects[0]!.label}" and "${other.label}" have other key points.`,
      {
        hint: 'Train an adapter for each: one category a file.',
      },
    )
  return names.length ? names : points.map((_, k) => `point ${k + 1}`)
}

function withBackground(path: string, classes: readonly string[]): readonly string[] {
  if (!classes.includes(BACKGROUND)) return [BACKGROUND, ...classes]
  throw new M4Error(
    'INVALID_REQUEST',
    `${path}: a category is called "${BACKGROUND}", which is what no object covers.`,
    {
      hint: 'Rename it.',
    },
  )
}

/** T14–T31: pictures (path 3; T17 path 4). What no encoder can tell by itself is asked of a head that an app brings. */

import { CIFAR_100, TRAFFIC_SIGNS } from './labels.js'
import type { BenchTask } from './types.js'

type Entry = Pick<BenchTask, 'id' | 'title' | 'dataSet' | 'metric'>

const PHOTO = { file: 'room.jpg' }
const picture = { path: 3, takes: { of: 'picture' }, needs: ['IMG'] } as const

const HEADS = { detect: 'boxes', keypoints: 'key points', segment: 'masks', count: 'counting' } as const

/** Labels by closeness in the joint space. */
const chosen = (entry: Entry, labels: readonly string[], template: string): BenchTask => ({
  ...entry,
  ...picture,
  needs: ['IMG', 'TXT'],
  ask: { task: 'match', labels, template },
  sample: PHOTO,
})

/** By a head of an adapter, on the patches of the picture. */
const headed = (entry: Entry, task: keyof typeof HEADS): BenchTask => ({
  ...entry,
  ...picture,
  ask: { task } as BenchTask['ask'],
  head: HEADS[task],
  sample: PHOTO,
})

/** The nearest of a gallery. */
const nearest = (entry: Entry): BenchTask => ({
  ...entry,
  ...picture,
  takes: { of: 'picture', gallery: true },
  ask: { task: 'retrieve' },
  sample: PHOTO,
})

export const VISION: readonly BenchTask[] = [
  headed({ id: 'T14', title: 'Object detection', dataSet: 'COCO', metric: 'AP' }, 'detect'),
  headed({ id: 'T15', title: 'Object detection', dataSet: 'LVIS', metric: 'AP' }, 'detect'),
  nearest({ id: 'T16', title: 'Image retrieval', dataSet: 'DeepFashion In-shop', metric: 'recall' }),
  {
    id: 'T17',
    title: 'Super-resolution',
    dataSet: 'REDS',
    metric: 'SSIM',
    path: 4,
    takes: { of: 'picture' },
    ask: { task: 'upscale' },
    needs: ['IMG-gen'],
    sample: PHOTO,
  },
  {
    id: 'T18',
    title: 'Style transfer',
    dataSet: 'COCO and WikiArt',
    metric: 'SSIM',
    path: 3,
    takes: { of: 'picture' },
    ask: { task: 'paint' },
    needs: ['IMG-gen'],
    head: 'style',
    sample: PHOTO,
  },
  headed({ id: 'T19', title: 'Semantic segmentation', dataSet: 'ADE20K', metric: 'mIoU' }, 'segment'),
  headed({ id: 'T20', title: 'Semantic segmentation', dataSet: 'PASCAL VOC 2012', metric: 'mIoU' }, 'segment'),
  chosen(
    { id: 'T21', title: 'Optical character recognition', dataSet: 'Rendered SST-2', metric: 'accuracy' },
    ['negative', 'positive'],
    'a {} review of a movie.',
  ),
  chosen(
    { id: 'T22', title: 'Image classification', dataSet: 'CIFAR-100', metric: 'accuracy' },
    CIFAR_100,
    'a photo of a {}.',
  ),
  {
    id: 'T23',
    title: 'Image classification',
    dataSet: 'ImageNet',
    metric: 'accuracy',
    ...picture,
    // Without labels the encoder's own thousand classes answer.
    ask: { task: 'match' },
    sample: PHOTO,
  },
  chosen(
    { id: 'T24', title: 'Traffic sign classification', dataSet: 'GTSRB', metric: 'accuracy' },
    TRAFFIC_SIGNS,
    'a traffic sign: {}.',
  ),
  nearest({ id: 'T25', title: 'Vehicle re-identification', dataSet: 'VeRi-776', metric: 'rank-1' }),
  chosen(
    { id: 'T26', title: 'Gender recognition', dataSet: 'Adience', metric: 'accuracy' },
    ['female', 'male'],
    'a photo of a {} person.',
  ),
  {
    ...chosen({ id: 'T27', title: 'Location recognition', dataSet: 'Country211', metric: 'accuracy' }, [], ''),
    ask: { task: 'match', template: 'a photo taken in {}.' },
    ownLabels: true,
  },
  headed({ id: 'T28', title: 'Pose estimation', dataSet: 'AP-10K', metric: 'AP' }, 'keypoints'),
  {
    id: 'T29',
    title: 'Video classification',
    dataSet: 'Kinetics-400',
    metric: 'accuracy',
    path: 3,
    takes: { of: 'video' },
    ask: { task: 'match', template: 'a video of {}.' },
    needs: ['IMG', 'TXT'],
    ownLabels: true,
    sample: PHOTO,
  },
  headed({ id: 'T30', title: 'Counting', dataSet: 'crowds', metric: 'MAE' }, 'count'),
  headed({ id: 'T31', title: 'Image matting', dataSet: 'RefMatte-RW100', metric: 'MSE' }, 'segment'),
]

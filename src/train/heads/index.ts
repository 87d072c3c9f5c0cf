/** Task heads. */

import { unknownName } from '../../core/errors.js'
import { boxHead } from './boxes.js'
import { classifierHead } from './classifier.js'
import { countingHead } from './counting.js'
import { keyPointHead } from './key-points.js'
import { retrievalHead } from './retrieval.js'
import { mattingHead, segmentationHead } from './segmentation.js'
import type { TaskHead } from './types.js'

export * from './boxes.js'
export * from './classifier.js'
export * from './counting.js'
export * from './hidden.js'
export * from './initialise.js'
export * from './key-points.js'
export * from './program.js'
export * from './retrieval.js'
export * from './segmentation.js'
export type * from './types.js'

/** Every head by its name: `HEADS.classifier({ in: 512, … })`. */
export const HEADS = Object.freeze({
  classifier: classifierHead,
  segmentation: segmentationHead,
  matting: mattingHead,
  'key-points': keyPointHead,
  counting: countingHead,
  boxes: boxHead,
  retrieval: retrievalHead,
})

export type HeadName = keyof typeof HEADS
export type HeadConfig<N extends HeadName> = Parameters<(typeof HEADS)[N]>[0]

/** A head by a name that comes from outside; its configuration is checked by the head. @throws M4Error `UNKNOWN_NAME`, `USAGE` */
export function openHead<N extends HeadName>(name: N, config: HeadConfig<N>): TaskHead {
  if (!Object.hasOwn(HEADS, name)) throw unknownName('head', name, Object.keys(HEADS))
  return (HEADS[name] as (config: HeadConfig<N>) => TaskHead)(config)
}

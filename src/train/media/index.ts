/** Pictures, sounds and motion: heads on features of an image's encoders. */

export { lineFeatures, type MediaEvalLine, parseMediaEvalLines, type Remeasured, remeasureHead } from './eval-lines.js'
export { type MediaBase, type MediaMeasured, measureBase, measureHead } from './evaluate.js'
export type { MediaFinding } from './features.js'
export type { MediaOptions } from './options.js'
export { type MediaSubject, type MediaSubjectParts, mediaSubject } from './subject.js'
export { isMediaKind, type MediaTask, mediaTask } from './task.js'
export {
  type MediaPlan,
  type MediaQuality,
  type MediaReport,
  type MediaRequest,
  type MediaSides,
  measureMedia,
  type PreparedMedia,
  packMedia,
  prepareMedia,
  trainMedia,
} from './train.js'

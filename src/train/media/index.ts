/** Pictures, sounds and motion: heads on features of an image's encoders. */

export { type MediaPlan, openMediaCourse } from './course.js'
export { lineFeatures, type MediaEvalLine, parseMediaEvalLines, type Remeasured, remeasureHead } from './eval-lines.js'
export { type MediaBase, type MediaMeasured, measureBase, measureHead } from './evaluate.js'
export { type MediaSubject, type MediaSubjectParts, mediaSubject } from './subject.js'
export { isMediaKind, type MediaTask, mediaTask } from './task.js'
export type { MediaFinding } from './unreadable.js'

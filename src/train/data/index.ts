/** Data sets: what people have, as samples for training. */

export { type Batch, type BatchCursor, type BatchOptions, batches, FIRST_BATCH } from './batches.js'
export { checkSplits } from './check-splits.js'
export { type FewShotOptions, fewShot } from './few-shot.js'
export { assertUsable, FINDINGS, type Finding, type FindingCode, type Severity } from './findings.js'
export { motionRecording, readMotionSamples } from './motion.js'
export { openDataSet } from './open.js'
export * from './samples.js'
export { type SplitOptions, type Splits, splitDataSet } from './split.js'
export { assertUnchanged } from './unchanged.js'

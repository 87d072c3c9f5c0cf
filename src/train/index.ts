/** Training: adapters from samples, on the graphs that devices run. */

export type { Score, TrainFinding, TrainPlan, TrainRequest } from './course.js'
export * from './data/index.js'
export { type EvaluateReport, type EvaluateRequest, evaluateAdapter, requireEffect } from './evaluate.js'
export { type FewShotReport, type FewShotRequest, fewShotRuns } from './few-shot.js'
export type { FewShotRun } from './few-shot-record.js'
export type { StepReport } from './fit.js'
export * from './options.js'
export { type RevalidateReport, type RevalidateRequest, revalidateAdapter } from './revalidate.js'
export { planTraining, type TrainReport, trainAdapter } from './trainer.js'

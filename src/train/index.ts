/** Training: adapters from samples, on the graphs that devices run. */

export * from './data/index.js'
export type { StepReport } from './fit.js'
export * from './options.js'
export {
  planTraining,
  type TrainFinding,
  type TrainPlan,
  type TrainReport,
  type TrainRequest,
  trainAdapter,
} from './trainer.js'

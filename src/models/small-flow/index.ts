/** A small picture generator that paints after a vector of the joint space: a flow-matching transformer over patches. */

import type { Architecture } from '../architecture.js'
import { randomWeights } from '../random-weights.js'
import { type SmallFlowConfig, smallFlowConfig, smallFlowShapes, smallFlowWeights } from './config.js'
import { smallFlowGraph } from './graph.js'

export { LAST_TIME, restOfWay, SMALL_FLOW_28, type SmallFlowConfig, smallFlowShapes } from './config.js'
export { smallFlowGraph } from './graph.js'

export const smallFlow: Architecture<SmallFlowConfig> = {
  configure: smallFlowConfig,
  weights: smallFlowWeights,
  random: (config, seed) => randomWeights(smallFlowShapes(config), () => config.layers, seed),
  graphs: (config, weights, { quantisation }) => ({ velocity: () => smallFlowGraph(config, weights, quantisation) }),
  runtimeConfig: ({ channels, size, joint }) => ({ channels, size, joint }),
}

/** ImageBind: six towers into one joint space, each a module of its own. */

export * from './architecture.js'
export * from './config.js'
export * from './encoder.js'
export * from './lite-motion.js'
export * from './modalities.js'
export { gravityFrame, motionStatistics, statisticsWidth } from './motion-frame.js'
export * from './positions.js'
export { imagebindHeadGraph, similarityGraph } from './post.js'
export * from './published.js'
export * from './weights.js'

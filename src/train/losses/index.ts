/** Losses: nodes on a tape, from model outputs and targets to one number. */

export * from './binary.js'
export * from './cosine.js'
export * from './cross-entropy.js'
export * from './dice.js'
export * from './distillation.js'
export * from './head-cross-entropy.js'
export * from './info-nce.js'
export * from './reduction.js'
export * from './regression.js'

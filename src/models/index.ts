/** Architectures: weight-name tables, graph functions, front ends. */

export * from './architecture.js'
export * from './bert.js'
export * from './embedding.js'
export * from './linear.js'
export * from './llama.js'
export * from './log-mel.js'
export * from './pack.js'
export * from './random-weights.js'
export * from './weights.js'
export * from './whisper.js'

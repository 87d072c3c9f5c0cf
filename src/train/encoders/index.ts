/** Encoders as training programs. */

export * from './encoder.js'
export * from './features.js'
export * from './frozen-weights.js'
export * from './imagebind.js'
export * from './lora-sites.js'

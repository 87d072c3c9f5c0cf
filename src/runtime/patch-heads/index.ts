/** Heads of patches: from what they give for each patch to answers. */

export * from './box-geometry.js'
export * from './boxes.js'
export * from './maps.js'
export * from './square.js'
export * from './types.js'

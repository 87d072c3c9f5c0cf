/** Diffusion: noise schedules, samplers, the loop, and the module that paints. */

export * from './denoise.js'
export * from './noise-schedule.js'
export { openPictureGenerator } from './open.js'
export { type PaintOptions, type PictureFacts, PictureGenerator } from './picture-generator.js'
export * from './samplers.js'

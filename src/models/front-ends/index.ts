/** Front ends: pictures, clips of video and sounds as graphs, each with where its clips lie. */

export * from './clips.js'
export * from './fbank.js'
export * from './image.js'
export * from './video.js'

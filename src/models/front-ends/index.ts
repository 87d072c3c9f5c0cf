/** Front ends: pictures, clips of video and sounds as graphs. Where the clips lie: `media/clips.ts`. */

export * from './fbank.js'
export * from './image.js'
export * from './video.js'

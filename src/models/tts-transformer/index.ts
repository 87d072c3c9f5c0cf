/** fairseq's TTS Transformer, and HiFi-GAN as its vocoder: text to speech. */

export * from './architecture.js'
export * from './config.js'
export * from './graphs.js'
export * from './names.js'
export * from './published.js'
export * from './vocoder.js'

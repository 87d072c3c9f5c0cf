/** VITS and MMS-TTS: text to speech. */

export * from './config.js'
export * from './graphs.js'
export * from './names.js'

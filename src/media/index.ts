/** Media: bytes of sound files to samples and back. */

export { resample } from './resample.js'
export { MIN_SPEECH_S, mixToMono, SPEECH_RATE_HZ, type Speech, speechSamples } from './speech.js'
export { type DecodedAudio, decodeWav } from './wav.js'
export { encodeWav16 } from './wav-encode.js'

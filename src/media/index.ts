/** Media: bytes of sound and picture files to samples and dots, and back; motion at another rate. */

export {
  type ClipPlan,
  clipFrames,
  clipSpans,
  clipTimes,
  IMAGEBIND_SOUND_CLIPS,
  IMAGEBIND_VIDEO_CLIPS,
} from './clips.js'
export { requireGravity } from './gravity.js'
export { type DecodeImageOptions, decodeImage, encodePng, MAX_PICTURE_DOTS, type Picture } from './image.js'
export {
  IMAGEBIND_MOTION,
  type MotionPlan,
  type MotionRecording,
  type MotionWindows,
  motionWindows,
} from './motion.js'
export { resample } from './resample.js'
export { shrinkToFit } from './shrink.js'
export { checkSound, MIN_SOUND_S, type Sound, soundChannels } from './sound.js'
export { MIN_SPEECH_S, mixToMono, SPEECH_RATE_HZ, type Speech, speechSamples } from './speech.js'
export { type DecodedAudio, decodeWav } from './wav.js'
export { encodeWav16 } from './wav-encode.js'

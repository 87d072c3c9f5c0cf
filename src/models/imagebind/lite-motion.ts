/** The tower of motion of the recipe `lite`: ImageBind's at a hundredth of its size, in the space of all-MiniLM-L6-v2. */

import type { ImageBindConfig } from './config.js'

/** A second less a hair: 100 samples at 102.4 Hz, or 50 at 50 Hz, hold it whole. */
export const LITE_MOTION_SAMPLES = 48
export const LITE_MOTION_RATE_HZ = 50

/** 130,369 parameters, the scale included. */
export const LITE_MOTION: ImageBindConfig = {
  modality: 'imu',
  width: 64,
  heads: 4,
  layers: 3,
  feedForward: 128,
  joint: 384,
  positions: 1 + LITE_MOTION_SAMPLES / 2,
  maxScale: 100,
  normEpsilon: 1e-6,
  stemNormEpsilon: 1e-5,
  stem: {
    kind: 'windows',
    channels: 6,
    kernel: 4,
    step: 2,
    samples: LITE_MOTION_SAMPLES,
    sampleRateHz: LITE_MOTION_RATE_HZ,
    gravity: true,
  },
}

/** What the file of weights does not say itself: facts of the recipe. */
export const LITE_MOTION_FACTS = {
  modality: 'imu',
  heads: LITE_MOTION.heads,
  step: 2,
  sampleRateHz: LITE_MOTION_RATE_HZ,
  gravity: 1,
} as const

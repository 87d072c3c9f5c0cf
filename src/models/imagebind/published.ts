/** Sizes of the four towers of `imagebind_huge` that M4 uses, for images of random weights at full size. */

import type { ImageBindConfig } from './config.js'

const JOINT = { joint: 1024, maxScale: 100, normEpsilon: 1e-6, stemNormEpsilon: 1e-5 } as const

/** 632,829,440 parameters. */
export const IMAGEBIND_VISION: ImageBindConfig = {
  ...JOINT,
  modality: 'vision',
  width: 1280,
  heads: 16,
  layers: 32,
  feedForward: 5120,
  positions: 257,
  stem: { kind: 'patches', channels: 3, frames: 2, kernel: 14, stride: 14, height: 224, width: 224 },
}

/** 354,032,641 parameters, the scale included. */
export const IMAGEBIND_TEXT: ImageBindConfig = {
  ...JOINT,
  modality: 'text',
  width: 1024,
  heads: 16,
  layers: 24,
  feedForward: 4096,
  positions: 77,
  stem: { kind: 'tokens', vocabulary: 49_408 },
}

/** 86,235,649 parameters, the scale included. */
export const IMAGEBIND_AUDIO: ImageBindConfig = {
  ...JOINT,
  modality: 'audio',
  width: 768,
  heads: 12,
  layers: 12,
  feedForward: 3072,
  positions: 229,
  stem: { kind: 'patches', channels: 1, frames: 1, kernel: 16, stride: 10, height: 128, width: 204 },
}

/** 19,600,385 parameters, the scale included. */
export const IMAGEBIND_IMU: ImageBindConfig = {
  ...JOINT,
  modality: 'imu',
  width: 512,
  heads: 8,
  layers: 6,
  feedForward: 2048,
  positions: 251,
  stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 2000 },
}

/** Sizes of the published models, for images of random weights at full size. */

import type { StableDiffusionConfig } from './index.js'

const VAE = {
  channels: 3,
  latentChannels: 4,
  innerChannels: 4,
  levels: [128, 256, 512, 512],
  blocks: 2,
  groups: 32,
  scale: 0.18215,
} as const

const TEXT = { vocabulary: 49_408, contextLength: 77, normEpsilon: 1e-5 } as const

const SCHEDULER = {
  sampler: 'pndm',
  trainSteps: 1000,
  betaStart: 0.00085,
  betaEnd: 0.012,
  betas: 'scaled_linear',
  stepsOffset: 1,
  endsClean: false,
  prediction: 'epsilon',
} as const

const WIDTHS = [320, 640, 1280, 1280] as const

/** Attention on all levels but the last. */
const unet = (contextWidth: number, heads: (channels: number) => number, classWidth: number) => ({
  inChannels: 4,
  outChannels: 4,
  levels: WIDTHS.map((channels, i) => ({ channels, depth: i < WIDTHS.length - 1 ? 1 : 0, heads: heads(channels) })),
  middle: { depth: 1, heads: heads(WIDTHS.at(-1)!) },
  blocks: 2,
  contextWidth,
  timeWidth: 1280,
  classWidth,
  groups: 32,
  normEpsilon: 1e-5,
})

/** 1.1 to 1.5: 1,066,235,307 parameters, the paper's 1.0663 B. */
export const STABLE_DIFFUSION_1: StableDiffusionConfig = {
  text: { ...TEXT, width: 768, feedForward: 3072, layers: 12, heads: 12, activation: 'quick_gelu' },
  unet: unet(768, () => 8, 0),
  vae: VAE,
  scheduler: SCHEDULER,
  latentSize: 64,
}

/** 2.1 of 768 dots: 1,289,952,427 parameters. */
export const STABLE_DIFFUSION_2_1: StableDiffusionConfig = {
  text: { ...TEXT, width: 1024, feedForward: 4096, layers: 23, heads: 16, activation: 'gelu' },
  unet: unet(1024, (channels) => channels / 64, 0),
  vae: VAE,
  scheduler: { ...SCHEDULER, prediction: 'v_prediction' },
  latentSize: 96,
}

/** 2.1 that paints after an embedding of the joint space. */
export const STABLE_DIFFUSION_2_1_UNCLIP: StableDiffusionConfig = {
  ...STABLE_DIFFUSION_2_1,
  unet: unet(1024, (channels) => channels / 64, 2048),
  augment: { width: 1024 },
}

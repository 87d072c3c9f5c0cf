/** Every architecture at toy size: for tests, and for trying commands without a download. */

import { HIFI_GAN_V1_STACK } from '../../models/index.js'
import type { ModuleRecipe, Recipe } from '../recipes.js'

const TOWER = {
  joint: 32,
  width: 32,
  feedForward: 64,
  layers: 2,
  heads: 4,
  maxScale: 100,
  normEpsilon: 1e-6,
  stemNormEpsilon: 1e-5,
}

/** ImageBind at toy size: pictures of 28 × 28 dots, sounds of 32 bands, 40 samples of motion. */
const tower = (seed: number, config: { readonly modality: 'vision' | 'text' | 'audio' | 'imu' }): ModuleRecipe => ({
  architecture: `imagebind-${config.modality}`,
  title: `random ImageBind ${config.modality}`,
  weights: { random: { seed, config: { ...TOWER, ...config } } },
  quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
  embedding: 'fp16',
  encoderAdapters: true,
  ...(config.modality === 'text' ? { tokenizer: { from: 'tiny' } } : {}),
})

const VISION = {
  modality: 'vision',
  positions: 5,
  stem: { kind: 'patches', channels: 3, frames: 2, kernel: 14, stride: 14, height: 28, width: 28 },
} as const
const TEXT = { modality: 'text', positions: 128, stem: { kind: 'tokens', vocabulary: 288 } } as const
const AUDIO = {
  modality: 'audio',
  positions: 39,
  stem: { kind: 'patches', channels: 1, frames: 1, kernel: 16, stride: 10, height: 32, width: 204 },
} as const
const IMU = {
  modality: 'imu',
  positions: 6,
  stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 40 },
} as const

/** Two levels in place of four: pictures of 16 × 16 dots. */
const TINY_DIFFUSION = {
  text: {
    vocabulary: 288,
    width: 32,
    feedForward: 64,
    layers: 2,
    heads: 4,
    contextLength: 77,
    activation: 'quick_gelu',
    normEpsilon: 1e-5,
  },
  unet: {
    inChannels: 4,
    outChannels: 4,
    levels: [
      { channels: 32, depth: 1, heads: 4 },
      { channels: 64, depth: 0, heads: 4 },
    ],
    middle: { depth: 1, heads: 4 },
    blocks: 1,
    contextWidth: 32,
    timeWidth: 128,
    classWidth: 0,
    groups: 8,
    normEpsilon: 1e-5,
  },
  vae: { channels: 3, latentChannels: 4, innerChannels: 4, levels: [16, 32], blocks: 1, groups: 8, scale: 0.18215 },
  scheduler: {
    sampler: 'pndm',
    trainSteps: 1000,
    betaStart: 0.00085,
    betaEnd: 0.012,
    betas: 'scaled_linear',
    stepsOffset: 1,
    endsClean: false,
    prediction: 'epsilon',
  },
  latentSize: 8,
}

export const TINY_RANDOM: Recipe = {
  name: 'tiny-random',
  version: '0.1.0',
  rollbackIndex: 1,
  about: 'Every architecture at toy size with seeded random weights; built in a second, answers nonsense. For tests.',
  modules: {
    backbone: {
      architecture: 'llama',
      title: 'random LLaMA',
      weights: {
        random: {
          seed: 1,
          config: {
            vocabulary: 288,
            width: 64,
            feedForward: 160,
            layers: 2,
            heads: 4,
            kvHeads: 2,
            headWidth: 16,
            contextLength: 256,
            normEpsilon: 1e-5,
            ropeTheta: 10_000,
          },
        },
      },
      quantisations: {
        int4: { default: 'int4-b32', rules: [{ match: 'layers.*/attn/v', kind: 'int8-b32' }] },
        int8: { default: 'int8-b32' },
        'int4-b128': { default: 'int4-b128' },
        w8a8: { default: 'w8a8' },
        fp32: { default: 'fp32' },
      },
      embedding: 'int8-b32',
      loraSites: ['qkv', 'o'],
      tokenizer: { from: 'tiny' },
      graphs: {
        project: {
          architecture: 'projection',
          title: 'random projection',
          weights: { random: { seed: 9, config: { joint: TOWER.joint, width: 64, tokens: 1 } } },
          quantisation: { default: 'fp32' },
        },
      },
    },
    'AUD-I': {
      architecture: 'whisper',
      title: 'random Whisper',
      weights: {
        random: {
          seed: 2,
          config: {
            melBands: 80,
            audioContext: 1500,
            width: 32,
            heads: 4,
            encoderLayers: 2,
            decoderLayers: 2,
            vocabulary: 288,
            textContext: 64,
          },
        },
      },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      tokenizer: { from: 'tiny' },
    },
    IMG: tower(6, VISION),
    TXT: tower(3, TEXT),
    'AUD-B': tower(7, AUDIO),
    IMU: tower(8, IMU),
    'IMG-gen': {
      architecture: 'stable-diffusion',
      title: 'random Stable Diffusion',
      weights: { random: { seed: 5, config: TINY_DIFFUSION } },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      embedding: 'fp16',
      tokenizer: { from: 'tiny' },
    },
    TTS: {
      architecture: 'vits',
      title: 'random VITS',
      weights: {
        random: {
          seed: 4,
          config: {
            vocabulary: 288,
            width: 16,
            layers: 2,
            heads: 2,
            window: 4,
            sharedPositions: true,
            feedForward: 40,
            feedForwardKernel: 3,
            latentWidth: 16,
            durations: {
              kind: 'stochastic',
              width: 16,
              kernel: 3,
              separableLayers: 3,
              flows: 4,
              bins: 10,
              tailBound: 5,
            },
            coupling: { flows: 4, width: 16, layers: 4, kernel: 5, dilationRate: 1 },
            decoder: { ...HIFI_GAN_V1_STACK, width: 32, outputBias: false },
            speakers: 1,
            speakerWidth: 0,
            normEpsilon: 1e-5,
            sampleRateHz: 16_000,
            noiseScale: 0.667,
            durationNoiseScale: 0.8,
            speakingRate: 1,
          },
        },
      },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      tokenizer: { from: 'tiny' },
    },
  },
}

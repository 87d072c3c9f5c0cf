/**
 * Sizes of published models, as their checkpoints say them: what `build --random` and `ops` make of a recipe whose files are not
 * at hand. ImageBind's and Stable Diffusion's stand beside their models.
 */

import {
  type BertConfig,
  HIFI_GAN_V1_STACK,
  type LlamaConfig,
  type PersimmonConfig,
  type VitsConfig,
  type WhisperConfig,
} from '../../models/index.js'

const LLAMA = { vocabulary: 32_000, normEpsilon: 1e-6, ropeTheta: 10_000 } as const

export const LLAMA_7B: LlamaConfig = {
  ...LLAMA,
  width: 4096,
  feedForward: 11_008,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  headWidth: 128,
  contextLength: 2048,
}

export const LLAMA_2_7B: LlamaConfig = { ...LLAMA_7B, contextLength: 4096, normEpsilon: 1e-5 }

export const TINYLLAMA_1_1B: LlamaConfig = {
  ...LLAMA,
  width: 2048,
  feedForward: 5632,
  layers: 22,
  heads: 32,
  kvHeads: 4,
  headWidth: 64,
  contextLength: 2048,
  normEpsilon: 1e-5,
}

/** Fuyu-8B: 9.4 billion parameters; patches of 30 × 30 dots of three colours. */
export const FUYU_8B: PersimmonConfig = {
  vocabulary: 262_144,
  width: 4096,
  feedForward: 16_384,
  layers: 36,
  heads: 64,
  headWidth: 64,
  rotaryWidth: 32,
  contextLength: 16_384,
  normEpsilon: 1e-5,
  ropeTheta: 25_000,
  patchWidth: 2700,
}

/** The English models of one vocabulary: tiny.en (384, 6, 4), base.en (512, 8, 6). @param layers of encoder and decoder each */
export const whisperShape = (width: number, heads: number, layers: number): WhisperConfig => ({
  melBands: 80,
  audioContext: 1500,
  width,
  heads,
  encoderLayers: layers,
  decoderLayers: layers,
  vocabulary: 51_864,
  textContext: 448,
})

/** all-MiniLM-L6-v2. */
export const MINILM_L6: BertConfig = {
  vocabulary: 30_522,
  width: 384,
  feedForward: 1536,
  layers: 6,
  heads: 12,
  contextLength: 512,
  normEpsilon: 1e-12,
}

/** MMS-TTS, one language: 28 million parameters without the posterior encoder, which only training needs. */
export const MMS_TTS: VitsConfig = {
  vocabulary: 38,
  width: 192,
  layers: 6,
  heads: 2,
  window: 4,
  sharedPositions: true,
  feedForward: 768,
  feedForwardKernel: 3,
  latentWidth: 192,
  durations: { kind: 'stochastic', width: 192, kernel: 3, separableLayers: 3, flows: 4, bins: 10, tailBound: 5 },
  coupling: { flows: 4, width: 192, layers: 4, kernel: 5, dilationRate: 1 },
  decoder: { ...HIFI_GAN_V1_STACK, outputBias: false },
  speakers: 1,
  speakerWidth: 0,
  normEpsilon: 1e-5,
  sampleRateHz: 16_000,
  noiseScale: 0.667,
  durationNoiseScale: 0.8,
  speakingRate: 1,
}

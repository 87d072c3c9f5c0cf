/** The variant of the paper's Figure 6 without encoders of pictures: patches go straight into the decoder. */

import type { Recipe } from '../recipes.js'
import { hubFile, hubFolder, shards } from './hub.js'
import { DECODER_PLANS, DIFFUSION_1_5, hubWhisper, MMS_TTS_ENG } from './parts.js'
import { FUYU_8B } from './shapes.js'

const REPOSITORY = {
  repo: 'adept/fuyu-8b',
  licence: 'CC-BY-NC-4.0',
  publisher: 'Adept',
  note: 'Not for commercial use.',
}

export const FUYU: Recipe = {
  name: 'fuyu',
  version: '0.1.0',
  rollbackIndex: 1,
  about:
    'Fuyu-8B sees pictures as linear patches, without an encoder; with Whisper tiny.en, MMS-TTS, Stable Diffusion 1.5.',
  modules: {
    backbone: {
      architecture: 'persimmon',
      title: 'Fuyu-8B',
      weights: hubFolder(REPOSITORY, shards(2)),
      shape: FUYU_8B,
      quantisations: DECODER_PLANS,
      embedding: 'int8-b32',
      tokenizer: { from: 'file', source: hubFile(REPOSITORY, 'tokenizer.json') },
    },
    'AUD-I': hubWhisper('whisper-tiny.en', 384, 6, 4),
    TTS: MMS_TTS_ENG,
    'IMG-gen': DIFFUSION_1_5,
  },
}

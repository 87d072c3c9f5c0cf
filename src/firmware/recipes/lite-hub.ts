/** The models of `lite` where their publishers keep them, at full precision, and a voice: for those who reach the hub. */

import type { Recipe } from '../recipes.js'
import { hubFile, hubFolder } from './hub.js'
import { LITE } from './lite.js'
import { ENCODER_PLANS, hubWhisper, MMS_TTS_ENG } from './parts.js'
import { MINILM_L6, TINYLLAMA_1_1B } from './shapes.js'

const TINYLLAMA = { repo: 'TinyLlama/TinyLlama-1.1B-Chat-v1.0', licence: 'Apache-2.0', publisher: 'TinyLlama' }
const MINILM = {
  repo: 'sentence-transformers/all-MiniLM-L6-v2',
  licence: 'Apache-2.0',
  publisher: 'sentence-transformers',
}

/** As its tokenizer_config.json has it. */
const TINYLLAMA_CHAT =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"

export const LITE_HUB: Recipe = {
  name: 'lite-hub',
  version: '0.1.0',
  rollbackIndex: 1,
  about: 'The models of lite from the Hugging Face hub, at full precision, with the voice of MMS-TTS.',
  modules: {
    backbone: {
      architecture: 'llama',
      title: 'TinyLlama-1.1B-Chat-v1.0',
      weights: hubFolder(TINYLLAMA, ['model.safetensors']),
      shape: TINYLLAMA_1_1B,
      quantisations: LITE.modules.backbone!.quantisations,
      embedding: 'int8-b32',
      loraSites: ['qkv', 'o'],
      tokenizer: { from: 'file', source: hubFile(TINYLLAMA, 'tokenizer.model') },
      chatTemplate: TINYLLAMA_CHAT,
    },
    'AUD-I': hubWhisper('whisper-base.en', 512, 8, 6),
    TXT: {
      architecture: 'bert',
      title: 'all-MiniLM-L6-v2',
      weights: hubFolder(MINILM, ['model.safetensors']),
      shape: MINILM_L6,
      quantisations: ENCODER_PLANS,
      embedding: 'fp16',
      tokenizer: { from: 'file', source: hubFile(MINILM, 'tokenizer.json') },
    },
    TTS: MMS_TTS_ENG,
  },
}

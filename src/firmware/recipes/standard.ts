/**
 * The paper's M4, 9.2 billion parameters: ImageBind-huge, Whisper tiny.en, LLaMA-7B, MMS-TTS, Stable Diffusion 1.5.
 *
 * @paper arXiv:2308.14363 §3, Table 1
 */

import type { UnpinnedSource } from '../../checkpoint/sources/types.js'
import {
  IMAGEBIND_AUDIO,
  IMAGEBIND_IMU,
  IMAGEBIND_TEXT,
  IMAGEBIND_VISION,
  type ImageBindConfig,
  type LlamaConfig,
  type ProjectionConfig,
} from '../../models/index.js'
import type { GraphRecipe, ModuleRecipe, Recipe } from '../recipes.js'
import { type HubRepository, hubFile, hubFolder, shards } from './hub.js'
import { CLIP_TOKENIZER, DECODER_PLANS, DIFFUSION_1_5, ENCODER_PLANS, hubWhisper, MMS_TTS_ENG } from './parts.js'
import { LLAMA_2_7B, LLAMA_7B } from './shapes.js'

/** One flat file of six towers. */
const IMAGEBIND: UnpinnedSource = {
  name: 'imagebind_huge.pth',
  sha256: 'unpinned',
  licence: 'CC-BY-NC-SA-4.0',
  publisher: 'Meta',
  note: 'Not for commercial use.',
  uris: ['https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth'],
}

const tower = (shape: ImageBindConfig): ModuleRecipe => ({
  architecture: `imagebind-${shape.modality}`,
  title: `ImageBind-huge ${shape.modality}`,
  weights: IMAGEBIND,
  shape,
  quantisations: ENCODER_PLANS,
  embedding: 'fp16',
  encoderAdapters: true,
  ...(shape.modality === 'text' ? { tokenizer: CLIP_TOKENIZER } : {}),
})

const PANDA = {
  repo: 'openllmplayground/pandagpt_7b_max_len_512',
  licence: 'CC-BY-NC-4.0',
  publisher: 'PandaGPT',
  note: 'The projection of the delta; its LoRA is an adapter. Trained on Vicuna-7B v0. Not for commercial use.',
}

/** From the joint space into the backbone. */
const PROJECTION: GraphRecipe = {
  architecture: 'projection',
  title: 'PandaGPT projection',
  weights: hubFile(PANDA, 'pytorch_model.pt'),
  shape: { joint: IMAGEBIND_VISION.joint, width: LLAMA_7B.width, tokens: 1 } satisfies ProjectionConfig,
  quantisation: { default: 'fp16' },
}

const backbone = (title: string, repository: HubRepository, shape: LlamaConfig): ModuleRecipe => ({
  architecture: 'llama',
  title,
  weights: hubFolder(repository, shards(2)),
  shape,
  quantisations: DECODER_PLANS,
  embedding: 'int8-b32',
  loraSites: ['qkv', 'o'],
  tokenizer: { from: 'file', source: hubFile(repository, 'tokenizer.model') },
  graphs: { project: PROJECTION },
})

const LLAMA_1 = {
  repo: 'huggyllama/llama-7b',
  licence: 'LicenseRef-LLaMA',
  publisher: 'Meta, converted by huggyllama',
  note: 'Not for commercial use; Meta gives access on request.',
}

const LLAMA_2 = {
  repo: 'meta-llama/Llama-2-7b-hf',
  licence: 'LicenseRef-Llama-2-Community',
  publisher: 'Meta',
  note: 'Accept the licence on its page, then set HF_TOKEN.',
}

export const STANDARD: Recipe = {
  name: 'standard',
  version: '0.1.0',
  rollbackIndex: 1,
  about: "The paper's M4, 9.2 B parameters: ImageBind, Whisper tiny.en, LLaMA-7B, MMS-TTS, Stable Diffusion 1.5.",
  modules: {
    IMG: tower(IMAGEBIND_VISION),
    TXT: tower(IMAGEBIND_TEXT),
    IMU: tower(IMAGEBIND_IMU),
    'AUD-B': tower(IMAGEBIND_AUDIO),
    'AUD-I': hubWhisper('whisper-tiny.en', 384, 6, 4),
    backbone: backbone('LLaMA-7B', LLAMA_1, LLAMA_7B),
    TTS: MMS_TTS_ENG,
    'IMG-gen': DIFFUSION_1_5,
  },
}

export const STANDARD_LLAMA2: Recipe = {
  ...STANDARD,
  name: 'standard-llama2',
  about: 'As standard, with LLaMA-2-7B (the paper’s Figure 6).',
  modules: { ...STANDARD.modules, backbone: backbone('LLaMA-2-7B', LLAMA_2, LLAMA_2_7B) },
}

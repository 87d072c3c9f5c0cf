/** What each architecture needs around its graphs: the tokenizer, a chat template, and the ids that the runtime must know. */

import type { Checkpoint, WhisperMetadata } from '../checkpoint/index.js'
import { M4Error } from '../core/errors.js'
import type { ArchitectureName } from '../models/index.js'
import {
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
  readonly tokenizer: TokenizerJson
  /** Jinja text. */
  readonly chatTemplate?: string
  /** Joins the module's configuration in the manifest. */
  readonly config: Readonly<Record<string, unknown>>
}

/**
 * @param checkpoint absent for random weights
 * @param tokenizerFile parsed tokenizer.json, where the recipe names one
 * @throws M4Error `FORMAT_UNSUPPORTED` when the checkpoint carries no tokenizer that M4 reads
 */
export function textFacts(
  architecture: ArchitectureName,
  recipe: TokenizerRecipe,
  checkpoint: Checkpoint | undefined,
  tokenizerFile: unknown,
): TextFacts {
  const json =
    recipe.from === 'tiny'
      ? tinyTokenizer()
      : recipe.from === 'file'
        ? (tokenizerFile as TokenizerJson)
        : fromCheckpoint(checkpoint)
  const template = checkpoint?.metadata['tokenizer.chat_template']
  return {
    tokenizer: json,
    ...(typeof template === 'string' ? { chatTemplate: template } : {}),
    config: CONFIG[architecture](loadTokenizer(json)),
  }
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
  bert: (tokenizer) => ({
    clsId: special(tokenizer, '[CLS]') ?? tokenizer.bosId,
    sepId: special(tokenizer, '[SEP]') ?? tokenizer.eosId,
  }),
}

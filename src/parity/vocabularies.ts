/** Vocabulary files that several cases share: beside the case folders, in `shared/`. */

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { M4Error } from '../core/errors.js'
import { fromTiktoken, loadTokenizer, type Tokenizer, whisperSpecials } from '../tokenizers/index.js'
import { isFile, type ParityCase } from './case.js'

/** The repository's own copies, for a case that was copied alone. */
const OWN = fileURLToPath(new URL('../../test/goldens', import.meta.url))

/** @param name as cases write it: `shared/gpt2.tiktoken` @throws M4Error `FILE_NOT_FOUND` */
export function vocabularyFile({ folder }: ParityCase, name: string): string {
  const places = [folder, join(folder, '..'), join(folder, '..', '..'), OWN].map((base) => join(base, name))
  const found = places.find(isFile)
  if (found) return found
  throw new M4Error('FILE_NOT_FOUND', `The vocabulary ${name} is not beside the case.`, {
    hint: `Put it at ${places[1]}.`,
    details: { places },
  })
}

/** Whisper's English tokenizer from OpenAI's rank file. */
export function whisperTokenizer(ranks: Uint8Array): Tokenizer {
  return loadTokenizer(
    fromTiktoken(ranks, whisperSpecials(false), { bos: null, eos: '<|endoftext|>', pad: '<|endoftext|>' }),
  )
}

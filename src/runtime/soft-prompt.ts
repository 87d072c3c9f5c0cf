/**
 * The prompt around soft tokens, in the form that the image's projection was trained with (manifest: `softPrompt`); PandaGPT's
 * where it says none.
 */

import type { ModuleEntry, SoftPrompt } from '../firmware/manifest.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { badField } from './module-config.js'
import { PANDA_END, type PandaIds, type PandaTurn, pandaFragments, pandaIds } from './panda-prompt.js'
import { fillTemplate } from './prompts.js'

/** @throws M4Error `IMAGE_INVALID` */
export function softPromptOf(entry: ModuleEntry): SoftPrompt | undefined {
  const form = entry.config.softPrompt as Partial<SoftPrompt> | undefined
  if (form === undefined) return undefined
  const { before, question, end } = form
  if (typeof before === 'string' && typeof question === 'string' && question.includes('{}') && end)
    return form as SoftPrompt
  throw badField(entry, 'softPrompt', '{before, question with {}, end}', form)
}

/** Ids around the soft tokens, and the text that ends an answer. */
export function softPromptIds(
  tokenizer: Tokenizer,
  form: SoftPrompt | undefined,
  question: string,
  history: readonly PandaTurn[] = [],
): PandaIds & { readonly end: string } {
  if (!form) return { ...pandaIds(tokenizer, pandaFragments(question, history)), end: PANDA_END }
  const asked = (text: string) => {
    const { shared, own } = fillTemplate(form.question, text)
    return shared + own
  }
  const turns = history.map((turn) => `${asked(turn.question)} ${turn.answer}`)
  return { ...pandaIds(tokenizer, [form.before, [...turns, asked(question)].join('')]), end: form.end }
}

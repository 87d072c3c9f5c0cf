/** The tokenizer and templates of an image, for training on text. */

import { M4Error } from '../../core/errors.js'
import type { Image } from '../../firmware/image.js'
import { configNumber, readText, readTokenizer } from '../../runtime/module-config.js'
import { parseChatTemplate } from '../../runtime/prompts.js'
import type { Sides, TrainRequest } from '../course.js'
import type { ResolvedOptions } from '../options.js'
import { openSoftSource } from './soft-source.js'
import { isAsked, type TextEncoder, textTask } from './task.js'

/** Rows that the image's backbone can hold; undefined without one. */
export function contextOf(image: Image): number | undefined {
  const entry = image.manifest.modules.backbone
  return entry && configNumber(entry, 'contextLength')
}

/** @throws M4Error `NOT_AVAILABLE` for an image without a backbone or data without text */
export async function openTextEncoder(
  request: Pick<TrainRequest, 'image' | 'engine' | 'signal' | 'onProgress'>,
  { data, train, evaluation }: Sides,
  { template, maxTokens }: Pick<ResolvedOptions, 'template' | 'maxTokens'>,
): Promise<TextEncoder> {
  const { image } = request
  const entry = image.manifest.modules.backbone
  if (!entry)
    throw new M4Error('NOT_AVAILABLE', `The image ${image.manifest.name} has no backbone to train.`, {
      hint: 'Use an image with one, e.g. `m4fm build lite`.',
    })
  const tokenizer = await readTokenizer(image, 'backbone')
  const chat = Object.hasOwn(entry.files, 'chatTemplate')
    ? await readText(image, 'backbone', 'chatTemplate')
    : undefined
  const chatTemplate = chat === undefined ? undefined : parseChatTemplate(chat)
  const contextLength = configNumber(entry, 'contextLength')
  if (maxTokens > contextLength)
    throw new M4Error(
      'INVALID_REQUEST',
      `--max-tokens ${maxTokens}: the context of this backbone holds ${contextLength}.`,
    )
  const task = textTask(data, { template }, chatTemplate !== undefined)
  const asked = [train, evaluation].flatMap(({ samples }) => samples.filter(isAsked))
  const soft = asked.length ? await openSoftSource(request, asked) : undefined
  return { tokenizer, chatTemplate, task, maxTokens, soft }
}

/**
 * What a text adapter learns: samples as token rows, tokenised exactly as the runtime will tokenise the request that uses them.
 */

import { M4Error } from '../../core/errors.js'
import type { SoftPrompt } from '../../firmware/manifest.js'
import { type ChatTemplate, chatSegments, commonPrefix, encodePrompt, fillTemplate } from '../../runtime/prompts.js'
import type { ChatMessage } from '../../runtime/requests.js'
import { planLabels } from '../../runtime/score.js'
import { softPromptIds } from '../../runtime/soft-prompt.js'
import type { Tokenizer } from '../../tokenizers/index.js'
import { IGNORED, type SoftRow, type TokenRow } from '../backbone/batch.js'
import type { AskedSample, ChatSample, DataSet, PromptAnswerSample, Sample, TextLabelSample } from '../data/index.js'

/** The prompt is the model's own chat template instead of a text with `{}`. */
export const CHAT = 'chat'

export interface TextTask {
  /** `describe`: questions about pictures and sounds, which are soft tokens in front. */
  readonly task: 'classify' | 'generate' | 'describe'
  /** With `{}` where the text or the question goes, or `chat`. The label or answer follows directly. */
  readonly template: string
  /** Of `classify`, in a fixed order. */
  readonly labels?: readonly string[]
}

export type TextSample = TextLabelSample | PromptAnswerSample | ChatSample | AskedSample

/** Default prompts; the label or answer follows directly. */
const TEMPLATES = { classify: 'Text: {}\nLabel: ', generate: '{}\n' } as const

export const isTextSample = (sample: Sample): sample is TextSample =>
  sample.kind === 'text-label' || sample.kind === 'prompt-answer' || sample.kind === 'chat' || isAsked(sample)

export const isAsked = (sample: Sample): sample is AskedSample =>
  sample.kind === 'image-answer' || sample.kind === 'sound-answer'

/**
 * The task that fits the data.
 * @throws M4Error `NOT_AVAILABLE` for data without text, or chats where the image has no chat template
 */
export function textTask(
  dataSet: DataSet,
  given: { readonly template?: string | undefined },
  hasChat: boolean,
): TextTask {
  if (dataSet.kind === 'text-label') {
    const template = given.template ?? TEMPLATES.classify
    fillTemplate(template, '')
    return { task: 'classify', template, labels: dataSet.labels }
  }
  if (dataSet.kind === 'image-answer' || dataSet.kind === 'sound-answer') {
    if (given.template !== undefined)
      throw new M4Error('INVALID_REQUEST', 'Questions about pictures and sounds are put as the image puts them.', {
        hint: 'Leave --template out.',
      })
    // Whatever form the image has: `describe` and the trainer both take it from there.
    return { task: 'describe', template: '{}' }
  }
  if (dataSet.kind !== 'prompt-answer' && dataSet.kind !== 'chat')
    throw new M4Error('NOT_AVAILABLE', `Data of kind ${dataSet.kind} do not train the backbone alone.`)
  const template = given.template ?? (hasChat ? CHAT : TEMPLATES.generate)
  if (template !== CHAT) fillTemplate(template, '')
  if (dataSet.kind === 'chat' && template !== CHAT)
    throw new M4Error('INVALID_REQUEST', 'Chats are trained with the chat template of the image.', {
      hint: hasChat ? 'Leave --template out.' : 'This image has no chat template: give prompt and answer instead.',
    })
  if (template === CHAT && !hasChat)
    throw new M4Error('NOT_AVAILABLE', 'The image has no chat template.', { hint: 'Give --template with {} in it.' })
  return { task: 'generate', template }
}

export interface EncodedSample extends TokenRow {
  /** Where its soft tokens stand. */
  readonly firstSlot?: number
  /** The text was cut to fit. */
  readonly truncated: boolean
}

export interface TextEncoder {
  readonly tokenizer: Tokenizer
  readonly chatTemplate: ChatTemplate | undefined
  readonly task: TextTask
  readonly maxTokens: number
  /** Of `describe`. */
  readonly soft?: SoftSource | undefined
}

/** What soft tokens are made of, and the prompt around them. */
export interface SoftSource {
  readonly form: SoftPrompt | undefined
  /** Of an item. */
  readonly tokens: number
  /** Vectors of the joint space by path, length 1. [E] */
  readonly vectors: ReadonlyMap<string, Float32Array>
}

/**
 * One sample as tokens. A text that is too long loses its end, never its label or answer.
 * @throws M4Error `CONTEXT_OVERFLOW` where prompt and answer alone are too long
 */
export function encodeSample(encoder: TextEncoder, sample: TextSample): EncodedSample {
  const { maxTokens } = encoder
  let text = textOf(sample)
  let row = encodeText(encoder, sample, text)
  let truncated = false
  while (row.ids.length > maxTokens && text !== '') {
    truncated = true
    const spare = row.ids.length - maxTokens
    // A little more than the average, so that few rounds are needed.
    const characters = Math.ceil((text.length * spare * 1.05) / row.ids.length) + 1
    text = text.slice(0, Math.max(0, text.length - characters))
    row = encodeText(encoder, sample, text)
  }
  if (row.ids.length > maxTokens)
    throw new M4Error(
      'CONTEXT_OVERFLOW',
      `${rowName(sample)}: prompt and answer have ${row.ids.length} tokens, at most ${maxTokens} are trained.`,
      {
        hint: 'Raise --max-tokens, or shorten the answer.',
        details: { row: sample.row, tokens: row.ids.length, maxTokens },
      },
    )
  return { ...row, truncated }
}

const rowName = ({ row }: TextSample) => `Row ${row}`

/** What may be cut. */
function textOf(sample: TextSample): string {
  if (sample.kind === 'text-label') return sample.text
  if (sample.kind === 'prompt-answer') return sample.prompt
  if (isAsked(sample)) return sample.question
  return sample.messages.at(-1)?.content ?? ''
}

function encodeText(encoder: TextEncoder, sample: TextSample, text: string): Omit<EncodedSample, 'truncated'> {
  if (isAsked(sample)) return encodeAsked(encoder, text, sample.answer)
  if (sample.kind === 'text-label') return encodeLabel(encoder, text, sample.label)
  if (encoder.task.template === CHAT) return encodeChat(encoder, sample, text)
  if (sample.kind === 'chat') throw new M4Error('USAGE', 'A chat needs the chat template.')
  return encodeAnswer(encoder, text, sample.answer)
}

const learned = (ids: readonly number[], from: number): TokenRow => ({
  ids,
  labels: ids.map((id, i) => (i < from ? IGNORED : id)),
})

function encodeLabel({ tokenizer, task }: TextEncoder, text: string, label: string): TokenRow {
  const labels = task.labels!
  const { segments, continuations } = planLabels(
    tokenizer,
    fillTemplate(task.template, text),
    labels,
    labelEnd(tokenizer),
  )
  const prompt = segments.flatMap(({ ids }) => ids ?? [])
  return learned([...prompt, ...continuations[labels.indexOf(label)]!], prompt.length)
}

/** What the runtime puts behind labels of which one begins another. */
const labelEnd = (tokenizer: Tokenizer) => ({ between: '', end: tokenizer.eosId ?? '\n' })

/** As `describe` puts it together; the answer ends where it ends there. */
function encodeAsked({ tokenizer, soft }: TextEncoder, question: string, answer: string): SoftRow {
  const { form, tokens } = soft!
  const { bos, before, after, end } = softPromptIds(tokenizer, form, question)
  const start = [...(bos === undefined ? [] : [bos]), ...before]
  const prompt = [...start, ...new Array<number>(tokens).fill(0), ...after]
  // The end is encoded behind the answer, so that it is the token that will be generated there.
  const ids = [...prompt, ...tokenizer.encode(answer + end)]
  return { ...learned(ids, prompt.length), firstSlot: start.length }
}

function encodeAnswer({ tokenizer, task }: TextEncoder, text: string, answer: string): TokenRow {
  const { shared, own } = fillTemplate(task.template, text)
  const prompt = encodePrompt(tokenizer, shared + own)
  const whole = encodePrompt(tokenizer, shared + own + answer)
  const end = tokenizer.eosId === undefined ? [] : [tokenizer.eosId]
  return learned([...whole, ...end], commonPrefix(prompt, whole))
}

function encodeChat(
  { tokenizer, chatTemplate }: TextEncoder,
  sample: PromptAnswerSample | ChatSample,
  text: string,
): TokenRow {
  const last: ChatMessage = { role: 'user', content: text }
  const before =
    sample.kind === 'chat' ? [...sample.messages.slice(0, -1), { ...sample.messages.at(-1)!, content: text }] : [last]
  const flat = (messages: readonly ChatMessage[]) =>
    chatSegments(chatTemplate!, tokenizer, messages).flatMap(({ ids }) => ids ?? [])
  const prompt = flat(before)
  const whole = flat([...before, { role: 'assistant', content: sample.answer }])
  const from = commonPrefix(prompt, whole)
  const end = whole.indexOf(tokenizer.eosId ?? -1, from)
  if (end < 0)
    throw new M4Error('NOT_AVAILABLE', 'The chat template of this image does not end an answer with end-of-text.', {
      hint: 'Give --template with {} in it.',
    })
  return learned(whole.slice(0, end + 1), from)
}

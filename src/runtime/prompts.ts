/**
 * Prompts as token segments: chat templates (Jinja, as Hugging Face models carry them), and few-shot prompts of lines, which
 * small models follow far better than a chat template.
 */

import { Template } from '@huggingface/jinja'
import { M4Error } from '../core/errors.js'
import type { EncodeOptions, Tokenizer } from '../tokenizers/index.js'
import type { Segment } from './prompt-plan.js'
import type { ChatMessage, LineExample, LineNames } from './requests.js'

export interface ChatTemplate {
  /** @throws M4Error `INVALID_REQUEST` when the template refuses the conversation */
  render(messages: readonly ChatMessage[], tokenizer: Tokenizer, addGenerationPrompt: boolean): string
}

/** @throws M4Error `FORMAT_UNSUPPORTED` when it is not Jinja that we read */
export function parseChatTemplate(text: string): ChatTemplate {
  let template: Template
  try {
    template = new Template(text)
  } catch (cause) {
    throw new M4Error('FORMAT_UNSUPPORTED', `The chat template cannot be read: ${(cause as Error).message}.`, { cause })
  }
  return {
    render(messages, tokenizer, addGenerationPrompt) {
      const { bosId, eosId } = tokenizer
      try {
        return template.render({
          messages: messages.map(({ role, content }) => ({ role, content })),
          add_generation_prompt: addGenerationPrompt,
          bos_token: bosId === undefined ? '' : tokenizer.pieceOf(bosId),
          eos_token: eosId === undefined ? '' : tokenizer.pieceOf(eosId),
        })
      } catch (cause) {
        throw new M4Error('INVALID_REQUEST', `The chat template refuses these messages: ${(cause as Error).message}.`, {
          hint: 'Most templates want user and assistant in turn, with one system message at most, at the front.',
          cause,
        })
      }
    },
  }
}

/** Shorter pieces are not worth a run of the decoder of their own: 32 rows at a time read a prompt 6 % slower than 256 (TinyLlama, 4 bit). */
const MIN_SEGMENT_TOKENS = 32

const ROLES: readonly string[] = ['system', 'user', 'assistant']

/**
 * A conversation as segments, cut at ends of messages so that the next turn finds this one's in the cache.
 * Special tokens count where the template writes them; in what a message says, `</s>` is text like any other.
 * @throws M4Error `EMPTY_INPUT`, `INVALID_REQUEST`
 */
export function chatSegments(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
): Segment[] {
  if (messages.length === 0)
    throw new M4Error('EMPTY_INPUT', 'The conversation has no messages.', { hint: 'Give at least one of the user.' })
  for (const [i, { role, content }] of messages.entries())
    if (!ROLES.includes(role) || typeof content !== 'string')
      throw new M4Error(
        'INVALID_REQUEST',
        `messages[${i}]: expected a role of ${ROLES.join(', ')} and text as content, got role ${JSON.stringify(role)} and ${typeof content}.`,
      )
  const guarded = guardSpecials(messages, tokenizer)
  const encode = (count: number, addGenerationPrompt: boolean) =>
    encodeRendered(
      template.render(guarded.messages.slice(0, count), tokenizer, addGenerationPrompt),
      tokenizer,
      guarded.marker,
    )
  const ids = encode(messages.length, true)
  const cuts: number[] = []
  for (let count = 1; count <= messages.length; count++) {
    // A template may not take half a conversation, or write it differently: then there is no cut.
    const cut = commonPrefix(
      encodeIfAccepted(() => encode(count, false)),
      ids,
    )
    if (cut - (cuts.at(-1) ?? 0) >= MIN_SEGMENT_TOKENS) cuts.push(cut)
  }
  return cutAt(ids, cuts)
}

function encodeIfAccepted(encode: () => number[]): number[] {
  try {
    return encode()
  } catch (error) {
    if (error instanceof M4Error && error.code === 'INVALID_REQUEST') return []
    throw error
  }
}

interface Guarded {
  readonly messages: readonly ChatMessage[]
  /** Stands inside every special token's name that a message contains; taken out again before encoding. */
  readonly marker: string | undefined
}

function guardSpecials(messages: readonly ChatMessage[], tokenizer: Tokenizer): Guarded {
  const names = [...tokenizer.specialIds.keys()].filter((name) =>
    messages.some(({ content }) => content.includes(name)),
  )
  if (names.length === 0) return { messages, marker: undefined }
  let code = 0xe000
  while (messages.some(({ content }) => content.includes(String.fromCharCode(code)))) code++
  const marker = String.fromCharCode(code)
  const guard = (text: string) =>
    names.reduce((guarded, name) => guarded.replaceAll(name, name[0] + marker + name.slice(1)), text)
  return { messages: messages.map(({ role, content }) => ({ role, content: guard(content) })), marker }
}

function encodeRendered(text: string, tokenizer: Tokenizer, marker: string | undefined): number[] {
  const ids: number[] = []
  if (marker === undefined) ids.push(...tokenizer.encode(text, { allowSpecial: true }))
  else
    for (const part of splitAtSpecials(text, tokenizer)) {
      const special = tokenizer.specialIds.get(part)
      if (special !== undefined) ids.push(special)
      else if (part !== '') for (const id of tokenizer.encode(part.replaceAll(marker, ''))) ids.push(id)
    }
  // Some templates write begin-of-text themselves; twice would be wrong.
  const { bosId } = tokenizer
  return bosId === undefined || ids[0] === bosId ? ids : [bosId, ...ids]
}

function splitAtSpecials(text: string, tokenizer: Tokenizer): string[] {
  const names = [...tokenizer.specialIds.keys()].sort((a, b) => b.length - a.length)
  const pattern = names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')
  return text.split(new RegExp(`(${pattern})`))
}

/** A prompt in two parts: what many requests share, and what is this one's. */
export interface TextPrompt {
  readonly shared: string
  readonly own: string
}

/**
 * Lines `Q: …` / `A: …`, an empty line between examples, the last `A:` open. Line breaks in values become spaces: one value
 * is one line.
 */
export function linePrompt(parts: {
  readonly instruction?: string | undefined
  readonly examples?: readonly LineExample[] | undefined
  readonly names: LineNames
  readonly input: string
}): TextPrompt {
  const { instruction, examples = [], names, input } = parts
  const shown = examples.map(
    (example) => `${names.input}: ${oneLine(example.input)}\n${names.output}: ${oneLine(example.output)}\n\n`,
  )
  return {
    shared: (instruction ? `${instruction}\n\n` : '') + shown.join(''),
    own: `${names.input}: ${oneLine(input)}\n${names.output}:`,
  }
}

const oneLine = (text: string) => text.replace(/\s*[\r\n\u2028\u2029]+\s*/g, ' ').trim()

/**
 * Puts `text` where the template says `{}`.
 * @throws M4Error `INVALID_REQUEST` unless `{}` stands there exactly once
 */
export function fillTemplate(template: string, text: string): TextPrompt {
  const parts = template.split('{}')
  if (parts.length !== 2)
    throw new M4Error(
      'INVALID_REQUEST',
      `A template needs {} exactly once, where the text goes; got ${parts.length - 1} in ${JSON.stringify(template)}.`,
    )
  return { shared: parts[0]!, own: text + parts[1]! }
}

/** Token ids of a whole prompt, begin-of-text in front where the model has one. */
export function encodePrompt(tokenizer: Tokenizer, text: string, options: EncodeOptions = {}): number[] {
  return tokenizer.encode(text, { addBos: tokenizer.bosId !== undefined, ...options })
}

/** A prompt as segments: the shared part apart when it is long enough to be worth it. */
export function promptSegments(tokenizer: Tokenizer, { shared, own }: TextPrompt): Segment[] {
  const ids = encodePrompt(tokenizer, shared + own)
  const cut = shared === '' ? 0 : commonPrefix(encodePrompt(tokenizer, shared), ids)
  return cutAt(ids, cut >= MIN_SEGMENT_TOKENS ? [cut] : [])
}

export function cutAt(ids: readonly number[], cuts: readonly number[]): Segment[] {
  const edges = [0, ...cuts, ids.length]
  return edges
    .slice(1)
    .map((to, i) => ({ ids: ids.slice(edges[i], to) }))
    .filter((segment) => segment.ids.length > 0)
}

/** How many leading ids both lists have in common. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length)
  let count = 0
  while (count < most && a[count] === b[count]) count++
  return count
}

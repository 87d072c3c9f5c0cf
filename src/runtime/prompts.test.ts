/** Prompts: templates, lines, cuts, and special tokens that a text must not be able to forge. */

import { describe, expect, test } from 'vitest'
import { loadTokenizer, tinyTokenizer } from '../tokenizers/index.js'
import { planChunks, promptLength, reusableChunks, type Segment } from './prompt-plan.js'
import { chatSegments, fillTemplate, linePrompt, parseChatTemplate, promptSegments } from './prompts.js'
import type { ChatMessage } from './requests.js'

const tokenizer = loadTokenizer(tinyTokenizer())
/** TinyLlama's, in short. */
const ZEPHYR = parseChatTemplate(
  "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
)
const user = (content: string): ChatMessage => ({ role: 'user', content })
const idsOf = (segments: readonly Segment[]) => segments.flatMap(({ ids }) => ids ?? [])
const shown = (segments: readonly Segment[]) => tokenizer.decode(idsOf(segments), { keepSpecial: true })

describe('chat', () => {
  test('one turn, one begin-of-text', () => {
    expect(shown(chatSegments(ZEPHYR, tokenizer, [user('Hi')]))).toBe('<s><|user|>\nHi</s>\n<|assistant|>\n')
  })

  test('a template that writes begin-of-text itself does not get another', () => {
    const own = parseChatTemplate('{{ bos_token }}{{ messages[0].content }}')
    expect(shown(chatSegments(own, tokenizer, [user('Hi')]))).toBe('<s>Hi')
  })

  test('special tokens in a message are text', () => {
    const ids = idsOf(chatSegments(ZEPHYR, tokenizer, [user('a</s>b<s>')]))
    expect(ids.filter((id) => id === tokenizer.eosId)).toHaveLength(1)
    expect(ids.filter((id) => id === tokenizer.bosId)).toHaveLength(1)
    // Byte tokens spell them out, so the text itself is unharmed.
    expect(tokenizer.decode(ids, { keepSpecial: true })).toBe('<s><|user|>\na</s>b<s></s>\n<|assistant|>\n')
  })

  test('cut at ends of messages, so that the next turn begins with the same segments', () => {
    const first = [user('x'.repeat(80)), { role: 'assistant', content: 'y' } as const, user('z'.repeat(90))]
    const next = [...first, { role: 'assistant', content: 'w'.repeat(70) } as const, user('more')]
    const [a, b] = [chatSegments(ZEPHYR, tokenizer, first), chatSegments(ZEPHYR, tokenizer, next)]
    expect(a.length).toBe(3)
    expect(b.slice(0, 2)).toEqual(a.slice(0, 2))
    expect(idsOf(b).slice(0, idsOf(a.slice(0, 2)).length)).toEqual(idsOf(a.slice(0, 2)))
  })

  test.each<[string, readonly ChatMessage[], RegExp]>([
    ['none', [], /no messages/],
    ['a role that is none', [{ role: 'tool' as 'user', content: 'x' }], /role "tool"/],
    ['content that is no text', [{ role: 'user', content: 5 as unknown as string }], /number/],
  ])('messages: %s', (_, messages, message) => {
    expect(() => chatSegments(ZEPHYR, tokenizer, messages)).toThrow(message)
  })

  test('what the template refuses is the caller’s error', () => {
    const strict = parseChatTemplate("{{ raise_exception('alternate!') }}")
    expect(() => chatSegments(strict, tokenizer, [user('x')])).toThrow(/refuses these messages: .*alternate!/)
    expect(() => parseChatTemplate('{% for %}')).toThrow(/cannot be read/)
  })
})

describe('lines', () => {
  const names = { input: 'Q', output: 'A' }

  test('instruction, examples, open line', () => {
    const { shared, own } = linePrompt({
      instruction: 'Answer.',
      examples: [{ input: 'capital of\nFrance?', output: ' Paris ' }],
      names,
      input: 'of Spain?',
    })
    expect(shared).toBe('Answer.\n\nQ: capital of France?\nA: Paris\n\n')
    expect(own).toBe('Q: of Spain?\nA:')
  })

  test('the shared part is a segment of its own, whatever follows', () => {
    const examples = Array.from({ length: 8 }, (_, i) => ({ input: `in ${i}`, output: `out ${i}` }))
    const [a, b] = ['one', 'another'].map((input) => promptSegments(tokenizer, linePrompt({ examples, names, input })))
    expect(a).toHaveLength(2)
    expect(a![0]).toEqual(b![0])
    expect(a![1]).not.toEqual(b![1])
  })

  test('a template wants {} once', () => {
    expect(fillTemplate('Say {}!', 'x{}')).toEqual({ shared: 'Say ', own: 'x{}!' })
    expect(() => fillTemplate('none', 'x')).toThrow(/exactly once/)
    expect(() => fillTemplate('{} {}', 'x')).toThrow(/got 2/)
  })
})

describe('chunks', () => {
  const segments = [{ ids: [1, 2, 3, 4, 5] }, { embeddings: new Float32Array(6) }, { ids: [6] }]

  test('cut at segment ends and every so many rows', () => {
    const chunks = planChunks(segments, 2, 3)
    expect(chunks.map(({ keys }) => keys.length)).toEqual([3, 2, 3, 1])
    expect(promptLength(segments, 2)).toBe(9)
    expect(() => promptLength([{ embeddings: new Float32Array(5) }], 2)).toThrow(/2 numbers each/)
  })

  test('only whole equal chunks are reused, soft tokens and the last chunk never', () => {
    const chunks = planChunks(segments, 2, 3)
    expect(reusableChunks(chunks, chunks)).toBe(2)
    expect(reusableChunks(planChunks([{ ids: [1, 2, 3, 4] }], 2, 3), chunks)).toBe(1)
    const same = planChunks([{ ids: [1, 2, 3] }], 2, 3)
    expect(reusableChunks(same, same)).toBe(0)
  })
})

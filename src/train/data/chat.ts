/** OpenAI's chat format for fine-tuning: {"messages": [{"role", "content"}, …]}, the last message is the answer to learn. */

import { describeValue } from './fields.js'
import type { FindingList } from './findings.js'
import { CHAT_ROLES, type ChatMessage, type ChatSample } from './samples.js'

/** Undefined for a conversation that cannot be learned from, which is reported. */
export function chatSample(row: number, messages: unknown, findings: FindingList): ChatSample | undefined {
  const refuse = (message: string) => {
    findings.add('invalid-chat', `Row ${row}: ${message}.`, { row })
    return undefined
  }
  if (!Array.isArray(messages)) return refuse(`messages must be a list, got ${describeValue(messages)}`)
  const read: ChatMessage[] = []
  for (const [i, message] of messages.entries()) {
    const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown }
    const known = CHAT_ROLES.find((each) => each === role)
    if (!known) return refuse(`message ${i + 1} has the role ${describeValue(role)}, expected ${CHAT_ROLES.join(', ')}`)
    const text = contentText(content)
    if (text === undefined) return refuse(`message ${i + 1} must hold text, got ${describeValue(content)}`)
    read.push({ role: known, content: text })
  }
  const last = read.at(-1)
  if (last?.role !== 'assistant')
    return refuse(
      `the last message must be the assistant's answer, got ${last ? `one of the ${last.role}` : 'no message'}`,
    )
  if (!last.content.trim()) {
    findings.add('empty-text', `Row ${row}: the answer is empty; left out.`, { row })
    return undefined
  }
  if (!read.slice(0, -1).some(({ role }) => role === 'user')) return refuse('no user speaks before the answer')
  return { kind: 'chat', messages: read.slice(0, -1), answer: last.content, row }
}

/** A string, or parts that are all text. */
function contentText(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return undefined
  const texts = content.map((part: { type?: unknown; text?: unknown } | null) =>
    part?.type === 'text' && typeof part.text === 'string' ? part.text : undefined,
  )
  return texts.every((text) => text !== undefined) ? texts.join('') : undefined
}

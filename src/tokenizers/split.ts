/** Cuts a text at tokens that have a fixed spelling, longest spelling first, as Hugging Face's `added_tokens` ask. */

import type { AddedToken } from './tokenizer-json.js'

/** Text between tokens as strings, tokens as ids, in order; empty strings are left out. */
export function splitAtTokens(tokens: readonly AddedToken[]): (text: string) => (string | number)[] {
  if (tokens.length === 0) return (text) => (text === '' ? [] : [text])
  const byContent = new Map(tokens.map((token) => [token.content, token]))
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length || (a < b ? -1 : 1))
  const pattern = new RegExp(longestFirst.map(escapePattern).join('|'), 'gu')
  return (text) => {
    const sections: (string | number)[] = []
    let from = 0
    let trimStart = false
    const addText = (to: number, trimEnd: boolean) => {
      let part = text.slice(from, to)
      if (trimStart) part = part.trimStart()
      if (trimEnd) part = part.trimEnd()
      if (part !== '') sections.push(part)
    }
    for (const match of text.matchAll(pattern)) {
      const token = byContent.get(match[0])!
      addText(match.index, token.lstrip)
      sections.push(token.id)
      from = match.index + match[0].length
      trimStart = token.rstrip
    }
    addText(text.length, false)
    return sections
  }
}

const escapePattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')

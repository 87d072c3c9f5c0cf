/** JSON objects from files that may lie: duplicate keys are refused, which `JSON.parse` alone would silently merge. */

import { invalid } from './byte-source.js'

export type JsonObject = Readonly<Record<string, unknown>>

/**
 * A JSON object.
 * @throws M4Error `FORMAT_INVALID` when the text is not JSON, not an object, or repeats a key in one object.
 */
export function parseJson(fileName: string, text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(fileName, 0, `not JSON (${(cause as Error).message})`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(fileName, 0, 'the JSON is not an object')
  const twice = duplicateKey(text)
  if (twice !== undefined) throw invalid(fileName, 0, `the key "${twice}" stands twice in one object`)
  return value as JsonObject
}

/** The first key that an object of valid JSON repeats. A scanner, not a pattern: patterns run out of stack on long strings. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!
    if (character === '{') open.push(new Set())
    else if (character === '[') open.push(undefined)
    else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const end = stringEnd(text, at)
      if (isKey(text, end)) {
        const key = JSON.parse(text.slice(at, end)) as string
        const keys = open.at(-1)
        if (keys?.has(key)) return key
        keys?.add(key)
      }
      at = end - 1
    }
  }
  return undefined
}

/** Behind the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

/** Whether a colon follows. */
function isKey(text: string, end: number): boolean {
  let at = end
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\t' || text[at] === '\r') at++
  return text[at] === ':'
}

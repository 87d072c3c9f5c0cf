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

/** The first key that an object of valid JSON repeats. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []
  const token = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const found = match[0]
    if (found === '{') open.push(new Set())
    else if (found === '[') open.push(undefined)
    else if (found === '}' || found === ']') open.pop()
    else if (match[1] !== undefined) {
      const key = JSON.parse(found.slice(0, -match[1].length)) as string
      const keys = open.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return undefined
}

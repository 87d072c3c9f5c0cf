/** Stop texts in a stream of token texts: what may yet become a stop text is held back, so that none ever leaks out. */

import { M4Error } from '../core/errors.js'

export interface StopFilter {
  /** Text that is certain now. `stopped` once a stop text came; from then on nothing more is given. */
  push(text: string): { readonly text: string; readonly stopped: boolean }
  /** What was held back, when the stream ends without a stop text. */
  end(): string
}

/** @throws M4Error `INVALID_REQUEST` for an empty stop text, which would stop everything */
export function createStopFilter(stops: readonly string[]): StopFilter {
  if (stops.some((stop) => stop === ''))
    throw new M4Error('INVALID_REQUEST', 'A stop text must not be empty.', { hint: 'Leave it out.' })
  let held = ''
  let stopped = false
  return {
    push(text) {
      if (stopped) return { text: '', stopped }
      held += text
      const at = firstOf(held, stops)
      if (at >= 0) {
        stopped = true
        const before = held.slice(0, at)
        held = ''
        return { text: before, stopped }
      }
      const safe = held.length - heldBack(held, stops)
      const certain = held.slice(0, safe)
      held = held.slice(safe)
      return { text: certain, stopped }
    },
    end() {
      const rest = held
      held = ''
      return rest
    },
  }
}

function firstOf(text: string, stops: readonly string[]): number {
  let first = -1
  for (const stop of stops) {
    const at = text.indexOf(stop)
    if (at >= 0 && (first < 0 || at < first)) first = at
  }
  return first
}

/** Length of the longest end of `text` that begins a stop text. */
function heldBack(text: string, stops: readonly string[]): number {
  let longest = 0
  for (const stop of stops)
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--)
      if (text.endsWith(stop.slice(0, length))) {
        longest = length
        break
      }
  return longest
}

/** One at a time, in order of arrival: a module's buffers serve one request at once. Waiting can be given up. */

import { M4Error } from '../core/errors.js'

export interface Turnstile {
  /** Resolves when it is the caller's turn; the turn ends when the returned function is called (more than once is harmless). */
  enter(signal?: AbortSignal): Promise<() => void>
  /** True while someone is inside. */
  readonly busy: boolean
}

export function createTurnstile(): Turnstile {
  const waiting: (() => void)[] = []
  let busy = false
  const leave = () => {
    const next = waiting.shift()
    if (next) next()
    else busy = false
  }
  const turn = () => {
    let inside = true
    return () => {
      if (inside) leave()
      inside = false
    }
  }
  return {
    get busy() {
      return busy
    },
    enter(signal) {
      return new Promise((resolve, reject) => {
        const refuse = () => {
          const at = waiting.indexOf(admit)
          if (at >= 0) waiting.splice(at, 1)
          reject(
            new M4Error('ABORTED', 'The request was cancelled while it waited for its turn.', {
              cause: signal?.reason,
            }),
          )
        }
        const admit = () => {
          signal?.removeEventListener('abort', refuse)
          resolve(turn())
        }
        if (signal?.aborted) return refuse()
        if (busy) {
          waiting.push(admit)
          signal?.addEventListener('abort', refuse, { once: true })
        } else {
          busy = true
          admit()
        }
      })
    },
  }
}

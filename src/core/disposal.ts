/** Things with a lifetime: native sessions, tensors, bindings, open files. Counted, so that tests can assert that none leaks. */

import { M4Error } from './errors.js'

// Node 20 knows Symbol.dispose only as a registered polyfill of TypeScript's making.
;(Symbol as { dispose?: symbol }).dispose ??= Symbol.for('Symbol.dispose')
;(Symbol as { asyncDispose?: symbol }).asyncDispose ??= Symbol.for('Symbol.asyncDispose')

const live = new Map<string, number>()

/** Base of every handle: disposed once, refuses use afterwards, counted by `kind`. */
export abstract class Handle implements Disposable {
  #disposed = false

  protected constructor(readonly kind: string) {
    live.set(kind, (live.get(kind) ?? 0) + 1)
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** Frees the native side. Called once, by `dispose`. */
  protected abstract release(): void

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    live.set(this.kind, live.get(this.kind)! - 1)
    this.release()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** @throws M4Error `DISPOSED` */
  protected assertLive(doing: string): void {
    if (this.#disposed)
      throw new M4Error('DISPOSED', `${doing}: this ${this.kind} was already disposed.`, {
        hint: 'Open it again, or dispose it after its last use.',
      })
  }
}

/** Handles that exist now, by kind, zero counts left out. */
export function liveHandles(): Record<string, number> {
  return Object.fromEntries([...live].filter(([, count]) => count > 0))
}

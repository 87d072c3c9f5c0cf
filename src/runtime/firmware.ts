/**
 * A firmware image, running. This is the whole life of a request, in order:
 *
 *   request ─► path (paths.ts: which modules, which handler)
 *           ─► modules wake one by one when the handler asks for them (modules.ts), each serving one request at a time
 *           ─► events while it works: transcript, tokens
 *           ─► the answer, always last, with a report of what woke up, how long it took and what it weighed
 */

import '../core/disposal.js'
import { M4Error, throwIfAborted, unknownName } from '../core/errors.js'
import type { Engine } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { Manifest } from '../firmware/manifest.js'
import { createModules, type Modules, type ServedRole } from './modules.js'
import { PATHS, type Path } from './paths.js'
import type { Answer, Event, Request, RequestOf, Task } from './requests.js'
import { startWork } from './work.js'

export interface OpenFirmwareOptions {
  /** Default: the one engine of this process. */
  readonly engine?: Engine
  /** Where images and slots are looked up by name. Default: `m4fmHome()`. */
  readonly home?: string
}

/**
 * @param image an opened image, a folder, the name of a built recipe (`lite`), or `device` for the flashed one
 * @throws M4Error `FILE_NOT_FOUND`, `IMAGE_INVALID`, `ENGINE_UNAVAILABLE`
 */
export async function openFirmware(image: string | Image, options: OpenFirmwareOptions = {}): Promise<Firmware> {
  // Loaded when needed: who brings an image and an engine along (a browser) needs neither.
  if (typeof image !== 'string' && options.engine) return new Firmware(image, options.engine)
  const { cpuKey, openEngine } = await import('#engine')
  const engine = options.engine ?? (await openEngine())
  if (typeof image !== 'string') return new Firmware(image, engine)
  const { openImage, resolveImage } = await import('../firmware/image.js')
  const folder = await resolveImage(image, options.home === undefined ? {} : { home: options.home })
  return new Firmware(await openImage(folder, { cpuKey: cpuKey(engine) }), engine)
}

export class Firmware implements Disposable {
  readonly image: Image
  readonly engine: Engine
  readonly #modules: Modules
  readonly #running = new Set<AbortController>()
  #disposed = false

  constructor(image: Image, engine: Engine) {
    this.image = image
    this.engine = engine
    this.#modules = createModules(image, engine)
  }

  get manifest(): Manifest {
    return this.image.manifest
  }

  /** Tasks that this image has the modules for. */
  tasks(): Task[] {
    return (Object.keys(PATHS) as Task[]).filter((task) => {
      const { roles, needs } = PATHS[task]
      return roles.every((role) => this.manifest.modules[role]) && (needs?.(this.manifest) ?? true)
    })
  }

  /**
   * Does what is asked. Nothing happens until the events are read; leaving the loop early ends the request and gives its
   * modules back.
   * @throws M4Error from the iteration: `INVALID_REQUEST`, `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `NOT_AVAILABLE`, `ABORTED`, `ENGINE`, …
   */
  async *run<R extends Request>(request: R): AsyncGenerator<Event<R['task']>, void> {
    this.#assertLive()
    const route = routeOf(request)
    const asked = request as unknown as RequestOf<R['task']>
    const path = route.pathOf?.(asked, this.manifest) ?? route.path
    const stopper = this.#stopper(request.signal)
    const { signal } = stopper.controller
    const adapter = 'adapter' in request ? request.adapter?.name : undefined
    const work = startWork({ image: this.image, modules: this.#modules, signal, task: request.task, path, adapter })
    try {
      throwIfAborted(signal)
      const output = yield* route.run(asked, work) as AsyncGenerator<Event<R['task']>, never>
      work.end()
      yield { type: 'answer', output, report: work.report() }
    } finally {
      work.end()
      stopper.end()
    }
  }

  /** The answer alone, for those who do not want to see it come into being. @throws M4Error as `run` */
  async ask<R extends Request>(request: R): Promise<Answer<R['task']>> {
    for await (const event of this.run(request)) if (event.type === 'answer') return event as Answer<R['task']>
    throw new M4Error('ENGINE', `The task ${request.task} ended without an answer.`)
  }

  /**
   * Puts a module to sleep and frees its memory, after the requests that already wait for it. The next request wakes it again.
   * @returns false when it slept already
   */
  async release(role: ServedRole): Promise<boolean> {
    this.#assertLive()
    return this.#modules.release(role)
  }

  /** The modules that are awake. */
  loaded(): ServedRole[] {
    return this.#modules.loaded()
  }

  /** Running requests end with `ABORTED`; each module is freed as soon as the request that has it lets go. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (const controller of this.#running) controller.abort()
    this.#modules.close()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #assertLive(): void {
    if (this.#disposed)
      throw new M4Error('DISPOSED', `The firmware ${this.manifest.name} was already disposed.`, {
        hint: 'Open it again, or dispose it after its last use.',
      })
  }

  /** One signal for both reasons to stop: the caller gives up, or the firmware is disposed. */
  #stopper(signal: AbortSignal | undefined): { controller: AbortController; end(): void } {
    const controller = new AbortController()
    const abort = () => controller.abort(signal?.reason)
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort, { once: true })
    this.#running.add(controller)
    return {
      controller,
      end: () => {
        signal?.removeEventListener('abort', abort)
        this.#running.delete(controller)
      },
    }
  }
}

function routeOf<T extends Task>(request: { readonly task: T }): Path<T> {
  if (!Object.hasOwn(PATHS, request.task)) throw unknownName('task', String(request.task), Object.keys(PATHS))
  return PATHS[request.task]
}

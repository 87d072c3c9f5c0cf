/**
 * The engine in a browser: onnxruntime-web (wasm). It also runs in Node, where tests use it. Every input and output is copied,
 * one graph runs at a time, and a run cannot be stopped: an abort is seen before it starts and after it ends.
 */

import { isM4Error, M4Error, unknownName } from '../core/errors.js'
import { jsEngine } from './js/session.js'
import type { Engine, EngineOptions } from './types.js'

export type * from './types.js'

let opened: Promise<Engine> | undefined

/**
 * Opens onnxruntime-web once per page. `threads` above 1 need cross-origin isolation (SharedArrayBuffer); the default is 1.
 * @throws M4Error `ENGINE_UNAVAILABLE`, also when another backend is asked for by name; `UNKNOWN_NAME`
 */
export function openEngine(options: EngineOptions = {}): Promise<Engine> {
  const { backend = 'web' } = options
  if (backend !== 'web') return Promise.reject(notHere(backend))
  opened ??= openWebEngine(options.threads ?? 1).catch((error: unknown) => {
    opened = undefined
    throw error
  })
  return opened
}

/** Images are flashed by Node only: there is nothing prepacked for a browser. */
export const cpuKey = (_engine: Engine): string => 'web'

/** @throws M4Error `ENGINE_UNAVAILABLE` */
export async function openWebEngine(threads: number): Promise<Engine> {
  let ort: typeof import('onnxruntime-web')
  try {
    ort = await import('onnxruntime-web')
  } catch (cause) {
    throw new M4Error('ENGINE_UNAVAILABLE', `onnxruntime-web cannot be loaded: ${(cause as Error).message}.`, {
      hint: 'Install it beside this package: npm install onnxruntime-web.',
      cause,
    })
  }
  ort.env.wasm.numThreads = threads
  ort.env.logLevel = 'fatal'
  const engine = jsEngine({
    backend: 'web',
    version: ort.env.versions.web ?? ort.env.versions.common,
    threads,
    TensorClass: ort.Tensor,
    InferenceSession: ort.InferenceSession,
    writesFetches: false,
    sessionOptions: { executionProviders: ['wasm'] },
    serially: createQueue(),
  })
  return {
    ...engine,
    async createSession(model, options) {
      try {
        return await engine.createSession(model, options)
      } catch (error) {
        if ('path' in model && isM4Error(error, 'FILE_NOT_FOUND'))
          throw new M4Error('FILE_NOT_FOUND', error.message, {
            hint: 'onnxruntime-web does not look for external data beside a model: give `bytes` and `externalData`.',
            cause: error,
          })
        throw error
      }
    },
  }
}

/** onnxruntime-web refuses a second run while one is active, so they stand in line. */
function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const next = last.then(work)
    last = next.catch(() => undefined)
    return next
  }
}

function notHere(backend: string): M4Error {
  if (backend !== 'ffi' && backend !== 'node') return unknownName('engine backend', backend, ['web'])
  return new M4Error('ENGINE_UNAVAILABLE', `The ${backend} engine needs Node; a browser has only web.`)
}

/** The engine: ONNX Runtime behind one interface. In a browser `web.ts` stands in for this file. */

import { availableParallelism } from 'node:os'
import { isM4Error, unknownName } from '../core/errors.js'
import { assertCommandLine } from './command-line.js'
import { type CpuFacts, cpuFacts } from './cpu.js'
import type { FfiEngine } from './ffi/index.js'
import type { BackendName, Engine, EngineOptions } from './types.js'

export { type CpuFacts, cpuFacts, cpuKey } from './cpu.js'
export type * from './types.js'

/** Chooses the backend as `EngineOptions.backend` does; the option wins. */
export const ENGINE_VARIABLE = 'M4FM_ENGINE'

const OPENERS: Readonly<Record<BackendName, (threads: number) => Promise<Engine>>> = Object.freeze({
  ffi: async (threads) => (await import('./ffi/index.js')).openFfiEngine(threads),
  node: async (threads) => (await import('./node.js')).openNodeEngine(threads),
  web: async () => (await import('./web.js')).openWebEngine(1),
})

const opened = new Map<BackendName, Promise<Engine>>()
let fallbackReason: string | undefined

/**
 * One engine per process and backend. Default: `ffi`; where it cannot be used, `node` with one warning.
 * @throws M4Error `USAGE` for a command line too long for ONNX Runtime, `ENGINE_UNAVAILABLE` when the backend asked for by name (option or M4FM_ENGINE) cannot be used, `UNKNOWN_NAME`
 */
export async function openEngine(options: EngineOptions = {}): Promise<Engine> {
  const asked = options.backend ?? process.env[ENGINE_VARIABLE]
  if (asked) return open(asBackend(asked), options)
  if (fallbackReason !== undefined) return open('node', options)
  try {
    return await open('ffi', options)
  } catch (error) {
    if (!isM4Error(error, 'ENGINE_UNAVAILABLE')) throw error
    const engine = await open('node', options)
    if (fallbackReason === undefined) {
      fallbackReason = error.message
      warn(options, error.message)
    }
    return engine
  }
}

async function open(backend: BackendName, options: EngineOptions): Promise<Engine> {
  const known = opened.get(backend)
  if (known) return known
  if (backend !== 'web') assertCommandLine()
  const opening = OPENERS[backend](options.threads ?? availableParallelism())
  opened.set(backend, opening)
  // A failure is not kept: what was missing may be there at the next call.
  opening.catch(() => opened.delete(backend))
  return opening
}

function asBackend(name: string): BackendName {
  if (!Object.hasOwn(OPENERS, name)) throw unknownName('engine backend', name, Object.keys(OPENERS))
  return name as BackendName
}

function warn(options: EngineOptions, reason: string): void {
  const message = `m4fm: using onnxruntime-node's own API instead of its C API. Reason: ${reason} Lost: the event loop blocks while a graph runs, runs cannot be cancelled, KV caches are copied at every token (2-3 times slower decoding), weights are not mapped prepacked. To silence this, ask for it: backend 'node' or ${ENGINE_VARIABLE}=node.`
  if (options.onWarning) options.onWarning(message)
  else process.stderr.write(`${message}\n`)
}

export interface EngineInfo {
  readonly backend: BackendName
  readonly version: string
  readonly threads: number
  readonly cpu: CpuFacts
  /** Shared library, for `ffi`. */
  readonly libraryPath?: string
  /** False when another user of the library in this process forced threads per session. */
  readonly sharedThreadPool?: boolean
  readonly buildInfo?: string
  /** Why `ffi` was not used, when this process fell back. */
  readonly fallbackReason?: string
}

/** What `doctor` prints. Opens the engine when none is open. @throws M4Error as `openEngine` */
export async function engineInfo(options: EngineOptions = {}): Promise<EngineInfo> {
  const engine = await openEngine(options)
  const { backend, version, threads } = engine
  const { libraryPath, sharedThreadPool, buildInfo } = engine as Partial<FfiEngine>
  return {
    backend,
    version,
    threads,
    cpu: cpuFacts(),
    ...(libraryPath === undefined ? {} : { libraryPath }),
    ...(sharedThreadPool === undefined ? {} : { sharedThreadPool }),
    ...(buildInfo === undefined ? {} : { buildInfo }),
    ...(fallbackReason === undefined || backend !== 'node' ? {} : { fallbackReason }),
  }
}

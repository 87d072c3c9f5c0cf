/** The process-wide part of the ffi engine: environment, shared thread pool, allocator, and how calls are made. */

import { throwIfAborted } from '../../core/errors.js'
import { ortError } from '../ort-errors.js'
import type { NativeArgument, OrtApi, OrtFunctionName, Pointer } from './api.js'
import type { OrtLibrary } from './library.js'

export interface Runtime {
  readonly library: OrtLibrary
  readonly api: OrtApi
  readonly env: Pointer
  readonly cpuMemory: Pointer
  readonly allocator: Pointer
  readonly threads: number
  /** False when another user of the same library made the environment first: sessions then have threads of their own. */
  sharedPool: boolean
  readonly gate: Gate
}

/** Only fatal lines reach stderr: every failure comes back as a status, and is thrown with its text. */
const LOG_FATAL = 4
const ARENA_ALLOCATOR = 1
const MEMORY_DEFAULT = 0

/** Each call in flight holds a stack of 8 MB, and all share one pool of compute threads: more at once gains nothing. */
const MAX_CALLS_IN_FLIGHT = 4

export function createRuntime(library: OrtLibrary, threads: number): Runtime {
  const { api } = library
  const options = create(api, 'CreateThreadingOptions')
  check(api, api.SetGlobalIntraOpNumThreads(options, threads), 'Setting the number of threads')
  const env = create(api, 'CreateEnvWithGlobalThreadPools', LOG_FATAL, 'm4fm', options)
  api.ReleaseThreadingOptions(options)
  return {
    library,
    api,
    env,
    cpuMemory: create(api, 'CreateCpuMemoryInfo', ARENA_ALLOCATOR, MEMORY_DEFAULT),
    allocator: create(api, 'GetAllocatorWithDefaultOptions'),
    threads,
    sharedPool: true,
    gate: createGate(MAX_CALLS_IN_FLIGHT),
  }
}

/** Throws what a status says, and releases it. */
export function check(api: OrtApi, status: Pointer | null, doing: string): void {
  if (status === null) return
  const text = api.GetErrorMessage(status)
  const code = api.GetErrorCode(status)
  api.ReleaseStatus(status)
  throw ortError(doing, text, code)
}

type StatusFunction = {
  [Name in OrtFunctionName]: ReturnType<OrtApi[Name]> extends Pointer | null ? Name : never
}[OrtFunctionName]

const out = new BigUint64Array(new ArrayBuffer(8))

/** Calls a function whose last parameter is an out pointer (or size) and gives what it wrote. */
export function create(api: OrtApi, name: StatusFunction, ...parameters: NativeArgument[]): Pointer {
  out[0] = 0n
  check(api, api[name](...parameters, out), name)
  return out[0]
}

/** One call on a worker thread; the event loop stays free. Everything that it points at must stay referenced by the caller. */
export function callAsync(api: OrtApi, name: StatusFunction, ...parameters: NativeArgument[]): Promise<Pointer | null> {
  return new Promise((resolve, reject) => {
    api[name].async(...parameters, (error: unknown, status: Pointer | null) => {
      if (error) reject(error)
      else resolve(status)
    })
  })
}

export interface Gate {
  /** Runs `work` when one of the places is free, first come first served. @throws M4Error `ABORTED` while waiting */
  pass<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>
}

export function createGate(places: number): Gate {
  const waiting = new Set<() => void>()
  let free = places
  const enter = (signal?: AbortSignal) => {
    throwIfAborted(signal)
    if (free > 0) {
      free--
      return undefined
    }
    return new Promise<void>((resolve, reject) => {
      const admit = () => {
        waiting.delete(admit)
        signal?.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = () => {
        waiting.delete(admit)
        try {
          throwIfAborted(signal)
        } catch (error) {
          reject(error)
        }
      }
      waiting.add(admit)
      signal?.addEventListener('abort', giveUp, { once: true })
    })
  }
  const leave = () => {
    const next = waiting.values().next().value
    if (next) next()
    else free++
  }
  return {
    async pass(work, signal) {
      await enter(signal)
      try {
        return await work()
      } finally {
        leave()
      }
    },
  }
}

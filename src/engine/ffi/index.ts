/** The default engine in Node: ONNX Runtime's C API through koffi. Tensors are JavaScript memory, runs leave the event loop free. */

import { isM4Error } from '../../core/errors.js'
import type { Engine } from '../types.js'
import { loadLibrary, unavailable } from './library.js'
import { createRuntime, type Runtime } from './runtime.js'
import { DOUBLING_MODEL } from './self-check.js'
import { createFfiSession } from './session.js'
import { FfiTensor } from './tensor.js'

export interface FfiEngine extends Engine {
  readonly backend: 'ffi'
  readonly libraryPath: string
  readonly sharedThreadPool: boolean
  readonly buildInfo: string
}

/** Loads the library, makes the shared thread pool and proves both with a tiny graph. @throws M4Error `ENGINE_UNAVAILABLE` */
export async function openFfiEngine(threads: number): Promise<FfiEngine> {
  const library = await loadLibrary()
  let runtime: Runtime
  try {
    runtime = createRuntime(library, threads)
    await selfCheck(runtime)
  } catch (error) {
    if (isM4Error(error, 'ENGINE_UNAVAILABLE')) throw error
    throw unavailable(`its self-check failed: ${(error as Error).message}`, error)
  }
  return {
    backend: 'ffi',
    version: library.version,
    threads,
    libraryPath: library.path,
    sharedThreadPool: runtime.sharedPool,
    buildInfo: library.api.GetBuildInfoString(),
    createSession: (model, options = {}) => createFfiSession(runtime, model, options),
    tensor: (dtype, dims, data) => new FfiTensor(runtime, dtype, dims, data),
  }
}

/** Doubles [1, 2, -3, 0.5]. When another user of the same library made the environment first, there is no shared pool: do without. */
async function selfCheck(runtime: Runtime): Promise<void> {
  try {
    await double(runtime)
  } catch (error) {
    if (!/CreateEnvWithGlobalThreadPools/.test((error as Error).message)) throw error
    runtime.sharedPool = false
    await double(runtime)
  }
}

async function double(runtime: Runtime): Promise<void> {
  const session = await createFfiSession(runtime, { bytes: DOUBLING_MODEL }, {})
  const x = new FfiTensor(runtime, 'float32', [4], Float32Array.of(1, 2, -3, 0.5))
  try {
    const { y } = await session.run({ x })
    const got = y ? [...(y.data as Float32Array)] : []
    y?.dispose()
    if (got.join() !== '2,4,-6,1') throw unavailable(`its self-check gave ${got.join()} instead of 2,4,-6,1.`)
  } finally {
    x.dispose()
    session.dispose()
  }
}

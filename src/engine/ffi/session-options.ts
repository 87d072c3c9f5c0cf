/** `SessionOptions` and `ModelSource` → OrtSession. Loading runs on a worker thread. */

import { existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import type { ModelSource, SessionOptions } from '../types.js'
import type { OrtApi, Pointer } from './api.js'
import { returnFreeMemory } from './heap.js'
import { callAsync, check, create, type Runtime } from './runtime.js'

/** `GraphOptimizationLevel` of onnxruntime_c_api.h. */
const OPTIMIZATION: Readonly<Record<NonNullable<SessionOptions['optimization']>, number>> = Object.freeze({
  none: 0,
  basic: 1,
  extended: 2,
  all: 99,
})

/**
 * Smaller initialisers stay inside the model file and are packed at load. ONNX Runtime 1.30 aligns only initialisers above
 * 1 MiB in the data file, but the packed buffers that follow them must lie on 64 bytes: a smaller limit gives wrong numbers.
 */
const EXTERNAL_MIN_BYTES = (1 << 20) + 1

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `USAGE`, `ENGINE` */
export async function loadNative(runtime: Runtime, model: ModelSource, options: SessionOptions): Promise<Pointer> {
  if ('path' in model && !existsSync(model.path))
    throw new M4Error('FILE_NOT_FOUND', `The model ${model.path} does not exist.`, {
      hint: 'Check the path.',
      details: { path: model.path },
    })
  const { api } = runtime
  const save = options.savePrepacked && (await prepareSave(options.savePrepacked))
  const native = create(api, 'CreateSessionOptions')
  const kept: unknown[] = []
  try {
    applyOptions(runtime, native, options)
    if (save) {
      const set = (key: string, value: string) =>
        check(api, api.AddSessionConfigEntry(native, key, value), `Setting ${key}`)
      check(api, api.SetOptimizedModelFilePath(native, save.temporary), 'Setting the path of the optimised model')
      set('session.save_external_prepacked_constant_initializers', '1')
      set('session.optimized_model_external_initializers_file_name', save.dataName)
      set('session.optimized_model_external_initializers_min_size_in_bytes', String(EXTERNAL_MIN_BYTES))
    }
    if ('bytes' in model && model.externalData) addExternalData(runtime, native, model.externalData, kept)
    const pointer = await runtime.gate.pass(() => createNative(runtime, native, model))
    if (save) await finishSave(api, pointer, save)
    returnFreeMemory(runtime.library)
    return pointer
  } catch (error) {
    if (save) await Promise.all([save.temporary, save.data].map((path) => rm(path, { force: true })))
    throw error
  } finally {
    api.ReleaseSessionOptions(native)
    kept.length = 0
  }
}

function applyOptions(runtime: Runtime, native: Pointer, options: SessionOptions): void {
  const { api } = runtime
  const level = OPTIMIZATION[options.optimization ?? 'all']
  check(api, api.SetSessionGraphOptimizationLevel(native, level), 'Setting the optimisation level')
  if (runtime.sharedPool) check(api, api.DisablePerSessionThreads(native), 'Sharing the thread pool')
  else check(api, api.SetIntraOpNumThreads(native, runtime.threads), 'Setting the number of threads')
  if (options.memoryPattern === false) check(api, api.DisableMemPattern(native), 'Turning the memory pattern off')
  if (options.prepacking === false)
    check(api, api.AddSessionConfigEntry(native, 'session.disable_prepacking', '1'), 'Turning prepacking off')
  if (options.profilePrefix !== undefined)
    check(api, api.EnableProfiling(native, options.profilePrefix), 'Turning profiling on')
}

async function createNative(runtime: Runtime, native: Pointer, model: ModelSource): Promise<Pointer> {
  const { api, env, library } = runtime
  const out = new BigUint64Array(new ArrayBuffer(8))
  const place = library.koffi.address(out)
  if ('path' in model) {
    check(api, await callAsync(api, 'CreateSession', env, model.path, native, place), `Loading ${model.path}`)
    return out[0]!
  }
  const { bytes } = model
  if (bytes.length === 0) throw new M4Error('FORMAT_INVALID', 'Loading a model from memory: there are no bytes.')
  const address = library.koffi.address(bytes)
  const status = await callAsync(api, 'CreateSessionFromArray', env, address, bytes.length, native, place)
  check(api, status, `Loading a model of ${bytes.length} bytes from memory`)
  return out[0]!
}

/** ONNX Runtime copies the data into the graph while it loads, so it must only outlive the loading. */
function addExternalData(
  runtime: Runtime,
  native: Pointer,
  files: Readonly<Record<string, Uint8Array>>,
  kept: unknown[],
): void {
  const { api, library } = runtime
  const entries = Object.entries(files)
  const encoding = process.platform === 'win32' ? 'utf16le' : 'utf8'
  const names = entries.map(([name]) => new Uint8Array(Buffer.from(`${name}\0`, encoding)))
  const pointers = (list: readonly Uint8Array[]) => BigUint64Array.from(list, (bytes) => library.koffi.address(bytes))
  const buffers = entries.map(([, bytes]) => bytes)
  const lengths = BigUint64Array.from(buffers, (bytes) => BigInt(bytes.length))
  kept.push(names, buffers)
  check(
    api,
    api.AddExternalInitializersFromFilesInMemory(native, pointers(names), pointers(buffers), lengths, entries.length),
    'Giving external data',
  )
}

interface Save {
  readonly path: string
  readonly data: string
  readonly dataName: string
  /** The model gets its name last, so a model that is there is whole. */
  readonly temporary: string
}

async function prepareSave(target: { path: string; data: string }): Promise<Save> {
  const path = resolve(target.path)
  const dataName = basename(target.data)
  const data = join(dirname(path), dataName)
  if (target.data !== dataName && resolve(target.data) !== data)
    throw new M4Error('USAGE', `savePrepacked.data must lie beside ${path}, got ${target.data}.`)
  if (existsSync(path))
    throw new M4Error(
      'USAGE',
      `${path} exists; a prepacked model may be mapped by a session and is never overwritten.`,
      {
        hint: 'Load it, or write under a new name.',
      },
    )
  // Left by a process that died: unlinking is safe even while some session maps it.
  await rm(data, { force: true })
  return { path, data, dataName, temporary: `${path}.${process.pid}.tmp` }
}

async function finishSave(api: OrtApi, pointer: Pointer, save: Save): Promise<void> {
  try {
    await rename(save.temporary, save.path)
  } catch (error) {
    api.ReleaseSession(pointer)
    throw wrapSystemError(error, `Naming ${save.path}`)
  }
}

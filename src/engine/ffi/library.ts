/** Finds and loads the ONNX Runtime shared library that the `onnxruntime-node` package ships. */

import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { LibraryHandle } from 'koffi'
import { M4Error } from '../../core/errors.js'
import { bindOrtApi, type Koffi, type OrtApi } from './api.js'
import { keepForEver } from './keep.js'

/** The table in `api.ts` was verified by running against this release. */
export const VERIFIED_RELEASE = '1.30'

const LIBRARY_NAMES: Readonly<Record<string, readonly string[]>> = Object.freeze({
  linux: ['libonnxruntime.so.1', 'libonnxruntime.so'],
  darwin: ['libonnxruntime.1.dylib', 'libonnxruntime.dylib'],
  win32: ['onnxruntime.dll'],
})

/** Kernels recurse and place buffers on the stack; koffi's defaults (128 KB for asynchronous calls, 2 MB for others) are too small. */
const STACK_BYTES = 8 << 20

let loaded: LibraryHandle | undefined

export interface OrtLibrary {
  readonly koffi: Koffi
  readonly api: OrtApi
  readonly path: string
  readonly version: string
}

/** Path of the shared library for this platform. @throws M4Error `ENGINE_UNAVAILABLE` */
export function findLibrary(): string {
  const names = LIBRARY_NAMES[process.platform]
  if (!names) throw unavailable(`onnxruntime-node has no library for ${process.platform}.`)
  let root: string
  try {
    root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  } catch (cause) {
    throw unavailable('the package onnxruntime-node is not installed.', cause)
  }
  const bin = join(root, 'bin')
  const abis = existsSync(bin) ? readdirSync(bin).filter((name) => name.startsWith('napi-v')) : []
  for (const abi of abis.sort().reverse())
    for (const name of names) {
      const path = join(bin, abi, process.platform, process.arch, name)
      if (existsSync(path)) return path
    }
  throw unavailable(`onnxruntime-node ships no ${names[0]} for ${process.platform}/${process.arch} (looked in ${bin}).`)
}

/** Loads the library once per process and checks its release. @throws M4Error `ENGINE_UNAVAILABLE` */
export async function loadLibrary(): Promise<OrtLibrary> {
  const path = findLibrary()
  let koffi: Koffi
  try {
    koffi = (await import('koffi')).default
  } catch (cause) {
    throw unavailable('the native module koffi cannot be loaded.', cause)
  }
  enlargeStack(koffi)
  try {
    loaded ??= keepForEver(koffi.load(path))
  } catch (cause) {
    throw unavailable(`${path} cannot be loaded: ${(cause as Error).message}.`, cause)
  }
  const bound = bindOrtApi(koffi, loaded)
  if (!bound?.version.startsWith(`${VERIFIED_RELEASE}.`))
    throw unavailable(
      `the function table was verified against ONNX Runtime ${VERIFIED_RELEASE}, but ${path} is ${bound?.version ?? 'older than 1.22'}.`,
    )
  return { koffi, api: bound.api, path, version: bound.version }
}

/** koffi takes settings only before anyone in the process loads a library with it. */
function enlargeStack(koffi: Koffi): void {
  const { async_stack_size: current, sync_stack_size: other } = koffi.config() as Record<string, number>
  if (current! >= STACK_BYTES && other! >= STACK_BYTES) return
  try {
    koffi.config({ async_stack_size: STACK_BYTES, sync_stack_size: STACK_BYTES })
  } catch (cause) {
    throw unavailable(
      `koffi was used before with stacks of ${current} and ${other} bytes, and ONNX Runtime needs ${STACK_BYTES}; open the engine first.`,
      cause,
    )
  }
}

export function unavailable(reason: string, cause?: unknown): M4Error {
  return new M4Error('ENGINE_UNAVAILABLE', `The ffi engine cannot be used: ${reason}`, {
    hint: 'Reinstall the package, or ask for the slower backend with M4FM_ENGINE=node.',
    cause,
  })
}

/**
 * The functions of ONNX Runtime's C API that M4 calls, in one table: name → [index in `struct OrtApi`, result, parameters].
 *
 * Indices follow `onnxruntime_c_api.h` (the order is append-only by ONNX Runtime's contract, so the slots below hold for every
 * release that answers GetApi(22)); each one is also proved at start or in `ffi.test.ts` by running it.
 */

import type { LibraryHandle } from 'koffi'

/** `GetApi(22)`: the table of release 1.22, which every later release still hands out unchanged. */
export const ORT_API_VERSION = 22

type Result = 'status' | 'void' | 'int' | 'text'
/** `ptr`: an address, or a typed array that native code reads or fills. `path`: UTF-16 on Windows, UTF-8 elsewhere. */
type Parameter = 'ptr' | 'text' | 'path' | 'int' | 'size'
type Row = readonly [index: number, result: Result, parameters: readonly Parameter[]]

export const ORT_API = Object.freeze({
  GetErrorCode: [1, 'int', ['ptr']],
  GetErrorMessage: [2, 'text', ['ptr']],
  CreateSession: [7, 'status', ['ptr', 'path', 'ptr', 'ptr']],
  CreateSessionFromArray: [8, 'status', ['ptr', 'ptr', 'size', 'ptr', 'ptr']],
  CreateSessionOptions: [10, 'status', ['ptr']],
  SetOptimizedModelFilePath: [11, 'status', ['ptr', 'path']],
  EnableProfiling: [14, 'status', ['ptr', 'path']],
  DisableMemPattern: [17, 'status', ['ptr']],
  SetSessionGraphOptimizationLevel: [23, 'status', ['ptr', 'int']],
  SetIntraOpNumThreads: [24, 'status', ['ptr', 'int']],
  SessionGetInputCount: [30, 'status', ['ptr', 'ptr']],
  SessionGetOutputCount: [31, 'status', ['ptr', 'ptr']],
  SessionGetInputTypeInfo: [33, 'status', ['ptr', 'size', 'ptr']],
  SessionGetOutputTypeInfo: [34, 'status', ['ptr', 'size', 'ptr']],
  SessionGetInputName: [36, 'status', ['ptr', 'size', 'ptr', 'ptr']],
  SessionGetOutputName: [37, 'status', ['ptr', 'size', 'ptr', 'ptr']],
  CreateRunOptions: [39, 'status', ['ptr']],
  RunOptionsSetTerminate: [46, 'status', ['ptr']],
  CreateTensorWithDataAsOrtValue: [49, 'status', ['ptr', 'ptr', 'size', 'ptr', 'size', 'int', 'ptr']],
  GetTensorMutableData: [51, 'status', ['ptr', 'ptr']],
  CastTypeInfoToTensorInfo: [55, 'status', ['ptr', 'ptr']],
  GetTensorElementType: [60, 'status', ['ptr', 'ptr']],
  GetDimensionsCount: [61, 'status', ['ptr', 'ptr']],
  GetDimensions: [62, 'status', ['ptr', 'ptr', 'size']],
  GetSymbolicDimensions: [63, 'status', ['ptr', 'ptr', 'size']],
  GetTensorTypeAndShape: [65, 'status', ['ptr', 'ptr']],
  CreateCpuMemoryInfo: [69, 'status', ['int', 'int', 'ptr']],
  AllocatorFree: [76, 'status', ['ptr', 'ptr']],
  GetAllocatorWithDefaultOptions: [78, 'status', ['ptr']],
  ReleaseStatus: [93, 'void', ['ptr']],
  ReleaseSession: [95, 'void', ['ptr']],
  ReleaseValue: [96, 'void', ['ptr']],
  ReleaseRunOptions: [97, 'void', ['ptr']],
  ReleaseTypeInfo: [98, 'void', ['ptr']],
  ReleaseTensorTypeAndShapeInfo: [99, 'void', ['ptr']],
  ReleaseSessionOptions: [100, 'void', ['ptr']],
  SessionEndProfiling: [110, 'status', ['ptr', 'ptr', 'ptr']],
  CreateEnvWithGlobalThreadPools: [119, 'status', ['int', 'text', 'ptr', 'ptr']],
  DisablePerSessionThreads: [120, 'status', ['ptr']],
  CreateThreadingOptions: [121, 'status', ['ptr']],
  ReleaseThreadingOptions: [122, 'void', ['ptr']],
  AddSessionConfigEntry: [130, 'status', ['ptr', 'text', 'text']],
  RunWithBinding: [133, 'status', ['ptr', 'ptr', 'ptr']],
  CreateIoBinding: [134, 'status', ['ptr', 'ptr']],
  ReleaseIoBinding: [135, 'void', ['ptr']],
  BindInput: [136, 'status', ['ptr', 'text', 'ptr']],
  BindOutput: [137, 'status', ['ptr', 'text', 'ptr']],
  BindOutputToDevice: [138, 'status', ['ptr', 'text', 'ptr']],
  GetBoundOutputValues: [140, 'status', ['ptr', 'ptr', 'ptr', 'ptr']],
  SetGlobalIntraOpNumThreads: [147, 'status', ['ptr', 'int']],
  GetBuildInfoString: [254, 'text', []],
  AddExternalInitializersFromFilesInMemory: [279, 'status', ['ptr', 'ptr', 'ptr', 'ptr', 'size']],
} as const satisfies Record<string, Row>)

export type OrtFunctionName = keyof typeof ORT_API

/** An address. koffi gives null for a null pointer. */
export type Pointer = bigint
export type NativeArgument = bigint | number | string | null | ArrayBufferView

interface NativeResults {
  status: Pointer | null
  void: undefined
  int: number
  text: string
}

export interface NativeFunction<R extends Result = Result> {
  (...parameters: NativeArgument[]): NativeResults[R]
  /** The same call on a worker thread; the last argument is `(error, result) => void`. */
  async(...parametersAndCallback: unknown[]): void
}

export type OrtApi = {
  readonly [Name in OrtFunctionName]: NativeFunction<(typeof ORT_API)[Name][1]>
}

export type Koffi = typeof import('koffi').default

const POINTER_BYTES = 8

/** Binds every row of the table. `library` must stay referenced for ever: see `library.ts`. */
export function bindOrtApi(koffi: Koffi, library: LibraryHandle): { api: OrtApi; version: string } | undefined {
  const types: Readonly<Record<Result | Parameter, string>> = {
    status: 'void *',
    void: 'void',
    int: 'int',
    text: 'str',
    ptr: 'void *',
    path: process.platform === 'win32' ? 'str16' : 'str',
    size: 'size_t',
  }
  const at = (table: Pointer, index: number): Pointer => koffi.decode(table, index * POINTER_BYTES, 'void *')
  const base: Pointer = library.func('OrtGetApiBase', 'void *', [])()
  const getApi = koffi.decode(at(base, 0), koffi.proto('void *', ['uint32_t'])) as (version: number) => Pointer | null
  const getVersion = koffi.decode(at(base, 1), koffi.proto('str', [])) as () => string
  const table = getApi(ORT_API_VERSION)
  if (table === null) return undefined
  const bound: Partial<Record<OrtFunctionName, unknown>> = {}
  for (const [name, [index, result, parameters]] of Object.entries(ORT_API) as [OrtFunctionName, Row][]) {
    const type = koffi.proto(
      types[result],
      parameters.map((parameter) => types[parameter]),
    )
    bound[name] = koffi.decode(at(table, index), type)
  }
  return { api: bound as OrtApi, version: getVersion() }
}

/**
 * The one interface over ONNX Runtime's three faces: `ffi` (C API through koffi, the default in Node), `node`
 * (onnxruntime-node, the fall-back) and `web` (onnxruntime-web).
 */

import type { Dim } from '../core/dims.js'
import type { DataOf, DType } from '../core/dtypes.js'

export type BackendName = 'ffi' | 'node' | 'web'

export interface ValueInfo {
  readonly name: string
  readonly dtype: DType
  /** Unknown sizes carry their symbol, or `?` where the file names none. */
  readonly dims: readonly Dim[]
}

/**
 * A tensor that sessions read and write. Its memory belongs to JavaScript (`data` is a live view): native code keeps the
 * address, so the tensor must outlive every binding that names it.
 */
export interface Tensor extends Disposable {
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Row-major elements. Writing here is seen by the next run. @throws M4Error `DISPOSED` */
  readonly data: DataOf
  readonly disposed: boolean
  dispose(): void
}

export interface RunOptions {
  /** Stops the run at its next node through the runtime's terminate flag; the run rejects with `ABORTED`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Inputs and outputs bound once, run many times. Binding the same tensor as input and output updates it in place
 * (KV caches): without a copy on `ffi`, with one on `node` and `web`.
 */
export interface Binding extends Disposable {
  bindInput(name: string, tensor: Tensor): void
  /** With a tensor: results are written there. Without: the runtime allocates, and `output(name)` gives a new tensor after each run. */
  bindOutput(name: string, tensor?: Tensor): void
  run(options?: RunOptions): Promise<void>
  /** The output of the last run. Tensors that the runtime allocated belong to the caller. */
  output(name: string): Tensor
  dispose(): void
}

export interface Session extends Disposable {
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  /**
   * One run. The caller owns the returned tensors.
   * @throws M4Error `UNKNOWN_NAME` for a feed or fetch that the graph does not have, `SHAPE_MISMATCH`, `ABORTED`, `ENGINE`, `DISPOSED`
   */
  run(
    feeds: Readonly<Record<string, Tensor>>,
    fetches?: readonly string[],
    options?: RunOptions,
  ): Promise<Record<string, Tensor>>
  bind(): Binding
  /** Ends profiling and gives the path of the trace. @throws M4Error `USAGE` when opened without `profilePrefix` */
  endProfiling(): string
  dispose(): void
}

/** A model on disk (external data found beside it, and mapped, not read), or in memory with its external data by name. */
export type ModelSource =
  | { readonly path: string }
  | { readonly bytes: Uint8Array; readonly externalData?: Readonly<Record<string, Uint8Array>> }

export interface SessionOptions {
  /** Default `all`. */
  readonly optimization?: 'none' | 'basic' | 'extended' | 'all'
  /** Off for training: 30–40 % less memory at the same speed. Default on. */
  readonly memoryPattern?: boolean
  /**
   * Off for training: float32 weights stay mapped as they lie in the file, one copy for both directions. Packing would copy
   * them once per direction (8 GB for 4 GB). Default on. `ffi` only.
   */
  readonly prepacking?: boolean
  /**
   * Writes the optimised model here while loading, its weights — prepacked for this CPU — in the file `data` beside it.
   * Loading that model later maps the packed weights instead of making them again. `ffi` only.
   */
  readonly savePrepacked?: { readonly path: string; readonly data: string }
  /** Writes a Chrome-trace profile with this file prefix; the path is known after `endProfiling`. `ffi` and `node`. */
  readonly profilePrefix?: string
}

export interface Engine {
  readonly backend: BackendName
  /** Version of ONNX Runtime, e.g. `1.30.0`. */
  readonly version: string
  readonly threads: number
  /** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `ENGINE` */
  createSession(model: ModelSource, options?: SessionOptions): Promise<Session>
  /** Wraps `data` without copying when its memory can keep its address (see `allocate` in core/dtypes), else copies; zero-filled without data. */
  tensor<T extends DType>(dtype: T, dims: readonly number[], data?: DataOf<T>): Tensor
}

export interface EngineOptions {
  /** Default: `ffi`, falling back to `node` with one warning. A backend asked for by name never falls back. */
  readonly backend?: BackendName
  /** Threads of the one pool that all sessions share. Default: the cores that this process may use. The first call in a process decides. */
  readonly threads?: number
  /** Where the fall-back warning goes. Default: one line on stderr. */
  readonly onWarning?: (message: string) => void
}

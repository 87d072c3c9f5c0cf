/**
 * Tensors over the JavaScript API that `onnxruntime-node` and `onnxruntime-web` share (onnxruntime-common), and what differs
 * between the two, as data: `JsRuntime`.
 */

import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common'
import { Handle } from '../../core/disposal.js'
import type { DataOf, DType } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { backing } from '../memory.js'
import type { BackendName, Tensor } from '../types.js'

export interface JsRuntime {
  readonly backend: Extract<BackendName, 'node' | 'web'>
  readonly version: string
  readonly threads: number
  readonly TensorClass: TensorConstructor
  readonly InferenceSession: typeof InferenceSession
  /** True where a typed array given as output is written in place; elsewhere the result is copied into it. */
  readonly writesFetches: boolean
  /** Extra options of `InferenceSession.create`. */
  readonly sessionOptions: InferenceSession.SessionOptions
  /** Where only one run may be active at a time, runs queue here. */
  readonly serially: <T>(work: () => Promise<T>) => Promise<T>
  /** How this backend gives the path of a finished profile; absent where it does not profile. */
  readonly endProfiling?: (session: InferenceSession, prefix: string) => string
}

/** Element types that the JavaScript API does not know. */
const UNKNOWN_TO_JS: ReadonlySet<DType> = new Set(['bfloat16'])

export class JsTensor extends Handle implements Tensor {
  readonly #data: DataOf
  readonly #value: OrtTensor

  /** @throws M4Error `NOT_AVAILABLE` for an element type that the JavaScript API does not know */
  constructor(
    runtime: JsRuntime,
    readonly dtype: DType,
    readonly dims: readonly number[],
    data?: DataOf,
  ) {
    if (UNKNOWN_TO_JS.has(dtype))
      throw new M4Error('NOT_AVAILABLE', `The ${runtime.backend} engine has no ${dtype} tensors.`, {
        hint: 'Cast to float32, or use the ffi engine.',
      })
    const memory = backing(dtype, dims, data)
    const value = new runtime.TensorClass(dtype as 'float32', memory as Float32Array, dims)
    super('tensor')
    this.#data = memory
    this.#value = value
  }

  get data(): DataOf {
    this.assertLive('Reading a tensor')
    return this.#data
  }

  /** @throws M4Error `DISPOSED` */
  native(doing: string): OrtTensor {
    this.assertLive(doing)
    return this.#value
  }

  protected override release(): void {
    // Memory of JavaScript: the collector takes it once no binding names it.
  }
}

/** A result of the runtime as a tensor; its data is already JavaScript memory. */
export function wrapResult(runtime: JsRuntime, result: OrtTensor): JsTensor {
  return new JsTensor(runtime, result.type as DType, result.dims, result.data as DataOf)
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** What every checkpoint reader gives: named tensors, described at once, read one at a time. */

import type { HostTensor } from '../core/tensor.js'

/** How elements are stored in the file. GGUF block types keep their ggml names. */
export type StorageType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U8'
  | 'U16'
  | 'U32'
  | 'U64'
  | 'BOOL'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | GgufBlockType

export type GgufBlockType =
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ1_S'
  | 'IQ2_XXS'
  | 'IQ2_XS'
  | 'IQ2_S'
  | 'IQ3_XXS'
  | 'IQ3_S'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'TQ1_0'
  | 'TQ2_0'

export interface CheckpointTensor {
  readonly name: string
  /** Row-major, outermost first, whatever order the file uses. */
  readonly dims: readonly number[]
  readonly storage: StorageType
  /** Bytes that this tensor takes in the file. */
  readonly storedBytes: number
  /** The stored bytes, as they are (strided torch tensors are made contiguous first). Reads the file; nothing is cached. */
  bytes(): Uint8Array
  /** Elements in the nearest dtype that holds them exactly; GGUF blocks become float32. */
  read(): HostTensor
  /** Elements as float32: the whole tensor, or rows `[from, to)` of its first dimension, so that a large matrix never has to be held whole. */
  float32(rows?: { readonly from: number; readonly to: number }): Float32Array
}

export type CheckpointFormat = 'safetensors' | 'torch' | 'gguf' | 'ggml-whisper' | 'onnx' | 'tfjs'

/** An open checkpoint: one file, or all shards of one model. Tensors must not be read after `dispose`. */
export interface Checkpoint extends Disposable {
  readonly format: CheckpointFormat
  readonly tensors: ReadonlyMap<string, CheckpointTensor>
  /** What the file says besides tensors: GGUF key/values, safetensors `__metadata__`, Meta params.json, non-tensor leaves of a pickle, Whisper dims and vocabulary. */
  readonly metadata: Readonly<Record<string, unknown>>
  dispose(): void
}

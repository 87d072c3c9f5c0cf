/** A graph as plain data: what the builder makes, the codec reads and writes, the census counts, and training differentiates. */

import type { Dim } from '../core/dims.js'
import type { DType } from '../core/dtypes.js'

export type AttributeValue =
  | number
  | string
  | readonly number[]
  | readonly string[]
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | GraphTensor
  | Graph

/** A named value with what is known of its type. Names are path-like: `backbone/layers.3/attn/q`. */
export interface Value {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly Dim[]
  /**
   * Set only for inputs and outputs of foreign files (and of their sub-graphs) whose ONNX type M4 has no name for:
   * `tensor(string)`, `seq(tensor(float))`, or `unknown` where the file gives none. `dtype` and `dims` then mean nothing.
   */
  readonly foreignType?: string
}

export interface GraphTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Little-endian, row-major bytes. Called when the graph is encoded, one tensor at a time, so a 7B graph is never held in memory. Must give the same bytes each time. */
  readonly bytes: () => Uint8Array
  readonly byteLength: number
  /** Set where the bytes already lie in a file that a new model may name, so that they need not be written again. */
  readonly place?: { readonly location: string; readonly offset: number }
  /** Set by float32 emissions: the weights of the architecture's table that this is made of, one below the other. */
  readonly origin?: { readonly names: readonly string[]; readonly transposed: boolean }
}

export interface GraphNode {
  readonly name: string
  readonly op: string
  /** '' is ai.onnx. */
  readonly domain: string
  /** '' marks an absent optional input. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, AttributeValue>>
}

export interface Graph {
  readonly name: string
  /** domain → opset version */
  readonly opsets: Readonly<Record<string, number>>
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  readonly nodes: readonly GraphNode[]
  readonly initializers: ReadonlyMap<string, GraphTensor>
  /** Every value whose type is known, by name (inputs, initializers and intermediates). */
  readonly values: ReadonlyMap<string, Value>
}

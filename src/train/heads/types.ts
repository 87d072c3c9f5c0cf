/** A task head: what stands behind an encoder's features, as plain data and functions that write graphs. */

import type { Dim } from '../../core/dims.js'
import type { DType } from '../../core/dtypes.js'
import type { HostTensor } from '../../core/tensor.js'
import type { Scope, Value } from '../../graph/index.js'
import type { Tape } from '../autodiff/tape.js'
import type { ParameterShape } from '../step-graph.js'

/** Where a parameter begins: one number, or uniform in ±1/√fanIn. */
export type Start = { readonly constant: number } | { readonly fanIn: number }

export interface HeadParameter extends ParameterShape {
  readonly start: Start
}

export interface Emit {
  readonly tape: Tape
  readonly scope: Scope
  /** The trained tensor of this name. */
  readonly parameter: (name: string) => Value
}

export interface TargetSpec {
  readonly dtype: DType
  readonly dims: readonly Dim[]
}

export type Values<N extends string = string> = Readonly<Record<N, Value>>
export type HostTensors<N extends string = string> = Readonly<Record<N, HostTensor>>

/**
 * @typeParam O names of outputs
 * @typeParam T names of targets
 * @typeParam D what one item is decoded to
 */
export interface TaskHead<O extends string = string, T extends string = string, D = unknown> {
  /** A key of `HEADS`; `head.type` of an adapter package. */
  readonly name: string
  /** Features: one vector [B, C] an item, or its patches [B, P, C]. */
  readonly takes: 'vector' | 'patches'
  /** C */
  readonly in: number
  /** P, for patches. */
  readonly patches?: number
  /** Classes, maps or widths: `head.out` of an adapter package. */
  readonly out: number
  readonly parameters: readonly HeadParameter[]
  /** What the loss compares with: inputs `target/<name>` of a training graph. */
  readonly targets: Readonly<Record<T, TargetSpec>>
  /** Features → outputs. */
  program(emit: Emit, features: Value): Values<O>
  /** Scalar. */
  loss(emit: Emit, outputs: Values<O>, targets: Values<T>): Value
  /** One answer an item. @throws M4Error `SHAPE_MISMATCH` for outputs of another head */
  decode(outputs: HostTensors<O>): D[]
}

/** Parity with reference implementations: what a case is, what comes back. The format of a case folder is that of case.ts. */

import type { HostTensor } from '../core/tensor.js'
import type { Engine } from '../engine/types.js'
import type { ParityCase } from './case.js'

export interface ParityReport {
  readonly name: string
  readonly pass: boolean
  readonly outputs: readonly OutputReport[]
  /** Why nothing was compared: this version has no such architecture. */
  readonly skipped?: string
  /** `NOT_AVAILABLE` with `skipped`; the code of the error that stopped the case; `PARITY_FAILED` when numbers differ. */
  readonly code?: string
  /** Message of the error that stopped the case. */
  readonly error?: string
}

export interface OutputReport {
  readonly name: string
  /** Largest |got - expected|; the largest number where there is none (other shape, NaN). For texts, files and codes: how many differ. */
  readonly maxAbs: number
  /** Largest |got - expected| / |expected| where expected is not 0. */
  readonly maxRel: number
  readonly pass: boolean
  /** What is wrong, where it is not a number out of tolerance. */
  readonly note?: string
}

export interface CaseRun {
  readonly parityCase: ParityCase
  readonly engine: Engine
  readonly signal?: AbortSignal | undefined
}

/** What a runner computed: tensors by the name of the case's output, and checks of what is no tensor. */
export interface Produced {
  readonly tensors?: ReadonlyMap<string, HostTensor>
  readonly checks?: readonly OutputReport[]
  /** Tensors must agree bit for bit, type and shape included, whatever the tolerances. */
  readonly exact?: boolean
}

export type Runner = (run: CaseRun) => Promise<Produced>

/** What a reader of adapters noticed: facts for people and for refusals, never exceptions. An adapter must not silently do nothing. */

import { M4Error } from '../core/errors.js'
import type { AdapterTensors } from './types.js'

export type FindingCode =
  /** Every B is zero (or every virtual token): the adapter is the base model. */
  | 'no-effect'
  /** B of one place is zero. */
  | 'zero-place'
  /** A tensor for a place that this base does not have. */
  | 'unknown-site'
  /** A tensor that is no part of such an adapter. */
  | 'unknown-tensor'
  /** A without B, or B without A. */
  | 'incomplete-pair'
  /** NaN or infinity. */
  | 'not-finite'
  | 'wrong-shape'
  /** The configuration names a module that has no tensors. */
  | 'target-without-tensors'
  /** Answers to the adapter's own samples are those of the base, whatever its tensors say; found by running it. */
  | 'same-output'
  /** The file says that it was made for another base, though its shapes fit. */
  | 'other-base'

export interface AdapterFinding {
  readonly code: FindingCode
  /** Errors make the adapter other than what was trained; warnings do not. */
  readonly severity: 'error' | 'warning'
  readonly message: string
  /** Name of the tensor in the file, where one is meant. */
  readonly tensor?: string
}

export interface ReadAdapter {
  readonly adapter: AdapterTensors
  readonly findings: readonly AdapterFinding[]
  /** Tensors that found their place, of all in the file. */
  readonly matched: number
  readonly total: number
}

/**
 * The adapter, when nothing is wrong with it.
 * @throws M4Error `FORMAT_INVALID` with every error that was found
 */
export function usableAdapter({ adapter, findings, matched, total }: ReadAdapter): AdapterTensors {
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (!errors.length) return adapter
  throw new M4Error(
    'FORMAT_INVALID',
    `Adapter ${adapter.name}: ${matched} of ${total} tensors fit; ${errors[0]!.message}${errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''}`,
    { hint: 'Was it made for this base model?', details: { findings, matched, total } },
  )
}

export const finding = (
  code: FindingCode,
  severity: AdapterFinding['severity'],
  message: string,
  tensor?: string,
): AdapterFinding => ({ code, severity, message, ...(tensor === undefined ? {} : { tensor }) })

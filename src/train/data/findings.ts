/** What is odd or wrong in people's data: found once, said in full, never mended in silence. */

import { M4Error } from '../../core/errors.js'

/** Errors must be mended before training; warnings are said and trained with. */
export type Severity = 'error' | 'warning'

/** Every code and how bad it is. */
export const FINDINGS = {
  // rows that are left out
  'empty-text': 'warning',
  'missing-label': 'warning',
  'ragged-row': 'error',
  'invalid-json': 'error',
  'invalid-field': 'error',
  'invalid-chat': 'error',
  'missing-file': 'error',
  'empty-file': 'warning',
  'other-file': 'warning',
  // rows that are kept
  'extra-columns': 'warning',
  'stray-quote': 'warning',
  'long-sample': 'warning',
  duplicate: 'warning',
  contradiction: 'warning',
  // pictures with objects
  'invalid-annotation': 'error',
  'unknown-category': 'error',
  'box-outside': 'warning',
  'no-objects': 'warning',
  // motion
  'not-finite': 'error',
  'time-falls': 'warning',
  'time-repeats': 'warning',
  'motion-gap': 'warning',
  'time-unit': 'warning',
  'no-sample-rate': 'warning',
  // the whole set
  'no-samples': 'error',
  'one-class': 'error',
  // two sets
  'duplicate-across-splits': 'warning',
  'subject-across-splits': 'warning',
  'unseen-label': 'warning',
  'kind-mismatch': 'error',
  'label-not-in-eval': 'warning',
  'eval-size': 'warning',
  'few-shot-size': 'warning',
} as const satisfies Record<string, Severity>

export type FindingCode = keyof typeof FINDINGS

export interface Finding {
  readonly code: FindingCode
  readonly severity: Severity
  readonly message: string
  /** 1-based; a header is row 1. In JSONL the line. */
  readonly row?: number
  /** Path below the data set's folder. */
  readonly file?: string
  /** How many more of this code there are, in the one line that stands for them. */
  readonly more?: number
}

interface Place {
  readonly row?: number
  readonly file?: string
  /** Instead of the code's own. */
  readonly severity?: Severity
}

export interface FindingList {
  readonly add: (code: FindingCode, message: string, place?: Place) => void
  readonly list: () => readonly Finding[]
}

/** A million bad rows must not become a million lines. */
const LISTED_PER_CODE = 20

export function findingList(): FindingList {
  const listed: Finding[] = []
  const counts = new Map<FindingCode, number>()
  const severities = new Map<FindingCode, Severity>()
  return {
    add(code, message, { severity = FINDINGS[code], ...place } = {}) {
      const count = (counts.get(code) ?? 0) + 1
      counts.set(code, count)
      severities.set(code, severity)
      if (count <= LISTED_PER_CODE) listed.push({ code, severity, message, ...place })
    },
    list() {
      const rest = [...counts].flatMap(([code, count]): Finding[] => {
        const more = count - LISTED_PER_CODE
        if (more <= 0) return []
        return [{ code, severity: severities.get(code)!, message: `… and ${more} more of "${code}".`, more }]
      })
      return [...listed, ...rest]
    },
  }
}

/**
 * Refuses data with findings of severity error.
 * @throws M4Error `FORMAT_INVALID` with the findings in `details`
 */
export function assertUsable(dataSet: { readonly path: string; readonly findings: readonly Finding[] }): void {
  const errors = dataSet.findings.filter(({ severity }) => severity === 'error')
  if (!errors.length) return
  const count = errors.reduce((sum, { more }) => sum + (more ?? 1), 0)
  const shown = errors.slice(0, 3).map(({ message }) => message)
  throw new M4Error(
    'FORMAT_INVALID',
    `${dataSet.path} has ${count} ${count === 1 ? 'fault' : 'faults'}: ${shown.join(' ')}${count > shown.length ? ' …' : ''}`,
    { hint: 'Mend the data and open it again.', details: { path: dataSet.path, findings: errors } },
  )
}

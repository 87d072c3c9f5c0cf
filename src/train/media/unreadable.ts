/**
 * Samples whose file cannot be used. One broken picture of a thousand should not cost a night of work: it is said and left out. Where
 * more than a tenth of a set is like that, the set itself is at fault.
 */

import { isM4Error, M4Error } from '../../core/errors.js'

export interface MediaFinding {
  readonly code: 'unreadable-sample'
  readonly severity: 'warning'
  readonly message: string
  /** Absolute. */
  readonly file?: string
  /** How many more there are, in the one line that stands for them. */
  readonly more?: number
}

/** Up to this share of a set may be unreadable, and one sample of a small set. */
const UNREADABLE_SHARE = 0.1

/** A thousand bad files must not become a thousand lines; as for data (data/findings.ts). */
const LISTED = 20

/** What is wrong with one file and not with the whole. */
const UNREADABLE = ['PICTURE_INVALID', 'AUDIO_INVALID', 'MOTION_INVALID', 'EMPTY_INPUT'] as const

/** What is wrong with the sample. @throws `error`, where it is not the sample's fault */
export function unreadable(error: unknown, name: string, file: string): MediaFinding {
  if (!UNREADABLE.some((code) => isM4Error(error, code))) throw error
  const message = `${name} is left out: ${(error as M4Error).message}`
  return { code: 'unreadable-sample', severity: 'warning', message, file }
}

export interface UnreadableList {
  readonly findings: readonly MediaFinding[]
  /** @param done samples looked at so far @throws M4Error `FORMAT_INVALID` where they are too many */
  add(finding: MediaFinding, done: number): void
  /** Says how many were not listed. @throws M4Error `FORMAT_INVALID` where nothing is left */
  end(kept: number): void
  /** `FORMAT_INVALID` with what was found so far. */
  tooMany(done: number): M4Error
}

/** @param set what is looked at */
export function unreadableList(
  set: { readonly path: string; readonly samples: { readonly length: number } },
  onFinding?: (finding: MediaFinding) => void,
): UnreadableList {
  const findings: MediaFinding[] = []
  const tooMany = (done: number) => {
    const shown = findings.slice(0, 3).map(({ message }) => message)
    return new M4Error(
      'FORMAT_INVALID',
      `${set.path}: ${findings.length} of the first ${done} samples of ${set.samples.length} cannot be read. ${shown.join(' ')}`,
      { hint: 'Mend the data, or leave these files out.', details: { files: findings.map(({ file }) => file) } },
    )
  }
  return {
    findings,
    add(finding, done) {
      findings.push(finding)
      if (findings.length > Math.max(1, UNREADABLE_SHARE * set.samples.length)) throw tooMany(done)
      if (findings.length <= LISTED) onFinding?.(finding)
    },
    end(kept) {
      if (!kept) throw tooMany(findings.length)
      const more = findings.length - LISTED
      if (more > 0)
        onFinding?.({
          code: 'unreadable-sample',
          severity: 'warning',
          message: `… and ${more} more that are left out.`,
          more,
        })
    },
    tooMany,
  }
}

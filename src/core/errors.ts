/**
 * One error class for the whole product; `code` says which error it is and `details` carries the facts.
 * A message says what, what was expected, what came, and — in `hint` — the next step.
 */

/** Every code, with the exit status that the command line gives for it. */
export const ERROR_CODES = {
  // misuse: the caller can mend it
  USAGE: 2,
  INVALID_REQUEST: 2,
  UNKNOWN_NAME: 2,
  EMPTY_INPUT: 2,
  CONTEXT_OVERFLOW: 2,
  SHAPE_MISMATCH: 2,
  NOT_AVAILABLE: 2,
  // files that are not what they claim
  FILE_NOT_FOUND: 3,
  FORMAT_INVALID: 3,
  FORMAT_UNSUPPORTED: 3,
  UNSAFE_PICKLE: 3,
  TENSOR_MISSING: 3,
  TENSOR_UNUSED: 3,
  DIGEST_MISMATCH: 3,
  IMAGE_INVALID: 3,
  ROLLBACK_REFUSED: 3,
  AUDIO_INVALID: 3,
  PICTURE_INVALID: 3,
  MOTION_INVALID: 3,
  // the machine
  DISK_FULL: 4,
  OUT_OF_MEMORY: 4,
  LOCKED: 4,
  IO: 4,
  NETWORK: 4,
  OFFLINE: 4,
  ENGINE: 4,
  ENGINE_UNAVAILABLE: 4,
  SELF_TEST_FAILED: 4,
  // life cycle
  DISPOSED: 5,
  ABORTED: 130,
  // numbers differ from the reference
  PARITY_FAILED: 1,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

export interface ErrorOptions {
  /** The next step for the reader, one sentence. */
  readonly hint?: string
  /** Facts as data: `expected`, `got`, `path`, `offset`… */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

export class M4Error extends Error {
  override readonly name = 'M4Error' as const
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(
      options.hint ? `${message} ${options.hint}` : message,
      options.cause === undefined ? {} : { cause: options.cause },
    )
    this.code = code
    this.hint = options.hint
    this.details = options.details ?? {}
  }

  /** The same facts for `--json` and for the wire. */
  toJSON(): { code: ErrorCode; message: string; hint?: string; details?: Readonly<Record<string, unknown>> } {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint ? { hint: this.hint } : {}),
      ...(Object.keys(this.details).length ? { details: this.details } : {}),
    }
  }
}

export function isM4Error(error: unknown, code?: ErrorCode): error is M4Error {
  return error instanceof M4Error && (code === undefined || error.code === code)
}

/** Throws `ABORTED` when the caller has given up. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new M4Error('ABORTED', 'The operation was cancelled.', { cause: signal.reason })
}

/** System errors (`ENOSPC`, `ENOENT`, …) as typed ones; M4 errors pass through. */
export function wrapSystemError(error: unknown, doing: string): M4Error {
  if (error instanceof M4Error) return error
  const system = error as NodeJS.ErrnoException
  const details = { systemCode: system?.code, path: system?.path }
  switch (system?.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new M4Error('DISK_FULL', `${doing}: the disk is full.`, {
        hint: 'Free some space or set M4FM_HOME to a larger disk, then run the same command again.',
        details,
        cause: error,
      })
    case 'ENOENT':
      return new M4Error('FILE_NOT_FOUND', `${doing}: ${system.path ?? 'the file'} does not exist.`, {
        hint: 'Check the path.',
        details,
        cause: error,
      })
    case 'ENOMEM':
      return new M4Error('OUT_OF_MEMORY', `${doing}: out of memory.`, { details, cause: error })
    default:
      return new M4Error('IO', `${doing}: ${(error as Error)?.message ?? String(error)}`, { details, cause: error })
  }
}

/** The up to three known names nearest to `name`, for "did you mean". */
export function nearestNames(name: string, known: Iterable<string>): string[] {
  const scored = [...known].map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
  scored.sort((a, b) => a.distance - b.distance)
  return scored
    .filter(({ candidate, distance }) => distance <= Math.max(3, candidate.length / 2))
    .slice(0, 3)
    .map(({ candidate }) => candidate)
}

/** `UNKNOWN_NAME` with the nearest known names. */
export function unknownName(kind: string, name: string, known: Iterable<string>): M4Error {
  const all = [...known]
  const near = nearestNames(name, all)
  const hint = near.length
    ? `Did you mean ${near.join(', ')}?`
    : `Known: ${all.slice(0, 12).join(', ')}${all.length > 12 ? ', …' : ''}.`
  return new M4Error('UNKNOWN_NAME', `Unknown ${kind} "${name}".`, {
    hint,
    details: { name, known: all.slice(0, 100) },
  })
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++)
      row[j] = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    previous = row
  }
  return previous[b.length]!
}

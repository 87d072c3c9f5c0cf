/** One way to end badly: `m4fm: message` and the next step on stderr, the same as an object on stdout under `--json`. */

import { ERROR_CODES, isM4Error, type M4Error } from '../core/errors.js'
import { adviceHint } from './read-options.js'

/** `EX_SOFTWARE` of sysexits.h: a fault of m4fm itself. */
export const EXIT_BUG = 70

const NEXT_STEP_FOR_BUGS =
  'This is a fault in m4fm. Please report it with the command that you gave and the output of `m4fm doctor --json`.'

export interface ErrorReport {
  readonly exitCode: number
  /** For stderr. */
  readonly text: string
  /** For stdout under `--json`. */
  readonly json: { readonly error: object }
}

/** Describes any thrown value. Unknown ones keep their stack, since their place in the code is all that is known. */
export function describeError(error: unknown): ErrorReport {
  if (isM4Error(error)) {
    const hint = adviceHint(error) ?? error.hint
    const sentence =
      error.hint && error.message.endsWith(` ${error.hint}`)
        ? error.message.slice(0, -error.hint.length - 1)
        : error.message
    return {
      exitCode: ERROR_CODES[error.code],
      text: `m4fm: ${sentence}\n${hint ? `  → ${hint}\n` : ''}`,
      json: { error: plain(error, sentence, hint) },
    }
  }
  const { message, stack } = error instanceof Error ? error : { message: String(error), stack: undefined }
  return {
    exitCode: EXIT_BUG,
    text: `m4fm: ${stack ?? message}\n  → ${NEXT_STEP_FOR_BUGS}\n`,
    json: { error: { code: 'INTERNAL', message, hint: NEXT_STEP_FOR_BUGS, ...(stack ? { details: { stack } } : {}) } },
  }
}

const plain = (error: M4Error, message: string, hint: string | undefined) => ({
  ...error.toJSON(),
  message,
  ...(hint ? { hint } : {}),
})

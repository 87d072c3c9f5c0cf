/** What every command gets: where output goes, the home folder, the signal of Ctrl-C, and how options are read. */

import { M4Error } from '../core/errors.js'
import type { ProgressOutput } from './progress.js'

export interface CliContext {
  /** One JSON value on stdout, nothing else there. */
  readonly json: boolean
  /** No progress, notes or reports on stderr; errors still come. */
  readonly quiet: boolean
  readonly home: string
  readonly offline: boolean
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal
  /** The result: `value` under `--json`, else `text` (a newline is added where it lacks one). */
  result(value: unknown, text: string): void
  /** A piece of the answer while it grows; nothing under `--json`. */
  stream(text: string): void
  /** A line for people on stderr; nothing under `--json` or `--quiet`. */
  note(text: string): void
  /** The progress display of this command, made at first use and ended by `main`. */
  progress(): Promise<ProgressOutput>
  /** Takes Ctrl-C over until the returned function is called. */
  onInterrupt(handler: () => void): () => void
}

export type OptionValues = Readonly<Record<string, unknown>>

/** Runs one command. Gives the exit code; nothing is 0. */
export type CommandAction = (
  context: CliContext,
  operands: readonly string[],
  options: OptionValues,
) => Promise<number | undefined>

/** An option that takes text, or undefined. */
export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** An option that may be given several times. */
export function listOption(options: OptionValues, name: string): readonly string[] {
  const value = options[name]
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}

/** @throws M4Error `USAGE` when it is not a number; what numbers are allowed is for the request to say */
export function numberOption(options: OptionValues, name: string): number | undefined {
  const text = textOption(options, name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value))
    throw new M4Error('USAGE', `${flagOf(name)}: expected a number, got "${text}".`, {
      details: { option: name, got: text },
    })
  return value
}

/** `a, b,c` → a, b, c. @throws M4Error `USAGE` for an empty or repeated entry */
export function commaOption(options: OptionValues, name: string): readonly string[] | undefined {
  const text = textOption(options, name)
  if (text === undefined) return undefined
  const entries = text.split(',').map((entry) => entry.trim())
  if (entries.includes('') || new Set(entries).size !== entries.length)
    throw new M4Error('USAGE', `${flagOf(name)}: expected different words between commas, got "${text}".`, {
      details: { option: name, got: text },
    })
  return entries
}

/** `maxTokens` → `--max-tokens` */
export const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

/** `{signal, onProgress}` for long work, drawn on stderr. */
export async function longOperation(context: CliContext) {
  const { listener } = await context.progress()
  return { signal: context.signal, onProgress: listener }
}

/** Hints that name an option. It is data in the error, so that each door can name it in its own way: in code, as a flag, in JSON. */

import { type ErrorCode, M4Error } from './errors.js'

/** What to say, and one or more options that would help, each with a value as an example. */
export interface Advice<Options extends object = object> {
  readonly say: string
  readonly examples: readonly Options[]
}

/** An error with `details.advice`; its hint names options as code gives them: `columns { text: "sentence" }`. */
export const adviceError = (
  code: ErrorCode,
  message: string,
  advice: Advice,
  details: Readonly<Record<string, unknown>>,
): M4Error => new M4Error(code, message, { hint: adviceText(advice, inCode), details: { ...details, advice } })

/** @param write one option with its value */
export function adviceText({ say, examples }: Advice, write: (option: string, value: unknown) => string): string {
  const options = examples.flatMap((example) => Object.entries(example))
  return `${say}: ${options.map(([option, value]) => write(option, value)).join(' or ')}.`
}

const inCode = (option: string, value: unknown): string => `${option} ${literal(value)}`

function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).map(([key, entry]) => `${key}: ${literal(entry)}`)
  return `{ ${fields.join(', ')} }`
}

/** Shapes of JSON as data: each check names the field that is wrong, what was expected and what came. */

import { M4Error } from '../core/errors.js'

/** @throws M4Error `FORMAT_INVALID` naming `field` */
export type Check = (value: unknown, field: string) => void

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined }

export function wrongField(field: string, expected: string, value: unknown): M4Error {
  const got = value === undefined ? 'nothing' : JSON.stringify(value)?.slice(0, 80)
  return new M4Error('FORMAT_INVALID', `"${field}": expected ${expected}, got ${got}.`, {
    details: { field, expected, got },
  })
}

const rule =
  (expected: string, holds: (value: unknown) => boolean): Check =>
  (value, field) => {
    if (!holds(value)) throw wrongField(field, expected, value)
  }

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const text = (limit = 10_000): Check =>
  rule(
    `text of 1 to ${limit} characters`,
    (value) => typeof value === 'string' && value !== '' && value.length <= limit,
  )
export const matching = (pattern: RegExp, what: string): Check =>
  rule(what, (value) => typeof value === 'string' && pattern.test(value))
export const oneOf = (...values: readonly unknown[]): Check =>
  rule(values.map((value) => JSON.stringify(value)).join(' or '), (value) => values.includes(value))
export const whole = (least: number): Check =>
  rule(`a whole number, ${least} or more`, (value) => Number.isSafeInteger(value) && (value as number) >= least)
export const finite: Check = rule('a finite number', Number.isFinite)
export const notNegative: Check = rule(
  'a number, 0 or more',
  (value) => Number.isFinite(value) && (value as number) >= 0,
)
export const sha256: Check = matching(/^[0-9a-f]{64}$/, '64 hex digits of a sha-256')

const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/
/** ISO 8601, UTC. */
export const date: Check = rule(
  'a date such as 2026-11-20T09:30:00Z',
  (value) => typeof value === 'string' && DATE.test(value) && !Number.isNaN(Date.parse(value)),
)

/** Different texts, at least `least` of them. */
export const names = (least: number): Check =>
  rule(
    `a list of ${least} or more different texts`,
    (value) =>
      Array.isArray(value) &&
      value.length >= least &&
      new Set(value).size === value.length &&
      value.every((item) => typeof item === 'string' && item !== ''),
  )

/** Any JSON object, for what is recorded as it was given. */
export const anyObject: Check = rule('an object', isObject)

/** An object with these fields and no others; a name that ends in `?` may be missing. */
export function shape(fields: Readonly<Record<string, Check>>): Check {
  const known = new Map(Object.entries(fields).map(([name, check]) => [name.replace(/\?$/, ''), { name, check }]))
  return (value, field) => {
    if (!isObject(value)) throw wrongField(field, 'an object', value)
    const at = (name: string) => (field ? `${field}.${name}` : name)
    for (const name of Object.keys(value))
      if (!known.has(name)) throw wrongField(at(name), `one of ${[...known.keys()].join(', ')}`, value[name])
    for (const [plain, { name, check }] of known)
      if (Object.hasOwn(value, plain) && value[plain] !== undefined) check(value[plain], at(plain))
      else if (!name.endsWith('?')) throw wrongField(at(plain), 'a value', undefined)
  }
}

/** An object whose keys are among `keys`, all values alike. */
export function table(keys: readonly string[], check: Check): Check {
  return (value, field) => {
    if (!isObject(value)) throw wrongField(field, 'an object', value)
    for (const [key, entry] of Object.entries(value)) {
      if (!keys.includes(key)) throw wrongField(`${field}.${key}`, `one of ${keys.join(', ')}`, entry)
      check(entry, `${field}.${key}`)
    }
  }
}

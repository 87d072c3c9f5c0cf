/** How a data file is read, as flags: from the command line to room train, and back for its hints. */

import { type Advice, adviceText } from '../core/advice.js'
import { M4Error, unknownName } from '../core/errors.js'
import type { ReadOptions } from '../train/index.js'
import { commaOption, flagOf, numberOption, type OptionValues, textOption } from './context.js'

const WORDS = {
  format: ['table', 'rows', 'image-folder', 'sound-folder', 'coco', 'motion'],
  timeUnit: ['s', 'ms', 'us', 'ns'],
} as const satisfies { [K in keyof ReadOptions]?: readonly ReadOptions[K][] }

/** Each as its flag gives it, and as it is typed. */
const READ: {
  readonly [K in keyof ReadOptions]?: {
    readonly take: (options: OptionValues) => ReadOptions[K]
    readonly write: (value: NonNullable<ReadOptions[K]>) => string
  }
} = {
  format: { take: (options) => wordOf(options, 'format'), write: (format) => `--format ${format}` },
  columns: {
    take: columnsOf,
    write: (columns) =>
      `--columns ${Object.entries(columns)
        .map((entry) => entry.join('='))
        .join(',')}`,
  },
  pathPattern: { take: (options) => textOption(options, 'pathPattern'), write: (text) => `--path-pattern "${text}"` },
  mediaFolder: { take: (options) => textOption(options, 'mediaFolder'), write: (path) => `--media-folder ${path}` },
  channels: { take: (options) => commaOption(options, 'channels'), write: (names) => `--channels ${names.join(',')}` },
  timeUnit: { take: (options) => wordOf(options, 'timeUnit'), write: (unit) => `--time-unit ${unit}` },
  sampleRateHz: { take: rateOf, write: (rate) => `--rate ${rate}` },
}

/** Undefined where nothing is said of it. @throws M4Error `USAGE` naming the flag, `UNKNOWN_NAME` */
export function readOptions(options: OptionValues): ReadOptions | undefined {
  const given = Object.entries(READ).flatMap(([name, { take }]) => {
    const value = take(options)
    return value === undefined ? [] : [[name, value]]
  })
  return given.length ? Object.fromEntries(given) : undefined
}

/** The next step of an error in reading data, with the flags of this door; undefined for other errors. */
export function adviceHint({ details }: M4Error): string | undefined {
  const advice = details.advice as Advice | undefined
  return (
    advice &&
    adviceText(advice, (option, value) => READ[option as keyof ReadOptions]?.write(value as never) ?? flagOf(option))
  )
}

function wordOf<K extends keyof typeof WORDS>(options: OptionValues, name: K): (typeof WORDS)[K][number] | undefined {
  const word = textOption(options, name)
  const known: readonly string[] = WORDS[name]
  if (word !== undefined && !known.includes(word)) throw unknownName(flagOf(name), word, known)
  return word as (typeof WORDS)[K][number] | undefined
}

function rateOf(options: OptionValues): number | undefined {
  const rate = numberOption(options, 'rate')
  if (rate === undefined || rate > 0) return rate
  throw new M4Error('USAGE', `--rate: expected a number above 0, got ${rate}.`, { details: { option: 'rate' } })
}

/** `text=sentence,label=0`: where the file calls a field otherwise. What fields there are is for the reader to say. */
function columnsOf(options: OptionValues): ReadOptions['columns'] {
  const entries = commaOption(options, 'columns')?.map((entry) => {
    const at = entry.indexOf('=')
    if (at < 1 || at === entry.length - 1)
      throw new M4Error('USAGE', `--columns: expected FIELD=COLUMN, got "${entry}".`, {
        hint: 'For example --columns text=sentence,label=0.',
        details: { option: 'columns', got: entry },
      })
    const column = entry.slice(at + 1)
    return [entry.slice(0, at), /^\d+$/.test(column) ? Number(column) : column] as const
  })
  return entries && Object.fromEntries(entries)
}

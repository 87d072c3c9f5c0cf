/** Options of `m4fm adapter train` → options of room train. Numbers are checked here, where their flag can be named. */

import { M4Error, unknownName } from '../core/errors.js'
import type { TrainOptions } from '../train/index.js'
import { commaOption, flagOf, numberOption, type OptionValues, textOption } from './context.js'
import { readOptions } from './read-options.js'

interface NumberRule {
  /** Whole numbers only. */
  readonly whole: boolean
  readonly least: number
  readonly most?: number
}

const COUNT: NumberRule = { whole: true, least: 1 }
const SHARE: NumberRule = { whole: false, least: 0, most: 1 }

/** Named alike in `TrainOptions`. */
const NUMBERS = {
  steps: COUNT,
  epochs: COUNT,
  rank: COUNT,
  alpha: { whole: false, least: 0 },
  tokens: COUNT,
  batch: COUNT,
  tokensAtOnce: COUNT,
  maxTokens: COUNT,
  seed: { whole: true, least: 0 },
  evalEvery: COUNT,
  patience: { whole: true, least: 0 },
  evalFraction: SHARE,
  fraction: SHARE,
} as const satisfies { [K in keyof TrainOptions]?: NumberRule }

const WORDS = {
  task: ['detect', 'keypoints', 'segment', 'count'],
  kind: ['lora', 'prompt', 'prefix', 'head'],
  forward: ['int8', 'image'],
  dtype: ['float32', 'float16'],
} as const satisfies { [K in keyof TrainOptions]?: readonly string[] }

const FLAGS = ['rsLora', 'recompute'] as const satisfies (keyof TrainOptions)[]

/** @throws M4Error `USAGE` naming the flag, `UNKNOWN_NAME` */
export function trainOptions(options: OptionValues): TrainOptions {
  const numbers = Object.entries(NUMBERS).flatMap(([name, rule]) => {
    const value = checkedNumber(options, name, rule)
    return value === undefined ? [] : [[name, value]]
  })
  const words = Object.entries(WORDS).flatMap(([name, known]) => {
    const word = textOption(options, name)
    if (word !== undefined && !(known as readonly string[]).includes(word)) throw unknownName(flagOf(name), word, known)
    return word === undefined ? [] : [[name, word]]
  })
  const flags = FLAGS.filter((name) => options[name] === true).map((name) => [name, true])
  const lr = checkedNumber(options, 'lr', { whole: false, least: 0 })
  const parts = commaOption(options, 'parts')
  const template = textOption(options, 'template')
  const hidden = commaOption(options, 'hidden')
  const layers = commaOption(options, 'layers')
  const read = readOptions(options)
  return {
    ...(Object.fromEntries([...numbers, ...words, ...flags]) as TrainOptions),
    ...(lr === undefined ? {} : { optimiser: { lr } }),
    ...(parts ? { parts } : {}),
    ...(template === undefined ? {} : { template }),
    ...(hidden ? { hidden: hidden.map(Number) } : {}),
    ...(layers ? { layers } : {}),
    ...(read ? { read } : {}),
  }
}

/** @throws M4Error `USAGE` */
export function checkedNumber(
  options: OptionValues,
  name: string,
  { whole, least, most = Number.POSITIVE_INFINITY }: NumberRule,
): number | undefined {
  const value = numberOption(options, name)
  if (value === undefined || (value >= least && value <= most && (!whole || Number.isInteger(value)))) return value
  const range = Number.isFinite(most) ? `${least} to ${most}` : `${least} or more`
  throw new M4Error(
    'USAGE',
    `${flagOf(name)}: expected a ${whole ? 'whole number' : 'number'}, ${range}; got ${value}.`,
    {
      details: { option: name, got: value },
    },
  )
}

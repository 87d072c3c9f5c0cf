/** What the command lines of all benchmarks have in common. */

import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { say } from './say.mjs'

/** Whole numbers that every benchmark takes, with their defaults. */
const NUMBERS = { rounds: '5', threads: '2' }

/**
 * Parts and options of this process. Help ends it with 0, a mistake with 2.
 * @param help the whole text of --help
 * @param partNames parts that may be named; none named, or `all`, means every one
 * @param flags options without a value · texts: with one · numbers: more whole numbers, with their defaults
 */
export function benchArguments({ help, partNames, flags = [], texts = [], numbers = {} }) {
  const fail = (message) => {
    process.stderr.write(`bench: ${message}\n\n${help}`)
    process.exit(2)
  }
  const counts = { ...NUMBERS, ...numbers }
  const { values, positionals } = parsed(fail, {
    ...Object.fromEntries(
      Object.entries(counts).map(([name, fallback]) => [name, { type: 'string', default: fallback }]),
    ),
    ...Object.fromEntries(texts.map((name) => [name, { type: 'string' }])),
    ...Object.fromEntries([...flags, 'fresh'].map((name) => [name, { type: 'boolean', default: false }])),
    help: { type: 'boolean', short: 'h', default: false },
  })
  if (values.help) {
    process.stdout.write(help)
    process.exit(0)
  }
  const named = positionals.includes('all') ? [] : positionals
  const unknown = named.find((part) => !partNames.includes(part))
  if (unknown) fail(`unknown part "${unknown}".`)
  for (const name of Object.keys(counts)) {
    const value = Number(values[name])
    if (!Number.isInteger(value) || value < 1)
      fail(`--${name}: expected a whole number above 0, got "${values[name]}".`)
    values[name] = value
  }
  if (values.threads > availableParallelism())
    say(`${values.threads} threads on ${availableParallelism()} cores: speeds will not mean much.`)
  return { ...values, named, parts: named.length ? named : partNames, only: values.only?.split(',') }
}

function parsed(fail, options) {
  try {
    return parseArgs({ allowPositionals: true, options })
  } catch (error) {
    return fail(error.message)
  }
}

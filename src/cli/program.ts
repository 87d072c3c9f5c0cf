/** From arguments to an exit code: global options, help, Ctrl-C, errors. The commands themselves are data in commands.ts. */

import { Command, CommanderError } from 'commander'
import { M4Error } from '../core/errors.js'
import { m4fmHome } from '../core/files.js'
import { COMMANDS, type CommandSpec, EXIT_CODES } from './commands.js'
import type { CliContext, OptionValues } from './context.js'
import { createIo, type Io } from './io.js'
import { describeError } from './report-error.js'

/** Runs the command line; never throws. */
export async function runMain(argv: readonly string[]): Promise<number> {
  // Known before parsing: a mistake in the arguments must be told in the right form too.
  const json = argv.includes('--json')
  const io = createIo(json, argv.includes('--quiet'))
  let exitCode = 0
  try {
    await buildProgram(io, argv.length === 0, (code) => {
      exitCode = code
    }).parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (isHelp(error)) return 0
    const report = describeError(io.signal.aborted ? interrupted(error) : asUsageError(error))
    if (json) io.result(report.json, '')
    io.error(report.text)
    exitCode = report.exitCode
  } finally {
    await io.end()
  }
  return exitCode
}

function buildProgram(io: Io, isBare: boolean, finish: (exitCode: number) => void): Command {
  const program = new Command('m4fm')
    .description('One multimodal foundation model per device, served as firmware.')
    .version('0.1.0', '--version')
    .option('--json', 'one JSON value on stdout and nothing else')
    .option(
      '--home <dir>',
      'where weights, images and slots are (default: M4FM_HOME, else the cache folder of the system)',
    )
    .option('--offline', 'never use the network (as M4FM_OFFLINE=1)')
    .option('--quiet', 'no progress and no reports on stderr')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', `\nExample:\n  $ m4fm build lite && m4fm flash lite && m4fm chat\n\n${exitText()}`)
    .exitOverride()
    // Errors are described by report-error.ts; what is left is the help of a bare `m4fm`.
    .configureOutput({ writeErr: (text) => void (isBare && io.error(text)), outputError: () => undefined })
  for (const [name, spec] of Object.entries(COMMANDS)) {
    const command = program
      .command(spec.operands ? `${name} ${spec.operands}` : name)
      .description(spec.about)
      .addHelpText('after', `\nExample:\n  $ ${spec.example}\n\n${exitText(spec)}`)
    for (const { flags, about } of spec.options) command.option(flags, about)
    command.action(async () => {
      const { json: _json, home, offline, quiet: _quiet, ...options } = command.optsWithGlobals()
      finish(await runCommand(io, spec, command.args, { home, offline }, options))
    })
  }
  return program
}

async function runCommand(
  io: Io,
  spec: CommandSpec,
  operands: readonly string[],
  global: { readonly home?: string; readonly offline?: boolean },
  options: OptionValues,
): Promise<number> {
  // The rooms below read these two where nobody tells them; so one word here reaches all.
  if (global.home !== undefined) process.env.M4FM_HOME = global.home
  if (global.offline) process.env.M4FM_OFFLINE = '1'
  const context: CliContext = { ...io, home: m4fmHome(), offline: process.env.M4FM_OFFLINE === '1' }
  const { run } = await spec.load()
  return (await run(context, operands, options)) ?? 0
}

function exitText(spec?: CommandSpec): string {
  const codes = Object.keys(EXIT_CODES).map(Number) as (keyof typeof EXIT_CODES)[]
  const shown = spec ? codes.filter((code) => [0, 70, 130, ...spec.exits].includes(code)) : codes
  return `Exit codes: ${shown.map((code) => `${code} ${EXIT_CODES[code]}`).join('; ')}.`
}

/** Commander ends --help and --version by throwing, too. */
const isHelp = (error: unknown) => error instanceof CommanderError && error.exitCode === 0

function asUsageError(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error
  if (error.code === 'commander.help')
    return new M4Error('USAGE', 'No command given.', {
      hint: 'See `m4fm --help`.',
      details: { known: Object.keys(COMMANDS) },
    })
  const message = error.message.replace(/^error: /, '').replace(/\s+/g, ' ')
  return new M4Error('USAGE', `${message[0]?.toUpperCase()}${message.slice(1)}${/[.?)]$/.test(message) ? '' : '.'}`, {
    hint: 'See `m4fm --help`, or `m4fm COMMAND --help`.',
  })
}

/** After Ctrl-C whatever fails, fails because of it. */
const interrupted = (cause: unknown) => new M4Error('ABORTED', 'Interrupted.', { cause })

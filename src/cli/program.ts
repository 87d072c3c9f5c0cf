/** From arguments to an exit code: global options, help, Ctrl-C, errors. The commands themselves are data in commands.ts. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { isM4Error, M4Error } from '../core/errors.js'
import { m4fmHome } from '../core/files.js'
import { COMMANDS, type CommandGroup, type CommandSpec, EXIT_CODES, type ExitCode, isGroup } from './commands.js'
import type { CliContext, OptionValues } from './context.js'
import { createIo, type Io } from './io.js'
import { describeError } from './report-error.js'

/** Runs the command line; never throws. */
export async function runMain(argv: readonly string[]): Promise<number> {
  return guarded(argv, async (io) => {
    let exitCode = 0
    const program = buildProgram(io, isBare(argv), (code) => {
      exitCode = code
    })
    await program.parseAsync(argv, { from: 'user' })
    return exitCode
  })
}

/** Runs `work` as commands are run, for programs that have only the options --json, --quiet and --offline. Never throws. */
export async function runContext(
  argv: readonly string[],
  work: (context: CliContext) => Promise<number>,
): Promise<number> {
  return guarded(argv, async (io) => {
    for (const word of argv)
      if (!['--json', '--quiet', '--offline'].includes(word))
        throw new M4Error('USAGE', `Unknown option ${word}.`, { hint: 'Known: --json, --quiet, --offline.' })
    return work(contextOf(io, argv.includes('--offline') ? { offline: true } : {}))
  })
}

async function guarded(argv: readonly string[], work: (io: Io) => Promise<number>): Promise<number> {
  // Known before parsing: a mistake in the arguments must be told in the right form too.
  const json = argv.includes('--json')
  const io = createIo(json, argv.includes('--quiet'))
  try {
    return await work(io)
  } catch (error) {
    if (isHelp(error)) return 0
    const report = describeError(io.signal.aborted ? interrupted(error) : asUsageError(error, argv))
    if (json) io.result(report.json, '')
    io.error(report.text)
    return report.exitCode
  } finally {
    await io.end()
  }
}

function buildProgram(io: Io, showsHelp: boolean, finish: (exitCode: number) => void): Command {
  const program = new Command('m4fm')
    .description('One multimodal foundation model per device, served as firmware.')
    .version(packageVersion(), '--version')
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
    // Errors are described by report-error.ts; what is left is the help of a bare `m4fm` or `m4fm adapter`.
    .configureOutput({ writeErr: (text) => void (showsHelp && io.error(text)), outputError: () => undefined })
  const add = (parent: Command, name: string, entry: CommandSpec | CommandGroup) => {
    const words = isGroup(entry) || entry.operands === '' ? name : `${name} ${entry.operands}`
    const command = parent
      .command(words)
      .description(entry.about)
      .addHelpText('after', `\nExample:\n  $ ${entry.example}\n\n${exitText(entry.exits)}`)
    if (isGroup(entry)) {
      for (const [below, spec] of Object.entries(entry.commands)) add(command, below, spec)
      return
    }
    for (const { flags, about, repeatable } of entry.options)
      if (repeatable) command.option(flags, about, (value: string, before: string[] = []) => [...before, value])
      else command.option(flags, about)
    command.action(async () => {
      const { json: _json, home, offline, quiet: _quiet, ...options } = command.optsWithGlobals()
      finish(await runCommand(io, entry, command.args, { home, offline }, options))
    })
  }
  for (const [name, entry] of Object.entries(COMMANDS)) add(program, name, entry)
  return program
}

/** Nothing was asked for, so help is the answer: `m4fm`, or the name of a group alone. */
function isBare([name, ...rest]: readonly string[]): boolean {
  return name === undefined || (rest.length === 0 && groupNamed(name) !== undefined)
}

function groupNamed(name: string | undefined): CommandGroup | undefined {
  const entry = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  return entry && isGroup(entry) ? entry : undefined
}

async function runCommand(
  io: Io,
  spec: CommandSpec,
  operands: readonly string[],
  global: GlobalOptions,
  options: OptionValues,
): Promise<number> {
  const context = contextOf(io, global)
  const { run } = await spec.load()
  return (await run(context, operands, options)) ?? 0
}

interface GlobalOptions {
  readonly home?: string
  readonly offline?: boolean
}

function contextOf(io: Io, { home, offline }: GlobalOptions): CliContext {
  // The rooms below read these two where nobody tells them; so one word here reaches all.
  if (home !== undefined) process.env.M4FM_HOME = home
  if (offline) process.env.M4FM_OFFLINE = '1'
  return { ...io, home: m4fmHome(), offline: process.env.M4FM_OFFLINE === '1' }
}

/** package.json is in every installation, two folders up from here. */
function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

function exitText(exits?: readonly ExitCode[]): string {
  const codes = Object.keys(EXIT_CODES).map(Number) as ExitCode[]
  const shown = exits ? codes.filter((code) => [0, 70, 130, ...exits].includes(code)) : codes
  return `Exit codes: ${shown.map((code) => `${code} ${EXIT_CODES[code]}`).join('; ')}.`
}

/** Commander ends --help and --version by throwing, too. */
const isHelp = (error: unknown) => error instanceof CommanderError && error.exitCode === 0

function asUsageError(error: unknown, argv: readonly string[]): unknown {
  if (!(error instanceof CommanderError)) return error
  if (error.code === 'commander.help') {
    const name = argv.find((word) => groupNamed(word))
    return new M4Error('USAGE', `No command given${name === undefined ? '' : ` for ${name}`}.`, {
      hint: `See \`m4fm ${name === undefined ? '' : `${name} `}--help\`.`,
      details: { known: Object.keys(groupNamed(name)?.commands ?? COMMANDS) },
    })
  }
  const message = error.message.replace(/^error: /, '').replace(/\s+/g, ' ')
  return new M4Error('USAGE', `${message[0]?.toUpperCase()}${message.slice(1)}${/[.?)]$/.test(message) ? '' : '.'}`, {
    hint: 'See `m4fm --help`, or `m4fm COMMAND --help`.',
  })
}

/** After Ctrl-C whatever fails, fails because of it; a command may have said what is left and how to go on. */
const interrupted = (cause: unknown) =>
  isM4Error(cause, 'ABORTED') && cause.hint ? cause : new M4Error('ABORTED', 'Interrupted.', { cause })

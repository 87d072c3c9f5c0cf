/** The command line as its users start it: a process of its own, compiled, with a home of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface CliResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** stdout parsed; throws when it is not one JSON value. */
  json<T>(): T
}

export interface CliOptions {
  readonly home?: string
  readonly stdin?: string | Uint8Array
  /** Called with each piece of stdout. */
  readonly onOutput?: (child: ChildProcess, stdoutSoFar: string) => void
  /** The program to run below the root. Default: the command `m4fm`. */
  readonly program?: string
}

/** Compiles `dist` when a source is newer. */
export function ensureCompiled(): void {
  execFileSync(process.execPath, [join(ROOT, 'scripts', 'ensure.mjs')], { stdio: 'inherit' })
}

export function runCli(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const { home, stdin = '', onOutput, program = join('dist', 'cli', 'main.js') } = options
  const env = { ...process.env, NO_COLOR: '1', ...(home === undefined ? {} : { M4FM_HOME: home }) }
  const child = spawn(process.execPath, [join(ROOT, program), ...words], { cwd: ROOT, env })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    stdout += piece
    onOutput?.(child, stdout)
  })
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
  })
  // A command that does not read its input may be gone before all is written.
  child.stdin.on('error', () => undefined)
  child.stdin.end(stdin)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr, json: <T>() => JSON.parse(stdout) as T }))
  })
}

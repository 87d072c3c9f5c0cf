/** Standard streams and Ctrl-C of one run of the program. */

import type { CliContext } from './context.js'
import { toJson } from './print.js'
import type { ProgressOutput } from './progress.js'

export interface Io extends Omit<CliContext, 'home' | 'offline'> {
  /** To stderr, always. */
  error(text: string): void
  /** Ends the progress display and lets go of the signals. */
  end(): Promise<void>
}

export function createIo(json: boolean, quiet: boolean): Io {
  const abort = new AbortController()
  const handlers: (() => void)[] = []
  let progress: Promise<ProgressOutput> | undefined

  const onSignal = () => {
    const handler = handlers.at(-1)
    if (handler) return handler()
    // The second Ctrl-C does not wait for anything to end well.
    if (abort.signal.aborted) process.exit(130)
    abort.abort()
  }
  process.on('SIGINT', onSignal)
  // `m4fm … | head`: nobody reads any more, and that is no error.
  const onBrokenPipe = (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', onBrokenPipe)

  return {
    json,
    quiet,
    signal: abort.signal,
    result: (value, text) => void process.stdout.write(endLine(json ? toJson(value) : text)),
    stream: (text) => void (json || process.stdout.write(text)),
    note: (text) => void (json || quiet || process.stderr.write(endLine(text))),
    error: (text) => void process.stderr.write(text),
    progress: async () => {
      progress ??= import('./progress.js').then(({ createProgress }) => createProgress({ json: json || quiet }))
      return progress
    },
    onInterrupt(handler) {
      handlers.push(handler)
      return () => void handlers.splice(handlers.indexOf(handler), 1)
    },
    async end() {
      ;(await progress)?.stop()
      process.off('SIGINT', onSignal)
    },
  }
}

const endLine = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)

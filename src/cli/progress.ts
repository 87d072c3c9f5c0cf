/** Progress of long commands on stderr: a bar with bytes, rate and time left on a terminal, plain lines elsewhere. */

import type { SingleBar } from 'cli-progress'
import type { Progress, ProgressListener } from '../core/progress.js'

export interface ProgressOutput {
  readonly listener: ProgressListener
  /** A line between bars, e.g. a warning; does not tear the bar apart. */
  note(message: string): void
  /** Ends the current bar. Call once the work is done or has failed. */
  stop(): void
}

export interface ProgressSettings {
  /** Machine-readable output was asked for: print nothing. */
  readonly json?: boolean
  /** Default: standard error. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean }
  /** Shortest time between two plain lines of one task, ms. */
  readonly intervalMs?: number
  readonly now?: () => number
}

/** Draws the progress of one task after another. */
export async function createProgress(settings: ProgressSettings = {}): Promise<ProgressOutput> {
  const stream = settings.stream ?? process.stderr
  const now = settings.now ?? Date.now
  if (settings.json) return { listener: () => undefined, note: () => undefined, stop: () => undefined }
  return stream.isTTY ? barOutput(stream, now) : lineOutput(stream, now, settings.intervalMs ?? 2_000)
}

async function barOutput(stream: NodeJS.WritableStream, now: () => number): Promise<ProgressOutput> {
  const { default: cliProgress } = await import('cli-progress')
  let bar: SingleBar | undefined
  let task: string | undefined
  let finished: string | undefined
  let rate = rateMeter(now)
  const stop = () => {
    bar?.stop()
    bar = undefined
    task = undefined
  }
  const listener = (progress: Progress) => {
    const complete = progress.done === progress.total
    if (complete && progress.task === finished) return // told twice, drawn once
    if (progress.task !== task) {
      stop()
      task = progress.task
      rate = rateMeter(now)
      bar = new cliProgress.SingleBar({
        stream,
        format: '{task} [{bar}] {percentage}% {facts}',
        barsize: 24,
        barCompleteChar: '=',
        barIncompleteChar: ' ',
        hideCursor: true,
        fps: 8,
      })
      bar.start(progress.total ?? 0, progress.done, { task, facts: describe(progress, rate(progress.done)) })
    }
    bar?.setTotal(progress.total ?? progress.done)
    bar?.update(progress.done, { task, facts: describe(progress, rate(progress.done)) })
    finished = complete ? progress.task : undefined
    if (complete) stop()
  }
  const note = (message: string) => {
    stop()
    stream.write(`${message}\n`)
  }
  return { listener, note, stop }
}

function lineOutput(stream: NodeJS.WritableStream, now: () => number, intervalMs: number): ProgressOutput {
  let task: string | undefined
  let lastMs = Number.NEGATIVE_INFINITY
  let ended = false
  let rate = rateMeter(now)
  const listener = (progress: Progress) => {
    const fresh = progress.task !== task
    if (fresh) {
      task = progress.task
      rate = rateMeter(now)
      ended = false
    }
    const perSecond = rate(progress.done)
    const complete = progress.done === progress.total
    // The last line of a task always comes, so that a log shows that it ended; once.
    if (complete ? ended : !fresh && now() - lastMs < intervalMs) return
    ended = complete
    lastMs = now()
    const { total, done } = progress
    const share = total ? ` ${Math.floor((100 * done) / total)}%` : ''
    stream.write(`${progress.task}:${share} ${describe(progress, perSecond)}\n`)
  }
  return { listener, note: (message) => void stream.write(`${message}\n`), stop: () => undefined }
}

/** `134.0 of 322.6 MB, 24.1 MB/s, 8 s left`. */
function describe({ done, total, unit }: Progress, perSecond: number | undefined): string {
  const words = [total === undefined ? amount(done, unit) : `${amount(done, unit)} of ${amount(total, unit)}`]
  if (perSecond) words.push(`${amount(perSecond, unit)}/s`)
  if (perSecond && total !== undefined && total > done) words.push(`${formatSeconds((total - done) / perSecond)} left`)
  return words.join(', ')
}

const amount = (count: number, unit: Progress['unit']) =>
  unit === 'bytes' ? formatBytes(count) : count < 10 ? String(Math.round(count * 10) / 10) : String(Math.round(count))

/** Decimal units, as disks and network rates are counted. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let power = 0
  let value = bytes
  while (value >= 999.95 && power < units.length - 1) {
    value /= 1000
    power++
  }
  return `${power ? value.toFixed(1) : Math.round(value)} ${units[power]}`
}

/** `8 s`, `2 min 05 s`, `1 h 10 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}

const WINDOW_MS = 5_000

/** Rate over the last seconds, not since the start: resumed bytes cost no time, and lines change. */
function rateMeter(now: () => number): (done: number) => number | undefined {
  const samples: { atMs: number; done: number }[] = []
  return (done) => {
    const atMs = now()
    // A restart from zero makes older samples meaningless.
    if (samples.length && done < samples.at(-1)!.done) samples.length = 0
    samples.push({ atMs, done })
    while (samples.length > 2 && samples[1]!.atMs < atMs - WINDOW_MS) samples.shift()
    const first = samples[0]!
    return atMs > first.atMs ? ((done - first.done) * 1000) / (atMs - first.atMs) : undefined
  }
}

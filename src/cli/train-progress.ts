/** The line of a running training on stderr: rewritten in place on a terminal, a line now and then elsewhere. */

import type { StepReport } from '../train/index.js'
import { formatSeconds } from './progress.js'

export interface StepLine {
  readonly listener: (report: StepReport) => void
  /** Leaves what was drawn last, and goes on below it. */
  end(): void
}

export interface StepLineSettings {
  /** Print nothing. */
  readonly silent?: boolean
  /** Default: standard error. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean }
  /** Shortest time between two lines of a log, ms. */
  readonly intervalMs?: number
  readonly now?: () => number
}

const REDRAW_MS = 125
const LINE_START = '\r\u001b[K'

export function createStepLine(settings: StepLineSettings = {}): StepLine {
  const { silent = false, stream = process.stderr, intervalMs = 2_000, now = Date.now } = settings
  if (silent) return { listener: () => undefined, end: () => undefined }
  let lastMs = Number.NEGATIVE_INFINITY
  let drawn = false
  const end = () => {
    if (drawn) stream.write('\n')
    drawn = false
  }
  return {
    end,
    listener(report) {
      const { step, steps, evalLoss } = report
      const due = now() - lastMs >= (stream.isTTY ? REDRAW_MS : intervalMs)
      // A look at the held-out loss and the last step are always told.
      const told = evalLoss !== undefined || step === steps
      if (!due && !told) return
      lastMs = now()
      if (!stream.isTTY) return void stream.write(`${formatStep(report)}\n`)
      stream.write(LINE_START + formatStep(report))
      drawn = true
      if (told) end()
    },
  }
}

/** `step 30 of 300  loss 0.421  held out 0.512  850 tokens/s  4 min 10 s left`. */
export function formatStep({ step, steps, loss, evalLoss, unitsPerSecond, secondsLeft }: StepReport): string {
  return [
    `step ${step} of ${steps}`,
    `loss ${loss.toFixed(3)}`,
    ...(evalLoss === undefined ? [] : [`held out ${evalLoss.toFixed(3)}`]),
    // The first step allocates; its speed is not known.
    ...(unitsPerSecond > 0 ? [`${unitsPerSecond.toFixed(unitsPerSecond < 10 ? 1 : 0)} tokens/s`] : []),
    ...(step < steps ? [`${formatSeconds(secondsLeft)} left`] : []),
  ].join('  ')
}

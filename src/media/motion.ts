/** Motion recordings (accelerometer, gyroscope) → windows at the rate that a model was made for. */

import { M4Error } from '../core/errors.js'

export interface MotionRecording {
  /** One array a channel, all of one length: acceleration x, y, z, then rotation x, y, z for six. [N] each */
  readonly channels: readonly ArrayLike<number>[]
  /** Of evenly spaced samples. Either this or `timesS`. */
  readonly sampleRateHz?: number
  /** When each sample was taken, s, rising. [N] */
  readonly timesS?: ArrayLike<number>
}

export interface MotionPlan {
  /** ImageBind: 400. */
  readonly sampleRateHz: number
  /** ImageBind: 6. */
  readonly channels: number
  /** ImageBind: 2000, which is 5 s. */
  readonly windowSamples: number
  /** From one window to the next. Default: `windowSamples`, without overlap. */
  readonly hopSamples?: number
  /** Longest pause between two samples that is bridged by a straight line. Default 0.25 s. */
  readonly maxGapS?: number
}

export const IMAGEBIND_MOTION: MotionPlan = { sampleRateHz: 400, channels: 6, windowSamples: 2000 }

export interface MotionWindows {
  /** [channels, windowSamples] each, row by row */
  readonly windows: readonly Float32Array[]
  /** Start of each window, s from the first sample. */
  readonly startsS: readonly number[]
  readonly durationS: number
  /** Behind the last whole window, and in none. */
  readonly unusedS: number
}

const MAX_GAP_S = 0.25

/**
 * Samples at the times that the model wants lie on straight lines between those that were taken; equal rates are copied as they
 * are. Nothing is filtered: a recording of a much higher rate should be smoothed first.
 * @throws M4Error `EMPTY_INPUT` without samples; `MOTION_INVALID` for another number of channels, channels of several lengths,
 * values that are no numbers, times that do not rise, pauses beyond `maxGapS`, and recordings shorter than one window
 */
export function motionWindows(recording: MotionRecording, plan: MotionPlan = IMAGEBIND_MOTION): MotionWindows {
  const { sampleRateHz, windowSamples, hopSamples = windowSamples } = plan
  for (const [what, value] of Object.entries({ sampleRateHz, windowSamples, hopSamples }))
    if (!(value > 0)) throw new M4Error('USAGE', `Motion: ${what} must be above 0, got ${value}.`)
  const times = checkedTimes(recording, plan)
  const last = times.at(times.length - 1)
  const durationS = last
  const available = Math.floor(last * sampleRateHz + 1e-6) + 1
  if (available < windowSamples)
    throw invalid(
      `the recording has ${available} samples at ${sampleRateHz} Hz, expected ${windowSamples} or more (${windowSamples / sampleRateHz} s)`,
      'Record for longer.',
    )
  const grid = recording.channels.map((channel) => atGrid(channel, times, available, sampleRateHz))
  const starts: number[] = []
  for (let start = 0; start + windowSamples <= available; start += hopSamples) starts.push(start)
  const windows = starts.map((start) => {
    const out = new Float32Array(grid.length * windowSamples)
    for (const [i, channel] of grid.entries())
      out.set(channel.subarray(start, start + windowSamples), i * windowSamples)
    return out
  })
  const used = starts.at(-1)! + windowSamples
  return {
    windows,
    startsS: starts.map((start) => start / sampleRateHz),
    durationS,
    unusedS: (available - used) / sampleRateHz,
  }
}

/** Times from the first sample on. */
interface Times {
  readonly length: number
  at(index: number): number
}

function checkedTimes({ channels, sampleRateHz, timesS }: MotionRecording, plan: MotionPlan): Times {
  if (channels.length !== plan.channels)
    throw invalid(
      `got ${channels.length} channels, expected ${plan.channels}`,
      'Six are acceleration x, y, z, then rotation x, y, z.',
    )
  const length = channels[0]!.length
  const other = channels.findIndex((channel) => channel.length !== length)
  if (other >= 0) throw invalid(`channel ${other} has ${channels[other]!.length} samples, channel 0 has ${length}`)
  if (length === 0) throw new M4Error('EMPTY_INPUT', 'The motion recording has no samples.', { hint: 'Record again.' })
  for (const [i, channel] of channels.entries())
    for (let n = 0; n < length; n++)
      if (!Number.isFinite(channel[n]))
        throw invalid(
          `sample ${n} of channel ${i} is ${channel[n]}`,
          'Leave out samples that the sensor missed and give times: short pauses are bridged.',
        )
  if ((sampleRateHz === undefined) === (timesS === undefined))
    throw new M4Error('USAGE', 'Motion: give either the sample rate or the time of each sample.')
  const gapS = plan.maxGapS ?? MAX_GAP_S
  if (timesS === undefined) {
    if (!(sampleRateHz! > 0 && Number.isFinite(sampleRateHz)))
      throw invalid(`a sample rate is a number of Hz above 0, got ${sampleRateHz}`)
    if (1 / sampleRateHz! > gapS)
      throw invalid(`samples ${1 / sampleRateHz!} s apart say too little, ${gapS} s at most`)
    return { length, at: (index) => index / sampleRateHz! }
  }
  if (timesS.length !== length) throw invalid(`${timesS.length} times for ${length} samples`)
  if (!Number.isFinite(timesS[0])) throw invalid(`time 0 is ${timesS[0]}`)
  for (let n = 1; n < length; n++) {
    const step = timesS[n]! - timesS[n - 1]!
    if (!(step > 0))
      throw invalid(`times must rise, but time ${n} is ${timesS[n]} after ${timesS[n - 1]}`, 'Sort them.')
    if (step > gapS)
      throw invalid(
        `nothing was recorded for ${step.toFixed(3)} s before sample ${n}, ${gapS} s is the longest pause`,
        'Give the parts before and behind it one by one.',
      )
  }
  return { length, at: (index) => timesS[index]! - timesS[0]! }
}

/** Straight lines between the samples, read at k / rateHz. [count] */
function atGrid(channel: ArrayLike<number>, times: Times, count: number, rateHz: number): Float32Array {
  const out = new Float32Array(count)
  let right = 0
  for (let k = 0; k < count; k++) {
    const time = k / rateHz
    while (right < times.length - 1 && times.at(right) < time) right++
    const left = Math.max(right - 1, 0)
    const span = times.at(right) - times.at(left)
    const part = span > 0 ? Math.min(1, Math.max(0, (time - times.at(left)) / span)) : 1
    // Between equal values rounding must not show.
    out[k] = part === 1 ? channel[right]! : channel[left]! + part * (channel[right]! - channel[left]!)
  }
  return out
}

const invalid = (what: string, hint = 'Check where the recording comes from.') =>
  new M4Error('MOTION_INVALID', `Motion: ${what}.`, { hint })

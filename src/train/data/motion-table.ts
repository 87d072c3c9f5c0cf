/** One table of measurements → numbers, and the stretches of it that are whole recordings of one activity. */

import { adviceError } from '../../core/advice.js'
import type { MotionRecording } from '../../media/motion.js'
import type { FindingList } from './findings.js'
import { guessTimeUnit, NAME_CHANNELS, secondsOf } from './motion-columns.js'
import { type OpenOptions, TIME_UNITS, type TimeUnit } from './samples.js'
import { rowsBehindHeader, startOfTable } from './table.js'

export interface MotionTable {
  /** [channels][N] */
  readonly channels: readonly Float64Array[]
  /** From the first measurement on, s. [N] */
  readonly timesS?: Float64Array
  /** Where the clock tells of the bursts in which measurements came, not of them: their rate, for they are evenly spaced. */
  readonly burstRateHz?: number
  readonly labels?: readonly string[]
  readonly subjects?: readonly string[]
  /** Row of the file that each measurement stands in. [N] */
  readonly rows: readonly number[]
}

/** Longest pause inside a recording, as in `media/motion.ts`: longer ones are not bridged. */
const MAX_GAP_S = 0.25

/**
 * Reads the numbers of a table. Cells that are no finite number become NaN here and are reported by `stretches`.
 * @throws M4Error `FORMAT_INVALID` without columns of motion, or with times in a unit that cannot be told
 */
export function motionTable(
  path: string,
  name: string,
  text: string,
  options: OpenOptions,
  findings: FindingList,
): MotionTable {
  const start = startOfTable(path, text, options)
  if (!start?.motion)
    throw adviceError(
      'FORMAT_INVALID',
      `${path}: expected a header with ax,ay,az,gx,gy,gz (and time, label, subject).`,
      NAME_CHANNELS,
      { path, got: start?.names ?? text.slice(0, 200).split(/[\r\n]/, 1) },
    )
  const { channels, time, label, subject } = start.motion
  const values = channels.map((): number[] => [])
  const times: number[] = []
  const labels: string[] = []
  const subjects: string[] = []
  const rows: number[] = []
  for (const { row, cells } of rowsBehindHeader(text, start, options, findings, name)) {
    rows.push(row)
    for (const [i, column] of channels.entries()) values[i]!.push(numberOf(cells[column]!))
    if (time) times.push(numberOf(cells[time.column]!))
    if (label !== undefined) labels.push(cells[label]!.trim())
    if (subject !== undefined) subjects.push(cells[subject]!.trim())
  }
  const used = new Set([...channels, time?.column, label, subject])
  const extra = start.names.filter((_, i) => !used.has(i))
  if (extra.length) findings.add('extra-columns', `${name}: not read: ${extra.join(', ')}.`, { file: name })
  const timesS = time && timesInS(path, name, times, time.unit ?? options.timeUnit, findings)
  const burstRateHz = timesS && burstRate(timesS)
  return {
    channels: values.map((channel) => Float64Array.from(channel)),
    ...(timesS ? { timesS } : {}),
    ...(burstRateHz ? { burstRateHz } : {}),
    ...(label === undefined ? {} : { labels }),
    ...(subject === undefined ? {} : { subjects }),
    rows,
  }
}

const numberOf = (cell: string) => (cell.trim() === '' ? Number.NaN : Number(cell))

function timesInS(
  path: string,
  name: string,
  times: readonly number[],
  given: Parameters<typeof secondsOf>[1] | undefined,
  findings: FindingList,
): Float64Array {
  const unit = given ?? guessTimeUnit(times)
  if (!unit && times.length > 1)
    throw adviceError(
      'FORMAT_INVALID',
      `${path}: the times count in a unit that cannot be told, e.g. ${times[0]}, ${times[1]}.`,
      { say: 'Say it', examples: Object.keys(TIME_UNITS).map((unit) => ({ timeUnit: unit as TimeUnit })) },
      { path },
    )
  if (!given && unit && unit !== 's')
    findings.add('time-unit', `${name}: the times are read as ${unit}, by their steps.`, { file: name })
  const first = times.find(Number.isFinite) ?? 0
  // The difference first: a clock since 1970 has no digits left for parts of a second in ns.
  return Float64Array.from(times, (time) => secondsOf(time - first, unit ?? 's'))
}

/** From this share of repeated times on, a clock comes in bursts; a few repeats may be slips of a good one. */
const REPEATS_OF_BURSTS = 0.02
/** Fewer measurements say too little of a clock. */
const LEAST_OF_BURSTS = 50

/** Measurements a second over all but the pauses, where many have the time of the one before. */
function burstRate(timesS: Float64Array): number | undefined {
  let [repeats, steps, seconds] = [0, 0, 0]
  for (let i = 1; i < timesS.length; i++) {
    const step = timesS[i]! - timesS[i - 1]!
    if (!(step >= 0 && step <= MAX_GAP_S)) continue
    if (step === 0) repeats++
    steps++
    seconds += step
  }
  const inBursts = timesS.length >= LEAST_OF_BURSTS && repeats >= REPEATS_OF_BURSTS * steps && seconds > 0
  return inBursts ? steps / seconds : undefined
}

export interface Stretch {
  readonly start: number
  readonly end: number
  readonly label: string
  readonly subject?: string
}

/**
 * Longest runs of measurements with one label, one subject, finite numbers and times without long pauses that do not fall. `whole` is the
 * label of tables without a column of labels.
 */
export function stretches(
  table: MotionTable,
  name: string,
  whole: { readonly label?: string; readonly subject?: string },
  findings: FindingList,
): readonly Stretch[] {
  const found: Stretch[] = []
  const count = table.rows.length
  const labelAt = (i: number) => table.labels?.[i] ?? whole.label ?? ''
  const subjectAt = (i: number) => table.subjects?.[i] ?? whole.subject
  let start = 0
  let repeats = 0
  const close = (end: number) => {
    const subject = subjectAt(start)
    if (end > start && labelAt(start))
      found.push({ start, end, label: labelAt(start), ...(subject ? { subject } : {}) })
    start = end
  }
  for (let i = 0; i < count; i++) {
    const place = { row: table.rows[i]!, file: name }
    const bad = badCell(table, i)
    if (bad !== undefined) {
      findings.add('not-finite', `${name}, row ${place.row}: ${bad} is not a finite number.`, place)
      close(i)
      start = i + 1
      continue
    }
    if (!labelAt(i)) findings.add('missing-label', `${name}, row ${place.row} has no label; left out.`, place)
    if (i === start) continue
    if (labelAt(i) !== labelAt(i - 1) || subjectAt(i) !== subjectAt(i - 1)) {
      close(i)
      continue
    }
    if (!table.timesS) continue
    const step = table.timesS[i]! - table.timesS[i - 1]!
    const cut = 'the recording is cut in two there.'
    if (step === 0) repeats++
    else if (step < 0) {
      findings.add('time-falls', `${name}, row ${place.row}: the time falls; ${cut}`, place)
      close(i)
    } else if (step > MAX_GAP_S) {
      findings.add(
        'motion-gap',
        `${name}, row ${place.row}: nothing was measured for ${step.toFixed(3)} s; ${cut}`,
        place,
      )
      close(i)
    }
  }
  close(count)
  if (repeats)
    findings.add(
      'time-repeats',
      `${name}: ${repeats} measurements have the time of the one before; ${
        table.burstRateHz
          ? `the clock comes in bursts, so they are read as evenly spaced, ${table.burstRateHz.toFixed(1)} a second`
          : 'they are averaged'
      }.`,
      {
        file: name,
      },
    )
  return found
}

/** Measurements [start, end) of a table with times. */
export function timedRecording(
  table: MotionTable & { readonly timesS: Float64Array },
  start: number,
  end: number,
): MotionRecording {
  const { channels, burstRateHz } = table
  if (burstRateHz === undefined) return mergeEqualTimes(table, start, end)
  return { channels: channels.map((values) => values.subarray(start, end)), sampleRateHz: burstRateHz }
}

/** One value a time: measurements of equal times are averaged, since no line can be drawn through them. */
function mergeEqualTimes(
  { channels, timesS }: MotionTable & { readonly timesS: Float64Array },
  start: number,
  end: number,
): { readonly channels: readonly Float64Array[]; readonly timesS: Float64Array } {
  const firsts: number[] = []
  for (let i = start; i < end; i++) if (i === start || timesS[i] !== timesS[i - 1]) firsts.push(i)
  if (firsts.length === end - start)
    return { channels: channels.map((values) => values.subarray(start, end)), timesS: timesS.subarray(start, end) }
  const mean = (values: Float64Array, from: number, to: number) => {
    let sum = 0
    for (let i = from; i < to; i++) sum += values[i]!
    return sum / (to - from)
  }
  return {
    channels: channels.map((values) =>
      Float64Array.from(firsts, (first, k) => mean(values, first, firsts[k + 1] ?? end)),
    ),
    timesS: Float64Array.from(firsts, (first) => timesS[first]!),
  }
}

function badCell({ channels, timesS }: MotionTable, i: number): string | undefined {
  const channel = channels.findIndex((values) => !Number.isFinite(values[i]))
  if (channel >= 0) return `channel ${channel}`
  return timesS && !Number.isFinite(timesS[i]) ? 'the time' : undefined
}

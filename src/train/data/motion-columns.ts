/** Which columns of a table are acceleration, rotation, time, label and subject, by their names. */

import { type Advice, adviceError } from '../../core/advice.js'
import { unknownName } from '../../core/errors.js'
import { type OpenOptions, type ReadOptions, TIME_UNITS, type TimeUnit } from './samples.js'

export interface MotionColumns {
  /** Columns of the channels: acceleration x, y, z, then rotation x, y, z where there is any. */
  readonly channels: readonly number[]
  readonly time?: { readonly column: number; readonly unit?: TimeUnit }
  readonly label?: number
  readonly subject?: number
}

/** Names of a sensor without its axis, letters only: `ax`, `acc_x`, `x_acc`, `userAcceleration.x`, `Accelerometer X (g)`. */
const SENSORS = {
  acceleration: [
    'a',
    'acc',
    'accel',
    'accelerometer',
    'acceleration',
    'useracceleration',
    'bodyacc',
    'linearacceleration',
  ],
  rotation: ['g', 'gyr', 'gyro', 'gyroscope', 'rotation', 'rotationrate', 'bodygyro', 'angularvelocity'],
} as const

const AXES = ['x', 'y', 'z'] as const

/** What a time column may be called, and the unit where the name says it. */
const TIMES: Readonly<Record<string, TimeUnit | undefined>> = {
  time: undefined,
  t: undefined,
  timestamp: undefined,
  seconds: 's',
  time_s: 's',
  timestamp_s: 's',
  time_ms: 'ms',
  timestamp_ms: 'ms',
  time_us: 'us',
  timestamp_us: 'us',
  time_ns: 'ns',
  timestamp_ns: 'ns',
}

/** Where the columns of motion cannot be told by their names. */
export const NAME_CHANNELS: Advice<ReadOptions> = Object.freeze({
  say: 'Name the columns to read, in the order of the model',
  examples: [{ channels: ['ax', 'ay', 'az', 'gx', 'gy', 'gz'] }],
})

/**
 * Undefined for a table that does not measure motion.
 * @throws M4Error `FORMAT_INVALID` where an axis is missing or stands twice; `UNKNOWN_NAME` for `channels` or `columns` that are
 * not there
 */
export function findMotion(names: readonly string[], options: OpenOptions): MotionColumns | undefined {
  const channels = options.channels ? namedChannels(names, options.channels) : knownChannels(names)
  if (!channels) return undefined
  const { time, label, subject } = options.columns ?? {}
  const timeColumn = columnOf(names, time, Object.keys(TIMES))
  const labelColumn = columnOf(names, label, ['label'])
  const subjectColumn = columnOf(names, subject, ['subject'])
  const unit = timeColumn === undefined ? undefined : (options.timeUnit ?? TIMES[names[timeColumn]!.toLowerCase()])
  return {
    channels,
    ...(timeColumn === undefined ? {} : { time: { column: timeColumn, ...(unit ? { unit } : {}) } }),
    ...(labelColumn === undefined ? {} : { label: labelColumn }),
    ...(subjectColumn === undefined ? {} : { subject: subjectColumn }),
  }
}

function columnOf(names: readonly string[], given: string | number | undefined, usual: readonly string[]) {
  const plain = names.map((name) => name.toLowerCase())
  const index =
    typeof given === 'number' && given in names
      ? given
      : plain.findIndex((name) => (given === undefined ? usual.includes(name) : name === String(given).toLowerCase()))
  if (index < 0 && given !== undefined) throw unknownName('column', String(given), names)
  return index < 0 ? undefined : index
}

function namedChannels(names: readonly string[], channels: readonly string[]): readonly number[] {
  return channels.map((channel) => columnOf(names, channel, [])!)
}

function knownChannels(names: readonly string[]): readonly number[] | undefined {
  const acceleration = axesOf(names, 'acceleration')
  if (!acceleration) return undefined
  return [...acceleration, ...(axesOf(names, 'rotation') ?? [])]
}

function axesOf(names: readonly string[], sensor: keyof typeof SENSORS): readonly number[] | undefined {
  const found = AXES.map((axis) => names.flatMap((name, i) => (isAxis(name, sensor, axis) ? [i] : [])))
  if (found.every((columns) => columns.length === 0)) return undefined
  const wrong = found.findIndex((columns) => columns.length !== 1)
  // A lone `x_acc` or `gx` may mean anything; it is motion only beside another axis of its sensor.
  if (sensor === 'acceleration' && found.filter((columns) => columns.length).length < 2) return undefined
  if (wrong >= 0) {
    const got = found[wrong]!.map((column) => names[column]).join(', ') || 'none'
    throw adviceError(
      'FORMAT_INVALID',
      `Motion: expected one column for ${sensor} ${AXES[wrong]}, got ${got}.`,
      NAME_CHANNELS,
      { names },
    )
  }
  return found.map((columns) => columns[0]!)
}

function isAxis(name: string, sensor: keyof typeof SENSORS, axis: string): boolean {
  const letters = name
    .toLowerCase()
    .replace(/\(.*?\)|\[.*?\]/g, '')
    .replace(/[^a-z]/g, '')
  const stems = SENSORS[sensor] as readonly string[]
  return (
    (letters.endsWith(axis) && stems.includes(letters.slice(0, -1))) ||
    (letters.startsWith(axis) && stems.includes(letters.slice(1)))
  )
}

/** Median steps that a wearable's clock makes, in counts of the unit: 4 Hz to 1 kHz each, and the ranges do not meet. */
const STEPS: readonly { readonly unit: TimeUnit; readonly from: number; readonly to: number }[] = [
  { unit: 's', from: 0.001, to: 0.25 },
  { unit: 'ms', from: 1, to: 250 },
  { unit: 'us', from: 1e3, to: 250e3 },
  { unit: 'ns', from: 1e6, to: 250e6 },
]

/** The unit in which a clock of 4 Hz to 1 kHz counts like this; undefined where none does. */
export function guessTimeUnit(times: ArrayLike<number>): TimeUnit | undefined {
  const steps: number[] = []
  for (let i = 1; i < Math.min(times.length, 2001); i++) {
    const step = times[i]! - times[i - 1]!
    if (step > 0) steps.push(step)
  }
  steps.sort((a, b) => a - b)
  const median = steps[steps.length >> 1]
  if (median === undefined) return undefined
  // A hair of slack: 0.1 + 0.2 is not 0.3.
  return STEPS.find(({ from, to }) => median >= from * (1 - 1e-6) && median <= to * (1 + 1e-6))?.unit
}

export const secondsOf = (value: number, unit: TimeUnit): number => value / TIME_UNITS[unit]

/** Windows as another person, device or pocket might have given them; and what is no activity at all. */

import { normalSource, randomSource } from '../../../core/random.js'
import { type HarWindow, labelShares, SAMPLE_RATE_HZ, WINDOW_SAMPLES } from './recordings.js'

export interface MotionGrid {
  readonly sampleRateHz: number
  readonly samples: number
}

/** Randomness of one kind each, from seeds. */
export interface Chance {
  readonly uniform: () => number
  readonly normal: () => number
}

export const chanceOf = (seed: number): Chance => ({ uniform: randomSource(seed), normal: normalSource(seed + 1) })

type Matrix = readonly (readonly [number, number, number])[]

/** Rotations of the device: any, or a little beside how it was held. */
const ANY_ROTATION_SHARE = 0.5
const SLIGHT_ROTATION = 0.15
/** Slower or faster by up to this, and by as much again from one end of the window to the other. */
const STRETCH = 0.12
const SHIFT_SAMPLES = 15
/** Sensors differ in their gain. */
const GAIN = 0.08
const NOISE_M_S2 = 0.08
const NOISE_RAD_S = 0.03
/** Sensors of 10 to 25 Hz: only every so many samples are known. */
const COARSE_SHARE = 0.15
const COARSE_STEPS = [4, 10] as const

export interface MotionSample {
  /** [6, N] */
  readonly motion: Float32Array
  /** How much of the window each activity is. [K] */
  readonly shares: readonly number[]
}

/** The middle of the window at the rate of the grid, as it was measured. */
export const plainSample = (window: HarWindow, grid: MotionGrid): MotionSample => ({
  motion: resampled(window, grid, (n) => window.start + n),
  shares: labelShares(window.recording.labels.subarray(window.start, window.start + WINDOW_SAMPLES)),
})

/** The same, with the device held in any other way. */
export function turnedSample(window: HarWindow, grid: MotionGrid, chance: Chance): MotionSample {
  const sample = plainSample(window, grid)
  rotate(sample.motion, anyRotation(chance))
  return sample
}

export function augmentedSample(window: HarWindow, grid: MotionGrid, chance: Chance): MotionSample {
  const { recording } = window
  const spread = (most: number) => (2 * chance.uniform() - 1) * most
  const middle = window.start + WINDOW_SAMPLES / 2 + spread(SHIFT_SAMPLES)
  const [stretch, bend] = [1 + spread(STRETCH), spread(STRETCH)]
  const half = WINDOW_SAMPLES / 2
  const place = (n: number) => {
    const x = n - half
    return middle + stretch * x * (1 + (bend * x) / half)
  }
  const coarse = chance.uniform() < COARSE_SHARE ? between(COARSE_STEPS, chance) : 1
  const motion = resampled(window, grid, place, coarse)
  rotate(motion, chance.uniform() < ANY_ROTATION_SHARE ? anyRotation(chance) : slightRotation(chance))
  const n = grid.samples
  for (const [sensor, noise] of [NOISE_M_S2, NOISE_RAD_S].entries()) {
    const gain = 1 + spread(GAIN)
    const loud = noise * chance.uniform()
    for (let i = sensor * 3 * n; i < (sensor + 1) * 3 * n; i++) motion[i] = motion[i]! * gain + loud * chance.normal()
  }
  const last = recording.labels.length
  const [from, to] = [place(0), place(WINDOW_SAMPLES)].map((at) => Math.min(Math.max(Math.round(at), 0), last))
  return { motion, shares: labelShares(recording.labels.subarray(from, Math.max(to!, from! + 1))) }
}

/**
 * A device that nobody carries, or that is played with: lying still, knocked once, shaken, noise. As likely any activity as another.
 */
export function strangeSample(activities: number, grid: MotionGrid, chance: Chance): MotionSample {
  const n = grid.samples
  const motion = new Float32Array(6 * n)
  const kind = Math.floor(chance.uniform() * 4)
  // Below what a person at rest does: 0.02 m/s² and 0.003 rad/s.
  const [still, calm] = [0.015 * chance.uniform(), 0.002 * chance.uniform()]
  const hertz = 5 + 15 * chance.uniform()
  const strong = 5 + 25 * chance.uniform()
  const knock = Math.floor(chance.uniform() * n)
  for (let c = 0; c < 6; c++) {
    const size = c < 3 ? 1 : 0.3
    const [phase, part] = [2 * Math.PI * chance.uniform(), chance.normal()]
    for (let i = 0; i < n; i++) {
      const noise = (c < 3 ? still : calm) * chance.normal()
      const shake = part * strong * size * Math.sin((2 * Math.PI * hertz * i) / grid.sampleRateHz + phase)
      const blow = part * strong * size * Math.exp(-((i - knock) ** 2) / 2)
      motion[c * n + i] = [noise, noise + blow, shake, strong * size * chance.normal()][kind]! + (c === 2 ? 9.81 : 0)
    }
  }
  rotate(motion, anyRotation(chance))
  return { motion, shares: new Array<number>(activities).fill(1 / activities) }
}

/**
 * Straight lines between samples of the recording, at places that are counted in its samples.
 * @param step only every so many samples are known
 */
function resampled(
  { recording: { channels } }: HarWindow,
  { sampleRateHz, samples }: MotionGrid,
  place: (n: number) => number,
  step = 1,
): Float32Array {
  const out = new Float32Array(channels.length * samples)
  for (let i = 0; i < samples; i++) {
    const at = place((i * SAMPLE_RATE_HZ) / sampleRateHz) / step
    const left = Math.floor(at)
    for (const [c, channel] of channels.entries()) {
      const value = (k: number) => channel[Math.min(Math.max(k * step, 0), channel.length - 1)]!
      out[c * samples + i] = value(left) + (at - left) * (value(left + 1) - value(left))
    }
  }
  return out
}

const between = ([least, most]: readonly [number, number], { uniform }: Chance) =>
  least + Math.floor(uniform() * (most - least + 1))

/** Both sensors, in place. */
function rotate(motion: Float32Array, matrix: Matrix): void {
  const n = motion.length / 6
  for (const sensor of [0, 3])
    for (let i = 0; i < n; i++) {
      const [x, y, z] = [0, 1, 2].map((axis) => motion[(sensor + axis) * n + i]!) as [number, number, number]
      for (const [axis, [a, b, c]] of matrix.entries()) motion[(sensor + axis) * n + i] = a * x + b * y + c * z
    }
}

/** All alike: a unit quaternion of normal numbers. */
const anyRotation = ({ normal }: Chance): Matrix => fromQuaternion([normal(), normal(), normal(), normal()])

const slightRotation = ({ normal }: Chance): Matrix =>
  fromQuaternion([1, SLIGHT_ROTATION * normal(), SLIGHT_ROTATION * normal(), SLIGHT_ROTATION * normal()])

function fromQuaternion(q: readonly [number, number, number, number]): Matrix {
  const length = Math.hypot(...q)
  const [w, x, y, z] = q.map((part) => part / length) as [number, number, number, number]
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ]
}

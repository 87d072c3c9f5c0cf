/** Windows of sp-sw-har as requests take them. */

import { normalSource } from '../../dist/core/index.js'
import {
  harWindows,
  readHar,
  SAMPLE_RATE_HZ,
  TEST_SUBJECTS,
  WINDOW_SAMPLES,
} from '../../dist/train/lite/motion/recordings.js'

/** Whom nobody trained on: `test`; all others: `train`. */
export async function windowsOf(data) {
  const { recordings } = await readHar(data)
  const all = harWindows(recordings).map(({ recording, start, label }) => ({
    label,
    subject: recording.subject,
    device: recording.device,
    motion: { rows: rowsOf(recording, start, WINDOW_SAMPLES), sampleRateHz: SAMPLE_RATE_HZ },
    recording,
    start,
  }))
  const isTest = ({ subject }) => TEST_SUBJECTS.includes(subject)
  return { train: all.filter((window) => !isTest(window)), test: all.filter(isTest) }
}

const rowsOf = ({ channels }, start, count, step = 1) =>
  Array.from({ length: count }, (_, n) =>
    channels.map((channel) => channel[Math.min(start + n * step, channel.length - 1)]),
  )

/** The same windows from a device held in any other way, and from slower sensors. */
export function augmentations(seed) {
  const normal = normalSource(seed)
  return {
    'device turned at random': (window) => {
      const turn = rotation([normal(), normal(), normal(), normal()])
      const both = (row) => [0, 3].flatMap((first) => turn.map((axis) => dot(axis, row.slice(first, first + 3))))
      return { ...window, motion: { ...window.motion, rows: window.motion.rows.map(both) } }
    },
    '20 Hz': slower(5),
    '10 Hz': slower(10),
  }
}

/** Every so many samples, the one behind the window with them: it must be as long as it was. */
const slower = (step) => (window) => ({
  ...window,
  motion: {
    rows: rowsOf(window.recording, window.start, WINDOW_SAMPLES / step + 1, step),
    sampleRateHz: SAMPLE_RATE_HZ / step,
  },
})

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)

/** Of a quaternion of any length. */
function rotation(quaternion) {
  const length = Math.hypot(...quaternion)
  const [w, x, y, z] = quaternion.map((part) => part / length)
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ]
}

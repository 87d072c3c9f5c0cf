/** Whether a recording is of a raw accelerometer in m/s²: what lies still feels 9.8 of them. */

import { M4Error } from '../core/errors.js'
import type { MotionRecording } from './motion.js'

/** The median of any minute of life lies between, running too; that of readings in g, or with gravity taken off, does not. */
const LEAST_M_S2 = 5
const MOST_M_S2 = 30

/**
 * By the median over the first three channels.
 * @throws M4Error `MOTION_INVALID` for readings in g, and for those without gravity
 */
export function requireGravity({ channels: [x, y, z] }: MotionRecording): void {
  const lengths = Array.from(x!, (value, n) => Math.hypot(value, y![n]!, z![n]!)).sort((a, b) => a - b)
  const median = lengths[lengths.length >> 1]!
  if (median >= LEAST_M_S2 && median <= MOST_M_S2) return
  throw new M4Error(
    'MOTION_INVALID',
    `Motion: expected acceleration of about 9.8 m/s², got a median of ${median.toPrecision(3)}.`,
    {
      hint: 'Multiply readings in g by 9.80665; to readings without gravity add it again (userAcceleration + gravity).',
      details: { medianMS2: median },
    },
  )
}

/**
 * Band-limited resampling: windowed-sinc interpolation in polyphase form (J. O. Smith, "Digital Audio Resampling"), with the
 * defaults of torchaudio.functional.resample: `sinc_interp_hann`, lowpass_filter_width 6, rolloff 0.99.
 */

import { M4Error } from '../core/errors.js'

const ZERO_CROSSINGS = 6
const ROLLOFF = 0.99

/** Beyond it a rate is a mistake, and a filter would not fit in memory. */
const MAX_RATE_HZ = 1_000_000

/**
 * @param samples at `fromHz`. [N]
 * @returns samples at `toHz`, length ceil(N * toHz / fromHz); the same array when the rates are equal
 * @throws M4Error `AUDIO_INVALID` for a rate that is not a whole number of Hz between 1 and 1,000,000
 */
export function resample(samples: Float32Array, fromHz: number, toHz: number): Float32Array {
  for (const rate of [fromHz, toHz])
    if (!Number.isInteger(rate) || rate < 1 || rate > MAX_RATE_HZ)
      throw new M4Error('AUDIO_INVALID', `A sample rate is a whole number from 1 to ${MAX_RATE_HZ} Hz, got ${rate}.`, {
        hint: 'Check where the sound comes from.',
      })
  if (fromHz === toHz) return samples
  const divisor = greatestCommonDivisor(fromHz, toHz)
  const from = fromHz / divisor
  const to = toHz / divisor
  const out = new Float32Array(Math.ceil((samples.length * to) / from))
  for (let phase = 0; phase < Math.min(to, out.length); phase++) {
    const { first, taps } = phaseFilter(phase, from, to)
    for (let i = phase, at = first; i < out.length; i += to, at += from) {
      const begin = Math.max(0, -at)
      const end = Math.min(taps.length, samples.length - at)
      let sum = 0
      for (let k = begin; k < end; k++) sum += samples[at + k]! * taps[k]!
      out[i] = sum
    }
  }
  return out
}

/** Taps of one output phase, and the input index that the first of them meets for the first output of that phase. */
function phaseFilter(phase: number, from: number, to: number): { first: number; taps: Float32Array } {
  const cutoff = Math.min(from, to) * ROLLOFF
  const centre = (phase * from) / to // in input samples
  const reach = (ZERO_CROSSINGS * from) / cutoff
  const first = Math.ceil(centre - reach)
  const last = Math.floor(centre + reach)
  // torchaudio works the whole filter out in float32: its rounding is 20 times that of the sums, and shows in quiet mel bands.
  const f = Math.fround
  const taps = Float32Array.from({ length: last - first + 1 }, (_, k) => {
    const t = f(f(f(-phase / to) + f((first + k) / from)) * f(cutoff))
    const window = f(Math.cos(f(f(f(t * f(Math.PI)) / ZERO_CROSSINGS) / 2)))
    const angle = f(t * f(Math.PI))
    const sinc = angle === 0 ? 1 : f(f(Math.sin(angle)) / angle)
    return f(f(sinc * f(window * window)) * f(cutoff / from))
  })
  return { first, taps }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

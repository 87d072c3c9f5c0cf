/**
 * Mel cepstral distortion of two recordings: 13 MFCCs a frame (log mel, 80 bands, 50 ms Hann windows every 12.5 ms), frames aligned
 * by dynamic time warping, root mean square distance.
 *
 * @paper arXiv:2011.03568 (definition) · @reference facebookresearch/fairseq@3d262bb examples/speech_synthesis/utils.py
 */

import { M4Error } from '../../core/errors.js'

const BANDS = 80
const COEFFICIENTS = 13
const LOWEST_HZ = 20

export interface MelCepstralDistortion {
  /** Sum of the distances along the cheapest path. */
  readonly cumulative: number
  readonly pathLength: number
  /** The sum over the path's length, over the frames of the first recording, of the second. */
  readonly perStep: number
  readonly perFirst: number
  readonly perSecond: number
}

/** @param sampleRateHz of both. @throws M4Error `EMPTY_INPUT` for a recording shorter than half a window (25 ms) */
export function melCepstralDistortion(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  sampleRateHz: number,
): MelCepstralDistortion {
  const [first, second] = [mfcc(a, sampleRateHz), mfcc(b, sampleRateHz)]
  const { cumulative, pathLength } = warp(first, second)
  return {
    cumulative,
    pathLength,
    perStep: cumulative / pathLength,
    perFirst: cumulative / first.length,
    perSecond: cumulative / second.length,
  }
}

/** [frames][13] */
function mfcc(samples: ArrayLike<number>, sampleRateHz: number): Float64Array[] {
  const size = Math.trunc(0.05 * sampleRateHz)
  const hop = Math.trunc(0.0125 * sampleRateHz)
  const half = Math.floor(size / 2)
  if (samples.length <= half)
    throw new M4Error('EMPTY_INPUT', `Expected more than ${half} samples (25 ms), got ${samples.length}.`)
  const bins = half + 1
  const bank = melBank(bins, sampleRateHz)
  const window = Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size))
  const cos = Float64Array.from({ length: size }, (_, n) => Math.cos((2 * Math.PI * n) / size))
  const sin = Float64Array.from({ length: size }, (_, n) => Math.sin((2 * Math.PI * n) / size))
  const frame = new Float64Array(size)
  const power = new Float64Array(bins)
  return Array.from({ length: 1 + Math.floor((samples.length + 2 * half - size) / hop) }, (_, t) => {
    for (let n = 0; n < size; n++) frame[n] = window[n]! * samples[mirrored(t * hop + n - half, samples.length)]!
    for (let k = 0; k < bins; k++) {
      let [re, im] = [0, 0]
      for (let n = 0, phase = 0; n < size; n++, phase += k) {
        if (phase >= size) phase -= size
        re += frame[n]! * cos[phase]!
        im -= frame[n]! * sin[phase]!
      }
      power[k] = re * re + im * im
    }
    const logs = bank.map((band) => Math.log(band.reduce((sum, weight, k) => sum + weight * power[k]!, 0) + 1e-6))
    return Float64Array.from({ length: COEFFICIENTS }, (__, k) => {
      const sum = logs.reduce((total, log, n) => total + log * Math.cos((Math.PI / BANDS) * (n + 0.5) * k), 0)
      return sum * Math.sqrt((k === 0 ? 1 : 2) / BANDS)
    })
  })
}

/** Reflected at both ends without repeating the end itself. */
const mirrored = (index: number, length: number) => {
  const positive = Math.abs(index)
  return positive < length ? positive : 2 * (length - 1) - positive
}

/** Triangles between points equally far on the mel scale (2595 log10(1 + f/700)), [80][bins]. */
function melBank(bins: number, sampleRateHz: number): Float64Array[] {
  const top = Math.floor(sampleRateHz / 2)
  const mel = (hz: number) => 2595 * Math.log10(1 + hz / 700)
  const points = Array.from({ length: BANDS + 2 }, (_, i) => {
    const at = mel(LOWEST_HZ) + (i * (mel(top) - mel(LOWEST_HZ))) / (BANDS + 1)
    return 700 * (10 ** (at / 2595) - 1)
  })
  return Array.from({ length: BANDS }, (_, band) => {
    const [low, middle, high] = points.slice(band) as [number, number, number]
    return Float64Array.from({ length: bins }, (__, k) => {
      const hz = (k * top) / (bins - 1)
      return Math.max(0, Math.min((hz - low) / (middle - low), (high - hz) / (high - middle)))
    })
  })
}

/** The cheapest way through both recordings, one frame forward in either or both at each step. */
function warp(a: readonly Float64Array[], b: readonly Float64Array[]): { cumulative: number; pathLength: number } {
  const columns = b.length
  const sums = new Float64Array(a.length * columns)
  const lengths = new Uint32Array(a.length * columns)
  for (const [i, x] of a.entries())
    for (const [j, y] of b.entries()) {
      const before = [
        ...(i > 0 && j > 0 ? [(i - 1) * columns + j - 1] : []),
        ...(i > 0 ? [(i - 1) * columns + j] : []),
        ...(j > 0 ? [i * columns + j - 1] : []),
      ]
      const at = i * columns + j
      sums[at] = distance(x, y)
      lengths[at] = 1
      if (!before.length) continue
      const best = before.reduce((least, each) => (sums[each]! < sums[least]! ? each : least))
      sums[at]! += sums[best]!
      lengths[at]! += lengths[best]!
    }
  return { cumulative: sums.at(-1)!, pathLength: lengths.at(-1)! }
}

function distance(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (const [k, value] of x.entries()) sum += (value - y[k]!) ** 2
  return Math.sqrt(sum / x.length)
}

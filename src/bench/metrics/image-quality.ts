/**
 * Likeness of two pictures: mean differences, peak signal-to-noise ratio, structural similarity.
 *
 * @paper Wang et al. 2004, IEEE TIP 13(4) · @reference scikit-image 0.19.3 skimage.metrics
 */

import { M4Error } from '../../core/errors.js'
import { mean } from './words.js'

/** Samples [height, width, channels], row-major. */
export interface Picture {
  readonly height: number
  readonly width: number
  readonly channels: number
  readonly data: ArrayLike<number>
}

export function meanSquareError(a: Picture, b: Picture): number {
  return meanDifference(a, b, (difference) => difference * difference)
}

/** Mean of |a - b|. */
export function meanAbsoluteDifference(a: Picture, b: Picture): number {
  return meanDifference(a, b, Math.abs)
}

/** Decibels; infinite for equal pictures. */
export function peakSignalToNoise(a: Picture, b: Picture, range = 255): number {
  return 10 * Math.log10(range ** 2 / meanSquareError(a, b))
}

export interface SsimOptions {
  /**
   * `uniform`: 7 by 7 means with sample covariance, scikit-image's default. `gaussian`: 11 by 11 with σ 1.5 and population
   * covariance, as the paper.
   */
  readonly window?: keyof typeof WINDOWS
  /** Largest sample minus smallest possible one. Default 255. */
  readonly range?: number
}

const WINDOWS = {
  uniform: { weights: new Array<number>(7).fill(1 / 7), covariance: 49 / 48 },
  gaussian: { weights: gaussian(5, 1.5), covariance: 1 },
} as const

/** Mean over all windows that lie inside the picture, and over channels. -1 to 1. @throws M4Error `SHAPE_MISMATCH` */
export function structuralSimilarity(a: Picture, b: Picture, options: SsimOptions = {}): number {
  sameSize(a, b)
  const { window = 'uniform', range = 255 } = options
  const { weights, covariance } = WINDOWS[window]
  if (a.height < weights.length || a.width < weights.length)
    throw new M4Error('SHAPE_MISMATCH', `A picture of ${a.width}x${a.height} has no ${weights.length}-pixel window.`)
  const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2]
  const channels = Array.from({ length: a.channels }, (_, channel) => {
    const [x, y] = [plane(a, channel), plane(b, channel)]
    const smooth = (of: (i: number) => number) =>
      filter(
        x.map((__, i) => of(i)),
        a,
        weights,
      )
    const [ux, uy] = [smooth((i) => x[i]!), smooth((i) => y[i]!)]
    const xx = smooth((i) => x[i]! * x[i]!)
    const yy = smooth((i) => y[i]! * y[i]!)
    const xy = smooth((i) => x[i]! * y[i]!)
    let sum = 0
    for (const [i, u] of ux.entries()) {
      const v = uy[i]!
      const [vx, vy, vxy] = [xx[i]! - u * u, yy[i]! - v * v, xy[i]! - u * v].map((value) => value * covariance) as [
        number,
        number,
        number,
      ]
      sum += ((2 * u * v + c1) * (2 * vxy + c2)) / ((u * u + v * v + c1) * (vx + vy + c2))
    }
    return sum / ux.length
  })
  return mean(channels)
}

/** One channel of a picture as a picture. */
export function channelOf(picture: Picture, channel: number): Picture {
  return { ...picture, channels: 1, data: plane(picture, channel) }
}

function plane({ height, width, channels, data }: Picture, channel: number): Float64Array {
  return Float64Array.from({ length: height * width }, (_, i) => data[i * channels + channel]!)
}

/** Weighted means of the windows that lie inside, along rows and then columns. */
function filter(
  values: Float64Array,
  { height, width }: { height: number; width: number },
  weights: readonly number[],
): Float64Array {
  const columns = width - weights.length + 1
  const rows = height - weights.length + 1
  const across = new Float64Array(height * columns)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < columns; x++)
      for (const [k, weight] of weights.entries()) across[y * columns + x]! += weight * values[y * width + x + k]!
  const out = new Float64Array(rows * columns)
  for (let y = 0; y < rows; y++)
    for (const [k, weight] of weights.entries())
      for (let x = 0; x < columns; x++) out[y * columns + x]! += weight * across[(y + k) * columns + x]!
  return out
}

function gaussian(radius: number, sigma: number): number[] {
  const weights = Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)))
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}

function meanDifference(a: Picture, b: Picture, of: (difference: number) => number): number {
  sameSize(a, b)
  let sum = 0
  for (let i = 0; i < a.data.length; i++) sum += of(a.data[i]! - b.data[i]!)
  return sum / a.data.length
}

function sameSize(a: Picture, b: Picture): void {
  const size = ({ height, width, channels }: Picture) => `${width}x${height}x${channels}`
  if (size(a) !== size(b))
    throw new M4Error('SHAPE_MISMATCH', `Expected two pictures of one size, got ${size(a)} and ${size(b)}.`, {
      hint: 'Scale one of them first.',
    })
}

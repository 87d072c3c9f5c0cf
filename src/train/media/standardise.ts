/**
 * Features with mean 0 and deviation 1 in every dimension. Unit vectors of one encoder lie in a narrow cone: what tells classes apart
 * is far smaller than what they share, and gradient descent would be slow there. The first layer takes the scaling in when training
 * is over, so a device computes nothing more:  W·((x − μ)/σ) + b = (W/σ)·x + (b − W·μ/σ).
 */

import type { FeatureCache } from '../encoders/features.js'

export interface Scaling {
  readonly mean: Float64Array // [C]
  /** 1/σ; 0 for a dimension that is the same in all items. [C] */
  readonly inverse: Float64Array
}

/** Deviations below this share of the largest are rounding, not signal. */
const SMALLEST_SHARE = 1e-5

/** Over all items, and all patches of them. */
export function scalingOf({ dims, data }: Pick<FeatureCache, 'dims' | 'data'>): Scaling {
  const width = dims.at(-1)!
  const count = data.length / width
  const mean = new Float64Array(width)
  const squares = new Float64Array(width)
  for (let i = 0; i < count; i++) for (let c = 0; c < width; c++) mean[c]! += data[i * width + c]! / count
  for (let i = 0; i < count; i++)
    for (let c = 0; c < width; c++) squares[c]! += (data[i * width + c]! - mean[c]!) ** 2 / count
  const deviations = squares.map(Math.sqrt)
  const least = SMALLEST_SHARE * deviations.reduce((most, each) => Math.max(most, each), 0)
  return { mean, inverse: deviations.map((deviation) => (deviation > least ? 1 / deviation : 0)) }
}

/** Only what lies within the spans is read: all else has the weight 0. */
export function within(
  { mean, inverse }: Scaling,
  spans: readonly { readonly start: number; readonly end: number }[],
): Scaling {
  const isRead = (c: number) => spans.some(({ start, end }) => start <= c && c < end)
  return { mean, inverse: inverse.map((factor, c) => (isRead(c) ? factor : 0)) }
}

export function scaled({ count, dims, data }: FeatureCache, { mean, inverse }: Scaling): FeatureCache {
  const width = dims.at(-1)!
  const out = new Float32Array(data.length)
  for (let i = 0; i < out.length; i++) out[i] = (data[i]! - mean[i % width]!) * inverse[i % width]!
  return { count, dims, data: out }
}

/** A layer over scaled features → the same over features as they come. weight [out, C], bias [out]; without a bias it begins at 0. */
export function foldScaling(
  weight: Float32Array,
  bias: Float32Array | undefined,
  { mean, inverse }: Scaling,
): { readonly weight: Float32Array; readonly bias: Float32Array } {
  const width = mean.length
  const out = weight.length / width
  const folded = new Float32Array(weight.length)
  const shifted = new Float32Array(out)
  for (let o = 0; o < out; o++) {
    let shift = 0
    for (let c = 0; c < width; c++) {
      folded[o * width + c] = weight[o * width + c]! * inverse[c]!
      // Of the rounded weight: what is added must fit what is multiplied.
      shift += folded[o * width + c]! * mean[c]!
    }
    shifted[o] = (bias?.[o] ?? 0) - shift
  }
  return { weight: folded, bias: shifted }
}

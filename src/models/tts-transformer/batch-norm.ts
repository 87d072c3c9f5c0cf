/** Batch norm as it is when nothing is trained: a scale and a shift of each channel, folded into the convolution before it. */

import { need } from '../transformer.js'
import type { Rows, WeightTensor } from '../weights.js'

/** PyTorch's default, which fairseq keeps. */
const EPSILON = 1e-5

const PART = /\/(gamma|beta|mean|variance)$/

export const isBatchNorm = (name: string): boolean => PART.test(name)

/**
 * y = γ (conv(x) + b - μ) / √(σ² + ε) + β as one convolution: every tensor `p` [out, in, k] that has `p/gamma`, `/beta`, `/mean` and
 * `/variance` beside `p/bias` takes them in; the rest stays.
 * @throws M4Error `TENSOR_MISSING` when one of the five is not there
 */
export function foldBatchNorm(weights: ReadonlyMap<string, WeightTensor>): Map<string, WeightTensor> {
  const folded = new Map<string, WeightTensor>()
  for (const [name, tensor] of weights) if (!isBatchNorm(name)) folded.set(name, tensor)
  for (const name of weights.keys()) {
    if (!name.endsWith('/gamma')) continue
    const path = name.slice(0, -'/gamma'.length)
    const part = (ending: string) => need(weights, `${path}/${ending}`)
    const [filters, bias] = [need(weights, path), part('bias')]
    const scales = () => {
      const variance = part('variance').float32()
      return part('gamma')
        .float32()
        .map((gamma, i) => gamma / Math.sqrt(variance[i]! + EPSILON))
    }
    folded.set(path, { name: filters.name, dims: filters.dims, float32: (rows) => scaled(filters, scales(), rows) })
    const shift = () => {
      const [b, mean, beta] = [bias, part('mean'), part('beta')].map((tensor) => tensor.float32())
      return scales().map((scale, i) => (b![i]! - mean![i]!) * scale + beta![i]!)
    }
    folded.set(`${path}/bias`, {
      name: bias.name,
      dims: bias.dims,
      float32: (rows) => shift().slice(rows?.from, rows?.to),
    })
  }
  return folded
}

/** Rows of filters, each times its scale. */
function scaled(
  filters: WeightTensor,
  scales: Float32Array,
  rows: Rows = { from: 0, to: scales.length },
): Float32Array {
  const out = filters.float32(rows).slice()
  const perRow = out.length / (rows.to - rows.from)
  for (let i = 0; i < out.length; i++) out[i]! *= scales[rows.from + Math.floor(i / perRow)]!
  return out
}

/** From Keras tensors to convolutions as the engine takes them: [out, in, k, k], batch norm folded in. */

import { transpose } from './linear.js'
import { need } from './transformer.js'
import type { Rows, WeightTensor } from './weights.js'

/** One convolution and its batch norm. */
export interface ResnetConv {
  readonly ours: string
  /** Their names. */
  readonly conv: string
  readonly norm: string
  readonly kernel: number
  readonly in: number
  readonly out: number
  /** Trained on blue, green, red, where our pixels are red, green, blue. */
  readonly reversed?: boolean
}

/**
 * y = γ (conv(x) + b - μ) / √(σ² + ε) + β as one convolution.
 * @param raw under our names: `<conv>` [k, k, in, out], `/bias`, `/gamma`, `/beta`, `/moving_mean`, `/moving_variance`; `head` [C, classes]
 */
export function foldResnet(
  convs: readonly ResnetConv[],
  epsilon: number,
  raw: ReadonlyMap<string, WeightTensor>,
): Map<string, WeightTensor> {
  const out = new Map<string, WeightTensor>()
  for (const conv of convs) {
    const part = (name: string) => need(raw, `${conv.ours}/${name}`)
    const scales = () => {
      const [gamma, variance] = [part('gamma').float32(), part('moving_variance').float32()]
      return gamma.map((value, i) => value / Math.sqrt(variance[i]! + epsilon))
    }
    out.set(conv.ours, folded(conv, need(raw, conv.ours), scales))
    out.set(
      `${conv.ours}/bias`,
      whole(part('bias').name, [conv.out], () => {
        const [scale, bias] = [scales(), part('bias').float32()]
        const [mean, beta] = [part('moving_mean').float32(), part('beta').float32()]
        return scale.map((value, i) => (bias[i]! - mean[i]!) * value + beta[i]!)
      }),
    )
  }
  const head = need(raw, 'head')
  const [features, classes] = head.dims as [number, number]
  out.set(
    'head',
    whole(head.name, [classes, features], () => transpose(head.float32(), features, classes)),
  )
  out.set('head/bias', need(raw, 'head/bias'))
  return out
}

function folded({ kernel, in: inner, out, reversed }: ResnetConv, tensor: WeightTensor, scales: () => Float32Array) {
  return whole(tensor.name, [out, inner, kernel, kernel], () => {
    const [source, scale] = [tensor.float32(), scales()] // [k, k, in, out]
    const result = new Float32Array(source.length)
    const places = kernel * kernel
    for (let place = 0; place < places; place++)
      for (let i = 0; i < inner; i++) {
        const from = (place * inner + (reversed ? inner - 1 - i : i)) * out
        for (let o = 0; o < out; o++) result[(o * inner + i) * places + place] = source[from + o]! * scale[o]!
      }
    return result
  })
}

/** A tensor that is made as a whole, whatever rows are asked for. */
function whole(name: string, dims: readonly number[], make: () => Float32Array): WeightTensor {
  const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
  return {
    name,
    dims,
    float32: (rows?: Rows) => (rows ? make().slice(rows.from * perRow, rows.to * perRow) : make()),
  }
}

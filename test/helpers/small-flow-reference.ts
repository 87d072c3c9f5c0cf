/** The velocity of one picture in loops over numbers: DiT's equations (arXiv:2212.09748 §3.2) written out once more. */

import type { SmallFlowConfig, WeightTensor } from '../../src/models/index.js'

type Row = number[]

export function velocityReference(
  config: SmallFlowConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  input: {
    readonly picture: Float32Array
    readonly rest: number
    readonly waves: Float32Array
    readonly joint: Float32Array
  },
): Row {
  const { channels, size, patch, width, heads, layers } = config
  const side = size / patch
  const linear = (name: string, x: readonly number[]): Row => {
    const [matrix, bias] = [weights.get(name)!.float32(), weights.get(`${name}/bias`)!.float32()]
    return Array.from(bias, (start, o) => x.reduce((sum, value, i) => sum + value * matrix[o * x.length + i]!, start))
  }
  const gate = (x: number, alpha: number) => x / (1 + Math.exp(-alpha * x))
  const through = (name: string, x: readonly number[]) =>
    linear(
      `${name}/fc2`,
      linear(`${name}/fc1`, x).map((value) => gate(value, 1)),
    )
  const plus = (a: readonly number[], b: readonly number[]): Row => a.map((value, i) => value + b[i]!)
  const told = Array.from(input.joint, (value) => value * Math.sqrt(input.joint.length))
  const condition = plus(through('time', [...input.waves]), through('joint', told)).map((value) => gate(value, 1))
  const parts = (name: string) => {
    const all = linear(`${name}/modulate`, condition)
    return Array.from({ length: all.length / width }, (_, i) => all.slice(i * width, (i + 1) * width))
  }
  const modulated = (x: readonly number[], shift: readonly number[], scale: readonly number[]): Row => {
    const mean = x.reduce((a, b) => a + b) / width
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width
    return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * (1 + scale[i]!) + shift[i]!)
  }
  const gated = (x: readonly number[], more: readonly number[], by: readonly number[]): Row =>
    x.map((value, i) => value + by[i]! * more[i]!)

  /** Where dot `i` of patch `p` lies in the picture. */
  const place = (p: number, i: number) => {
    const [z, y, x] = [Math.floor(i / patch ** 2), Math.floor(i / patch) % patch, i % patch]
    return (z * size + Math.floor(p / side) * patch + y) * size + (p % side) * patch + x
  }
  const dots = Array.from({ length: channels * patch ** 2 }, (_, i) => i)
  const positions = weights.get('positions')!.float32()
  let x = Array.from({ length: side ** 2 }, (_, p) => {
    const cut = dots.map((i) => input.picture[place(p, i)]!)
    return plus(linear('patches/in', cut), [...positions.subarray(p * width, (p + 1) * width)])
  })
  for (let l = 0; l < layers; l++) {
    const path = `layers.${l}`
    const [shift1, scale1, gate1, shift2, scale2, gate2] = parts(path) as [Row, Row, Row, Row, Row, Row]
    const read = x.map((row) => modulated(row, shift1, scale1))
    const [q, k, v] = ['q', 'k', 'v'].map((part) => read.map((row) => linear(`${path}/attn/${part}`, row)))
    const mixed = q!.map((query) => attend(query, k!, v!, heads))
    const attended = x.map((row, p) => gated(row, linear(`${path}/attn/o`, mixed[p]!), gate1))
    x = attended.map((row) => {
      const wide = linear(`${path}/mlp/fc1`, modulated(row, shift2, scale2)).map((value) => gate(value, 1.702))
      return gated(row, linear(`${path}/mlp/fc2`, wide), gate2)
    })
  }
  const [shift, scale] = parts('out') as [Row, Row]
  const out: Row = new Array(channels * size ** 2)
  for (const [p, row] of x.entries())
    linear('patches/out', modulated(row, shift, scale)).forEach((value, i) => {
      out[place(p, i)] = (value - input.picture[place(p, i)]!) / input.rest
    })
  return out
}

/** One row of multi-head attention over all tokens. */
function attend(query: Row, keys: readonly Row[], values: readonly Row[], heads: number): Row {
  const headWidth = query.length / heads
  return query.map((_, at) => {
    const from = Math.floor(at / headWidth) * headWidth
    const scores = keys.map((key) => {
      let sum = 0
      for (let i = from; i < from + headWidth; i++) sum += query[i]! * key[i]!
      return Math.exp(sum / Math.sqrt(headWidth))
    })
    const total = scores.reduce((a, b) => a + b)
    return scores.reduce((sum, score, t) => sum + (score / total) * values[t]![at]!, 0)
  })
}

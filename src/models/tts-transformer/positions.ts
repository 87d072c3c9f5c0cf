/**
 * fairseq's sinusoidal positions: sines, then cosines, frequencies 10000^(-i / (half - 1)). Its first symbol stands at place 2, for
 * places are counted from behind the id of padding, 1. Rounded to float32 where the reference rounds.
 *
 * @reference facebookresearch/fairseq@0491f26:fairseq/modules/sinusoidal_positional_embedding.py
 */

import type { WeightTensor } from '../weights.js'

const { fround } = Math

const FIRST_PLACE = 2

/**
 * Rows for the first `count` symbols or steps, each times the learnt scale. [count, width]; an odd width ends with zeros.
 * @param scale [1]
 */
export function positionTable(count: number, width: number, scale: WeightTensor): WeightTensor {
  const half = Math.floor(width / 2)
  const step = fround(-Math.log(10_000) / (half - 1))
  const make = () => {
    const [alpha] = scale.float32() as unknown as [number]
    const out = new Float32Array(count * width)
    for (let i = 0; i < half; i++) {
      const frequency = fround(Math.exp(fround(i * step)))
      for (let place = 0; place < count; place++) {
        const angle = fround((place + FIRST_PLACE) * frequency)
        out[place * width + i] = alpha * fround(Math.sin(angle))
        out[place * width + half + i] = alpha * fround(Math.cos(angle))
      }
    }
    return out
  }
  return {
    name: 'positions',
    dims: [count, width],
    float32: (rows) => make().slice((rows?.from ?? 0) * width, (rows?.to ?? count) * width),
  }
}

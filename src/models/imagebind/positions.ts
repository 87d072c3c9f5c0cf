/**
 * Positions for pictures of another size than the trained one: torch's bicubic interpolation (a = -0.75, corners not aligned,
 * borders repeated), as ImageBind does it. A weight like any other: it is computed when the graph is written.
 *
 * @reference facebookresearch/ImageBind@53680b0 imagebind/models/multimodal_preprocessors.py `interpolate_pos_encoding_2d`
 */

import { M4Error } from '../../core/errors.js'
import type { WeightTensor } from '../weights.js'
import { type ImageBindConfig, patchCount } from './config.js'

const A = -0.75

/** Weights of the four neighbours of a point `t` past the second of them. */
export function cubicWeights(t: number): readonly [number, number, number, number] {
  const near = (x: number) => ((A + 2) * x - (A + 3)) * x * x + 1
  const far = (x: number) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
  return [far(t + 1), near(t), near(1 - t), far(2 - t)]
}

/**
 * The table [1, 1+P, C] as it is where the number of patches is the trained one, else [1, 1+P', C].
 * @throws M4Error `SHAPE_MISMATCH` where either is no square
 */
export function interpolatePositions(config: ImageBindConfig, table: WeightTensor): WeightTensor {
  const { stem, positions, width } = config
  const target = patchCount(config)
  const trained = positions - 1
  if (stem.kind !== 'patches' || target === trained) return table
  const [from, to] = [Math.sqrt(trained), Math.sqrt(target)]
  if (!Number.isInteger(from) || !Number.isInteger(to) || stem.height !== stem.width)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `imagebind-${config.modality}: positions of ${trained} patches cannot become those of ${stem.height}x${stem.width}.`,
      { hint: 'Give square pictures whose side is a multiple of the patch.' },
    )
  const axis = Array.from({ length: to }, (_, i) => {
    const at = ((i + 0.5) * from) / to - 0.5
    const base = Math.floor(at)
    const weights = cubicWeights(at - base)
    return weights.map((weight, k) => ({ weight, at: Math.min(Math.max(base - 1 + k, 0), from - 1) }))
  })
  return {
    name: table.name,
    dims: [1, target + 1, width],
    float32: () => {
      const data = table.float32()
      const out = new Float32Array((target + 1) * width)
      out.set(data.subarray(0, width)) // the class token's
      for (let y = 0; y < to; y++)
        for (let x = 0; x < to; x++)
          for (let c = 0; c < width; c++) {
            let sum = 0
            for (const row of axis[y]!)
              for (const column of axis[x]!)
                sum += row.weight * column.weight * data[(1 + row.at * from + column.at) * width + c]!
            out[(1 + y * to + x) * width + c] = sum
          }
      return out
    },
  }
}

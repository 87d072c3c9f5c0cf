/** Tensors of a task head: `head.safetensors` of a package, F32 or F16 as the trainer writes them. */

import { memorySource, openSafetensors } from '../checkpoint/index.js'
import { M4Error } from '../core/errors.js'

export interface HeadTensor {
  readonly dims: readonly number[]
  readonly data: Float32Array
}

const FLOATS: ReadonlySet<string> = new Set(['F32', 'F16'])

/**
 * Tensors of a safetensors file in memory, as float32; nothing of `bytes` is kept.
 * @param name what messages call the file
 * @throws M4Error `FORMAT_INVALID` naming what is wrong, `FORMAT_UNSUPPORTED` for other dtypes than F32 and F16
 */
export function readHeadTensors(bytes: Uint8Array, name: string): Map<string, HeadTensor> {
  using file = openSafetensors(memorySource(bytes, name))
  return new Map(
    [...file.tensors.values()].map((tensor) => {
      if (!FLOATS.has(tensor.storage))
        throw new M4Error(
          'FORMAT_UNSUPPORTED',
          `${name}: "${tensor.name}" is ${tensor.storage}, expected F32 or F16.`,
          {
            hint: 'Store the head as float32.',
          },
        )
      return [tensor.name, { dims: tensor.dims, data: tensor.float32() }]
    }),
  )
}

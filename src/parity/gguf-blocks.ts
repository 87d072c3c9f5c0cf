/** Block types of GGUF: raw bytes → float32. Outputs are named `<type>_<variant>`, their bytes are the input of the same name. */

import { BLOCK_SHAPES, dequantiseBlocks, type GgufBlockType } from '../checkpoint/index.js'
import { elementCount } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Runner } from './types.js'

const TYPES = Object.keys(BLOCK_SHAPES) as GgufBlockType[]

export const runGgufBlocks: Runner = async ({ parityCase }) => {
  const tensors = new Map<string, HostTensor>()
  for (const { name, shape } of parityCase.outputs) {
    const type = TYPES.find((candidate) => name.startsWith(`${candidate}_`))
    if (!type) continue
    const bytes = parityCase.input(name).data as Uint8Array
    const { blockSize, blockBytes } = BLOCK_SHAPES[type]
    const count = elementCount(shape)
    if (bytes.length * blockSize !== count * blockBytes)
      throw new M4Error('FORMAT_INVALID', `${name}: ${bytes.length} bytes are not ${count} elements of ${type}.`)
    const out = new Float32Array(count)
    dequantiseBlocks(type, bytes, out)
    tensors.set(name, hostTensor('float32', shape, out))
  }
  return { tensors }
}

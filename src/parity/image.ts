/** Picture files → RGB. Each output is named after its file. */

import type { DataOf } from '../core/dtypes.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { decodeImage } from '../media/index.js'
import { readBytes } from './case.js'
import type { Runner } from './types.js'

export const runImage: Runner = async ({ parityCase }) => {
  const tensors = new Map<string, HostTensor>()
  for (const { name } of parityCase.outputs) {
    const { data, width, height } = await decodeImage(readBytes(parityCase.path(name)))
    tensors.set(name, hostTensor('uint8', [height, width, 3], data as DataOf<'uint8'>))
  }
  return { tensors }
}

/** What courses of heads share: memory of the encoder, tensors as they are stored, and what a package says of its base. */

import { type DataOf, toFloat32, toHalf } from '../core/dtypes.js'
import { hostTensor } from '../core/tensor.js'
import type { HeadTensors } from './media/subject.js'
import type { MemoryEstimate } from './memory.js'

/** For all lines of eval.jsonl; the head and the manifest get the rest. */
export const EVAL_BYTES = 5_000_000

export function withEncoder(head: MemoryEstimate, weightBytes: number, stateBytes: number): MemoryEstimate {
  return {
    ...head,
    weightBytes: head.weightBytes + weightBytes,
    stateBytes: head.stateBytes + stateBytes,
    totalBytes: head.totalBytes + weightBytes + stateBytes,
  }
}

/** Rounded as the package will hold them, so that what is measured is what is shipped. */
export function asStored(tensors: HeadTensors, dtype: 'float32' | 'float16'): HeadTensors {
  if (dtype === 'float32') return tensors
  return Object.fromEntries(
    Object.entries(tensors).map(([name, { dims, data }]) => {
      const rounded = toFloat32('float16', toHalf(data) as DataOf)
      return [name, hostTensor('float32', dims, rounded as typeof data)]
    }),
  )
}

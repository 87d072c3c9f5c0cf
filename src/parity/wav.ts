/** WAV files → samples. Each output is named after its file. */

import { type HostTensor, hostTensor } from '../core/tensor.js'
import { decodeWav } from '../media/index.js'
import { readBytes } from './case.js'
import type { Runner } from './types.js'

export const runWav: Runner = async ({ parityCase }) => {
  const tensors = new Map<string, HostTensor>()
  for (const { name } of parityCase.outputs) {
    const { samples } = decodeWav(readBytes(parityCase.path(name)))
    const length = samples[0]?.length ?? 0
    const out = new Float32Array(samples.length * length)
    for (const [channel, data] of samples.entries()) out.set(data, channel * length)
    tensors.set(name, hostTensor('float32', [samples.length, length], out)) // [channels, N]
  }
  return { tensors }
}

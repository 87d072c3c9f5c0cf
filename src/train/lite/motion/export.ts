/** A tower that was trained under our names, as a file that any reader of ImageBind's layout takes. */

import { DTYPES, toHalf } from '../../../core/dtypes.js'
import { type HostTensor, hostTensor } from '../../../core/tensor.js'
import { type ImageBindConfig, imagebindLayout, type WeightTensor } from '../../../models/index.js'

/** Stacked where ImageBind stacks (q | k | v), float16. */
export function imagebindTensors(
  { modality, layers }: ImageBindConfig,
  weights: ReadonlyMap<string, WeightTensor>,
): Record<string, HostTensor> {
  const parts = new Map<string, WeightTensor[]>()
  for (const [ours, source] of Object.entries(imagebindLayout(modality).names))
    for (let layer = 0; layer < (ours.includes('{}') ? layers : 1); layer++) {
      const named = (pattern: string) => pattern.replace('{}', String(layer))
      const theirs = named(typeof source === 'string' ? source : source.name)
      // The layout names the parts of a stack in their order.
      parts.set(theirs, [...(parts.get(theirs) ?? []), weights.get(named(ours))!])
    }
  return Object.fromEntries(
    [...parts].map(([name, stacked]) => {
      const [first] = stacked as [WeightTensor]
      const dims = stacked.length > 1 ? [stacked.length * first.dims[0]!, ...first.dims.slice(1)] : first.dims
      const data = Float32Array.from(stacked.flatMap((each) => [...each.float32()]))
      return [name, hostTensor('float16', dims, new DTYPES.float16.array(toHalf(data)))]
    }),
  )
}

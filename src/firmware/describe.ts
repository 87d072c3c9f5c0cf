/** Facts about graphs in the words of the manifest. */

import { formatDims } from '../core/dims.js'
import type { Graph, Value } from '../graph/index.js'
import type { AdapterSurface } from '../models/index.js'
import { type Abi, abiId } from './manifest.js'

/** `inputs_embeds float32 [B, T, 2048]` */
const describeValue = ({ name, dtype, dims }: Value) => `${name} ${dtype} ${formatDims(dims)}`

export function describeGraph(graph: Graph): { inputs: string[]; outputs: string[] } {
  return { inputs: graph.inputs.map(describeValue), outputs: graph.outputs.map(describeValue) }
}

export function abiOf(surface: AdapterSurface): Abi {
  return { id: abiId(surface), ...surface }
}

/** The ABI of an image without a backbone: nothing to attach to. */
export function emptyAbi(): Abi {
  return abiOf({ layers: 0, width: 0, vocabulary: 0, kvHeads: 0, headWidth: 0, sourceHeadWidth: 0, sites: {} })
}

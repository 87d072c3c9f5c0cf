/** Runs a training graph once, for cases that give losses and gradients. */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import type { Graph } from '../../graph/index.js'
import { openGraph } from '../graphs.js'

/** All outputs of `graph` for these inputs, copied to the host. */
export async function runOnce(
  engine: Engine,
  graph: Graph,
  feeds: ReadonlyMap<string, HostTensor>,
  signal?: AbortSignal,
): Promise<Map<string, HostTensor>> {
  using session = await openGraph(engine, graph, signal)
  const tensors = new Map(
    session.inputs.map(({ name }) => {
      const feed = feeds.get(name)
      if (!feed) throw new Error(`No value for the input ${name}.`)
      return [name, engine.tensor(feed.dtype, feed.dims, feed.data)]
    }),
  )
  const results = await session.run(Object.fromEntries(tensors), undefined, { signal })
  const out = new Map<string, HostTensor>()
  for (const [name, tensor] of Object.entries(results)) {
    out.set(name, hostTensor(tensor.dtype, tensor.dims, tensor.data.slice() as never))
    tensor.dispose()
  }
  for (const tensor of tensors.values()) tensor.dispose()
  return out
}

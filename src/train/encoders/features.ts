/**
 * The fast path where nothing inside an encoder is trained: its features are computed once for all items and kept in memory; epochs
 * then run the head alone.
 */

import { formatDims } from '../../core/dims.js'
import { allocate } from '../../core/dtypes.js'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Engine, Session } from '../../engine/types.js'
import { type Graph, GraphBuilder, inlineGraph } from '../../graph/index.js'
import { behind, ENCODER_PREFIX, type FeatureSource, withoutIdleLora } from './encoder.js'

/** The encoder up to its features: its own inputs → `features`. Adapter inputs are left out. */
export function featureGraph(source: FeatureSource): Graph {
  const graph = withoutIdleLora(source.graph)
  const g = new GraphBuilder(`${graph.name}.features`)
  const values = new Map(graph.inputs.map(({ name, dtype, dims }) => [name, g.input(name, dtype, dims)]))
  const found = inlineGraph(g, graph, { values, prefix: ENCODER_PREFIX, wanted: [source.value] }).get(source.value)!
  g.output('features', source.skipTokens ? behind(g, found, source.skipTokens) : found)
  return g.build({ dropIdle: true })
}

export interface FeatureCache {
  readonly count: number
  /** Of one item: [C], or [P, C]. */
  readonly dims: readonly number[]
  /** Items one after the other. */
  readonly data: Float32Array
}

export interface CacheOptions extends LongOperation {
  /** Items in all. */
  readonly count: number
  /** More is refused before the first batch is kept. Default 2 GiB. */
  readonly limitBytes?: number
}

const LIMIT_BYTES = 2 ** 31

/**
 * Runs every batch of inputs once. `session` is of `featureGraph`; batches have the items along axis 0, in order.
 * @throws M4Error `OUT_OF_MEMORY` over the limit, `SHAPE_MISMATCH` when batches do not hold `count` items, `ABORTED`
 */
export async function cacheFeatures(
  engine: Engine,
  session: Session,
  batches: AsyncIterable<Readonly<Record<string, HostTensor>>> | Iterable<Readonly<Record<string, HostTensor>>>,
  { count, limitBytes = LIMIT_BYTES, onProgress, signal }: CacheOptions,
): Promise<FeatureCache> {
  let cache: FeatureCache | undefined
  let done = 0
  for await (const batch of batches) {
    throwIfAborted(signal)
    const { dims, data } = await runBatch(engine, session, batch, signal)
    cache ??= emptyCache(count, dims.slice(1), limitBytes)
    const fits = dims.slice(1).join() === cache.dims.join() && done + dims[0]! <= count
    if (!fits) throw wrongBatch(cache, done, dims)
    cache.data.set(data, (done * data.length) / dims[0]!)
    done += dims[0]!
    onProgress?.({ task: 'features', done, total: count, unit: 'items' })
  }
  if (!cache || done !== count)
    throw new M4Error('SHAPE_MISMATCH', `Features: expected ${count} items, the batches held ${done}.`)
  return cache
}

async function runBatch(
  engine: Engine,
  session: Session,
  batch: Readonly<Record<string, HostTensor>>,
  signal: AbortSignal | undefined,
): Promise<{ readonly dims: readonly number[]; readonly data: Float32Array }> {
  const feeds = Object.entries(batch).map(
    ([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data)] as const,
  )
  try {
    const { features } = await session.run(Object.fromEntries(feeds), ['features'], { signal })
    using result = features!
    return { dims: result.dims, data: (result.data as Float32Array).slice() }
  } finally {
    for (const [, tensor] of feeds) tensor.dispose()
  }
}

function emptyCache(count: number, dims: readonly number[], limitBytes: number): FeatureCache {
  const elements = dims.reduce((a, b) => a * b, count)
  const bytes = elements * Float32Array.BYTES_PER_ELEMENT
  if (bytes > limitBytes)
    throw new M4Error('OUT_OF_MEMORY', `Features of ${count} items need ${bytes} bytes, ${limitBytes} are allowed.`, {
      hint: 'Use fewer items, a vector in place of patches, or train without keeping features.',
      details: { bytes, limitBytes },
    })
  return { count, dims, data: allocate('float32', elements) }
}

const wrongBatch = (cache: FeatureCache, done: number, dims: readonly number[]) =>
  new M4Error(
    'SHAPE_MISMATCH',
    `Features: expected at most ${cache.count - done} items of ${formatDims(cache.dims)}, got ${formatDims(dims)}.`,
  )

/** The features of some items, as the input `features` of a head's program. @throws M4Error `USAGE` for an item that is not there */
export function featureBatch({ count, dims, data }: FeatureCache, items: readonly number[]): HostTensor<'float32'> {
  const size = dims.reduce((a, b) => a * b, 1)
  const out = allocate('float32', items.length * size)
  items.forEach((item, i) => {
    if (!Number.isInteger(item) || item < 0 || item >= count)
      throw new M4Error('USAGE', `Features: item ${item} is not one of ${count}.`)
    out.set(data.subarray(item * size, (item + 1) * size), i * size)
  })
  return hostTensor('float32', [items.length, ...dims], out)
}

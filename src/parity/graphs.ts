/** A graph as a session, all in memory, through the same encoder as a firmware image. */

import type { Engine, Session } from '../engine/types.js'
import { encodeModel, type Graph } from '../graph/index.js'
import type { ModuleOptions } from '../models/index.js'

/** References were evaluated in float32; adapters may attach at every site. */
export const EXACT: ModuleOptions = {
  quantisation: { default: 'fp32' },
  embedding: 'fp32',
  loraSites: ['qkv', 'o', 'gateUp', 'down'],
}

const WEIGHTS = 'weights'

/** @throws M4Error `ENGINE`, `ABORTED` */
export async function openGraph(engine: Engine, graph: Graph, signal?: AbortSignal): Promise<Session> {
  const chunks: Uint8Array[] = []
  const write = (chunk: Uint8Array) => {
    chunks.push(chunk)
  }
  const bytes = await encodeModel(graph, { externalData: { location: WEIGHTS, write }, ...(signal ? { signal } : {}) })
  return engine.createSession({
    bytes,
    ...(chunks.length ? { externalData: { [WEIGHTS]: Buffer.concat(chunks) } } : {}),
  })
}

/** One graph → two blobs: its weights, and the ONNX model that names them. */

import { sha256Hex } from '../core/hash.js'
import type { LongOperation } from '../core/progress.js'
import { encodeModel, type Graph } from '../graph/index.js'
import type { BlobStore } from './blobs.js'
import { describeGraph } from './describe.js'
import type { BlobName, GraphEntry } from './manifest.js'
import type { TensorPlaces } from './tensor-places.js'

export interface Writing {
  readonly store: BlobStore
  /** Tensors that need not be written. */
  readonly known?: TensorPlaces
  /** Where what is written gets known. */
  readonly noted?: TensorPlaces
}

/** `bytes`: of all weights that the graph reads. @throws M4Error as `encodeModel` and the store */
export async function writeGraph(
  graph: Graph,
  task: string,
  { store, known, noted }: Writing,
  options: LongOperation,
): Promise<{ readonly entry: GraphEntry; readonly bytes: number }> {
  const data = await store.writer()
  let dataBlob: BlobName | undefined
  let written = 0
  const offsets = new Map<string, number>()
  const shared = new Set<BlobName>()
  let sharedBytes = 0
  try {
    const model = await encodeModel(graph, {
      externalData: {
        // Asked for when all weights are written: only then is their digest, and so their name, known.
        location: async () => {
          dataBlob = await data.finish()
          return dataBlob
        },
        write: async (chunk) => {
          if (noted) offsets.set(sha256Hex(chunk), written)
          written += chunk.length
          await data.write(chunk)
        },
        find: (bytes) => {
          const place = known?.find(bytes)
          if (!place) return undefined
          shared.add(place.location)
          sharedBytes += bytes.length
          return place
        },
      },
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.onProgress
        ? { onProgress: (progress) => options.onProgress!({ ...progress, task: `build ${task}` }) }
        : {}),
    })
    if (!dataBlob) await data.discard()
    else for (const [digest, offset] of offsets) noted!.add(digest, { location: dataBlob, offset })
    const blobs = [...(dataBlob ? [dataBlob] : []), ...shared]
    const entry = { model: await store.add(model), data: blobs, ...describeGraph(graph) }
    return { entry, bytes: written + sharedBytes }
  } catch (error) {
    await data.discard()
    throw error
  }
}

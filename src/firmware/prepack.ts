/** Makes the prepacked files of a slot: ONNX Runtime packs the weights of each large graph once, so that later loads only map them. */

import { mkdir, open, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { throwIfAborted, wrapSystemError } from '../core/errors.js'
import { atomicWriteFile, makeReadOnly } from '../core/files.js'
import { sha256File } from '../core/hash.js'
import type { LongOperation } from '../core/progress.js'
import type { Engine } from '../engine/types.js'
import type { Image } from './image.js'
import type { GraphEntry, Manifest, Role } from './manifest.js'
import { PREPACKED_FORMAT, type PrepackedFile, type PrepackedIndex, prepackedFolder } from './prepacked.js'

/**
 * Graphs with less external data are opened from their blobs. Packing at load takes about 1 ms and 1.2 MB of anonymous memory
 * for each MB of 4-bit weights; below 8 MB that is not worth two more files.
 */
export const PREPACK_MIN_BYTES = 8 << 20

/**
 * Disk space to ask for, per byte of external data: the originals and a packed copy. Measured 1.8 (4 bit, float kernel), 2.0
 * (float32, W8A8), 2.1–2.2 (8 and 4 bit, integer kernel), 2.33 (2 bit).
 */
export const PREPACK_RATIO = 2.5

/** A saved model that is not this much larger than its weights holds nothing packed (embedding tables, convolutions). */
const GAIN = 1.05

export interface PrepackOptions extends LongOperation {
  readonly engine: Engine
  readonly cpuKey: string
  /** Default `PREPACK_MIN_BYTES`. */
  readonly minBytes?: number
}

export interface PrepackReport {
  /** `<role>.<graph>` of what later loads map. */
  readonly graphs: readonly string[]
  /** Tried, but nothing in them is packed. */
  readonly withoutGain: readonly string[]
  /** Disk space of the prepacked files. */
  readonly bytes: number
}

/** Every graph of an image. */
export function graphsOf(manifest: Manifest): { role: Role; graph: string; entry: GraphEntry; dataBytes: number }[] {
  return Object.entries(manifest.modules).flatMap(([role, module]) =>
    Object.entries(module.graphs).map(([graph, entry]) => ({
      role: role as Role,
      graph,
      entry,
      dataBytes: [...new Set(entry.data)].reduce((sum, blob) => sum + manifest.blobs[blob]!.bytes, 0),
    })),
  )
}

/**
 * Prepacks the large graphs of `image` (opened without a CPU key) into its folder, the index last. The folder must not hold
 * prepacked files for this key yet: a file that a session has mapped is never written to.
 * @throws M4Error `ENGINE`, `DISK_FULL`, `ABORTED` (between graphs), `IO`
 */
export async function prepackImage(image: Image, options: PrepackOptions): Promise<PrepackReport> {
  const { engine, cpuKey, minBytes = PREPACK_MIN_BYTES, onProgress, signal } = options
  const folder = prepackedFolder(image.path, cpuKey)
  const large = graphsOf(image.manifest).filter(({ dataBytes }) => dataBytes >= minBytes)
  const total = large.reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  const graphs: Record<string, { model: PrepackedFile; data: PrepackedFile }> = {}
  const withoutGain: string[] = []
  let done = 0
  for (const { role, graph, dataBytes } of large) {
    throwIfAborted(signal)
    const name = `${role}.${graph}`
    onProgress?.({ task: `prepack ${name}`, done, total, unit: 'bytes' })
    await mkdir(folder, { recursive: true }).catch((error) => {
      throw wrapSystemError(error, `Making ${folder}`)
    })
    const path = join(folder, `${name.replace(/[^\w.-]/g, '_')}.onnx`)
    const data = path.replace(/\.onnx$/, '.data')
    const session = await engine.createSession(
      { path: image.graphPath(role, graph) },
      { savePrepacked: { path, data: basename(data) } },
    )
    session.dispose()
    if ((await sizeOf(data)) > dataBytes * GAIN)
      graphs[name] = { model: await seal(path, signal), data: await seal(data, signal) }
    else {
      withoutGain.push(name)
      for (const file of [path, data]) await rm(file, { force: true })
    }
    done += dataBytes
    onProgress?.({ task: `prepack ${name}`, done, total, unit: 'bytes' })
  }
  if (Object.keys(graphs).length) {
    const index: PrepackedIndex = { format: PREPACKED_FORMAT, cpuKey, image: image.digest, graphs }
    await atomicWriteFile(join(folder, 'index.json'), `${JSON.stringify(index, null, 2)}\n`)
  } else await rm(join(image.path, 'prepacked'), { recursive: true, force: true })
  const files = Object.values(graphs).flatMap(({ model, data }) => [model, data])
  return { graphs: Object.keys(graphs), withoutGain, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) }
}

/** ONNX Runtime writes no data file when every weight is small. */
async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}

/** Brings a file that ONNX Runtime wrote to the disk, and takes its digest. */
async function seal(path: string, signal: AbortSignal | undefined): Promise<PrepackedFile> {
  try {
    const handle = await open(path, 'r+')
    await handle.sync().finally(() => handle.close())
    const { size } = await stat(path)
    const sha256 = await sha256File(path, signal ? { signal } : {})
    await makeReadOnly(path)
    return { file: basename(path), bytes: size, sha256 }
  } catch (error) {
    throw wrapSystemError(error, `Finishing ${path}`)
  }
}

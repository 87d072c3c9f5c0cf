/** Makes the prepacked files of a slot: ONNX Runtime packs the weights of each large graph once, so that later loads only map them. */

import { mkdir, open, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { throwIfAborted, wrapSystemError } from '../core/errors.js'
import { atomicWriteFile, makeReadOnly } from '../core/files.js'
import { sha256File } from '../core/hash.js'
import type { LongOperation } from '../core/progress.js'
import { bytesOf, type HostTensor } from '../core/tensor.js'
import type { Engine, Session } from '../engine/types.js'
import { graphsOf, type Image } from './image.js'
import type { Manifest, Role } from './manifest.js'
import { PREPACKED_FORMAT, type PrepackedFile, type PrepackedIndex, prepackedFolder } from './prepacked.js'
import { probeRun } from './probe.js'
import { selfTestFailure } from './self-test.js'

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

/** A saved model that is not this much larger than its source holds nothing packed (embedding tables, convolutions). */
const GAIN = 1.05

export interface PrepackOptions extends LongOperation {
  readonly engine: Engine
  readonly cpuKey: string
  /** Default `PREPACK_MIN_BYTES`. */
  readonly minBytes?: number
  /** Modules to prepack, where the disk is too small for all. Default: every one. */
  readonly roles?: readonly Role[]
}

/** The graphs that are worth prepacking. Those of a view are not: weights that lie on disk once would lie there packed twice. */
export function graphsToPrepack(manifest: Manifest, { minBytes = PREPACK_MIN_BYTES, roles }: Partial<PrepackOptions>) {
  return graphsOf(manifest).filter(
    ({ role, dataBytes }) => !manifest.modules[role]!.view && dataBytes >= minBytes && (roles?.includes(role) ?? true),
  )
}

export interface PrepackReport {
  /** `<role>.<graph>` of what later loads map. */
  readonly graphs: readonly string[]
  /** Tried, but nothing in them is packed. */
  readonly withoutGain: readonly string[]
  /** Tried, but loaded again they gave other numbers: opened from their blobs. */
  readonly differing: readonly string[]
  /** Disk space of the prepacked files. */
  readonly bytes: number
}

/**
 * Prepacks the large graphs of `image` (opened without a CPU key) into its folder, the index last. The folder must not hold
 * prepacked files for this key yet: a file that a session has mapped is never written to.
 * @throws M4Error `SELF_TEST_FAILED` for a graph that does not run at all, `DISK_FULL`, `ABORTED`, `IO`
 */
export async function prepackImage(image: Image, options: PrepackOptions): Promise<PrepackReport> {
  const { cpuKey, onProgress, signal } = options
  const folder = prepackedFolder(image.path, cpuKey)
  const large = graphsToPrepack(image.manifest, options)
  const total = large.reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  const graphs: Record<string, { model: PrepackedFile; data: PrepackedFile }> = {}
  const names: Record<Outcome, string[]> = { packed: [], withoutGain: [], differing: [] }
  let done = 0
  if (large.length)
    await mkdir(folder, { recursive: true }).catch((error) => {
      throw wrapSystemError(error, `Making ${folder}`)
    })
  for (const { role, graph, entry, dataBytes } of large) {
    throwIfAborted(signal)
    const name = `${role}.${graph}`
    onProgress?.({ task: `prepack ${name}`, done, total, unit: 'bytes' })
    const path = join(folder, `${name.replace(/[^\w.-]/g, '_')}.onnx`)
    const sourceBytes = dataBytes + image.manifest.blobs[entry.model]!.bytes
    const data = path.replace(/\.onnx$/, '.data')
    const outcome = await prepackGraph(image.graphPath(role, graph), path, data, sourceBytes, options).catch(
      (error) => {
        throw selfTestFailure(name, error)
      },
    )
    names[outcome].push(name)
    if (outcome === 'packed') graphs[name] = { model: await seal(path, signal), data: await seal(data, signal) }
    else for (const file of [path, data]) await rm(file, { force: true })
    done += dataBytes
    onProgress?.({ task: `prepack ${name}`, done, total, unit: 'bytes' })
  }
  if (names.packed.length) {
    const index: PrepackedIndex = { format: PREPACKED_FORMAT, cpuKey, image: image.digest, graphs }
    await atomicWriteFile(join(folder, 'index.json'), `${JSON.stringify(index, null, 2)}\n`)
  } else await rm(join(image.path, 'prepacked'), { recursive: true, force: true })
  const files = Object.values(graphs).flatMap(({ model, data }) => [model, data])
  return {
    graphs: names.packed,
    withoutGain: names.withoutGain,
    differing: names.differing,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

type Outcome = 'packed' | 'withoutGain' | 'differing'

/**
 * Writes the prepacked model of one graph, and proves it: ONNX Runtime 1.30 writes packed weights at offsets at which, mapped
 * again, some kernels read garbage (MatMulNBits needs 64-byte alignment, and only weights above 1 MiB are aligned). So the
 * model counts only if, loaded anew, it gives the same bytes as the session that packed it.
 */
async function prepackGraph(
  source: string,
  path: string,
  data: string,
  sourceBytes: number,
  { engine, signal }: PrepackOptions,
): Promise<Outcome> {
  const probe = async (session: Session) => {
    try {
      return await probeRun(engine, session, signal)
    } finally {
      session.dispose()
    }
  }
  const saving = { savePrepacked: { path, data: basename(data) } }
  const before = await probe(await engine.createSession({ path: source }, saving))
  const saved = (await sizeOf(path)) + (await sizeOf(data))
  if ((await sizeOf(data)) === 0 || saved <= sourceBytes * GAIN) return 'withoutGain'
  const after = await probe(await engine.createSession({ path }))
  return sameBytes(before, after) ? 'packed' : 'differing'
}

function sameBytes(a: Readonly<Record<string, HostTensor>>, b: Readonly<Record<string, HostTensor>>): boolean {
  const names = Object.keys(a)
  if (names.length !== Object.keys(b).length) return false
  return names.every((name) => {
    const [x, y] = [a[name], b[name]]
    return x && y && x.dims.join() === y.dims.join() && Buffer.compare(bytesOf(x.data), bytesOf(y.data)) === 0
  })
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

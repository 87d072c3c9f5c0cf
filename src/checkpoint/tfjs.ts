/**
 * TensorFlow.js models: `model.json` with a `weightsManifest` (groups of named weights, laid one behind the other over shard files),
 * and the model's topology. Quantised weights (uint8, uint16 with scale and min) are widened; float16 stays what it is.
 *
 * @see https://github.com/tensorflow/tfjs/blob/tfjs-v4.22.0/tfjs-core/src/io/types.ts `WeightsManifestConfig`
 */

import { dirname, join } from 'node:path'
import { elementCount } from '../core/dims.js'
import { bytesOf } from '../core/tensor.js'
import type { ByteSource } from './byte-source.js'
import { invalid } from './byte-source.js'
import type { JsonObject } from './json.js'
import { makeCheckpoint, makeTensor, storedByteLength } from './tensor.js'
import type { Checkpoint, CheckpointTensor, StorageType } from './types.js'

const DTYPES: Readonly<Record<string, StorageType>> = Object.freeze({
  float32: 'F32',
  float16: 'F16',
  int32: 'I32',
  uint8: 'U8',
  bool: 'BOOL',
})

interface Weight {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: string
  readonly quantization?: { readonly dtype: string; readonly scale?: number; readonly min?: number }
}

/** True for a `model.json` of TensorFlow.js. */
export const isTfjs = (json: JsonObject): boolean => Array.isArray(json.weightsManifest)

/**
 * Opens the shards that `model.json` names, all in its folder.
 * @param open a file by its path
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function openTfjs(path: string, model: JsonObject, open: (path: string) => ByteSource): Checkpoint {
  const shards: ByteSource[] = []
  const dispose = () => {
    for (const shard of shards) shard.dispose()
  }
  try {
    const tensors: CheckpointTensor[] = []
    for (const group of model.weightsManifest as unknown[]) {
      const { paths, weights } = groupOf(path, group)
      const files = paths.map((file) => {
        const shard = open(join(dirname(path), file))
        shards.push(shard)
        return shard
      })
      tensors.push(...layOut(path, weights, joined(files)))
    }
    const { modelTopology: topology, ...rest } = model
    const { weightsManifest: _, ...facts } = rest
    return makeCheckpoint('tfjs', path, tensors, { ...facts, topology }, [{ dispose }])
  } catch (error) {
    dispose()
    throw error
  }
}

function groupOf(path: string, group: unknown): { paths: string[]; weights: Weight[] } {
  const { paths, weights } = (group ?? {}) as { paths?: unknown; weights?: unknown }
  const isWeight = (each: unknown): each is Weight => {
    const { name, shape, dtype } = (each ?? {}) as Partial<Weight>
    return (
      typeof name === 'string' && typeof dtype === 'string' && Array.isArray(shape) && shape.every(Number.isInteger)
    )
  }
  if (!Array.isArray(paths) || !Array.isArray(weights) || !weights.every(isWeight))
    throw invalid(path, 0, 'weightsManifest has a group without paths and weights')
  const stray = paths.find((file) => typeof file !== 'string' || !/^[^/\\]+$/.test(file) || /^\.{1,2}$/.test(file))
  if (stray !== undefined) throw invalid(path, 0, `the shard ${JSON.stringify(stray)} is not a file of the same folder`)
  return { paths: paths as string[], weights }
}

/** Shards read as one file. */
interface Joined {
  readonly size: number
  read(offset: number, length: number): Uint8Array
}

function joined(files: readonly ByteSource[]): Joined {
  const size = files.reduce((sum, file) => sum + file.size, 0)
  return {
    size,
    read: (offset, length) => {
      const out = new Uint8Array(length)
      let start = 0
      for (const file of files) {
        const [from, to] = [Math.max(offset, start), Math.min(offset + length, start + file.size)]
        if (from < to) out.set(file.read(from - start, to - from), from - offset)
        start += file.size
      }
      return out
    },
  }
}

function layOut(path: string, weights: readonly Weight[], data: Joined): CheckpointTensor[] {
  let offset = 0
  const tensors = weights.map((weight) => {
    const storage =
      DTYPES[weight.quantization?.dtype ?? weight.dtype] ??
      (weight.quantization?.dtype === 'uint16' ? 'U16' : undefined)
    if (!storage) throw invalid(path, 0, `"${weight.name}" has the type ${weight.dtype}, which M4 does not read`)
    const at = offset
    const length = storedByteLength(weight.name, storage, weight.shape)
    offset += length
    if (offset > data.size)
      throw invalid(path, 0, `"${weight.name}" needs bytes up to ${offset}, the shards have ${data.size}`)
    const rowBytes = length / Math.max(1, weight.shape[0] ?? 1)
    const read = (from: number, to: number) => data.read(at + from * rowBytes, (to - from) * rowBytes)
    return tensorOf(weight, storage, read)
  })
  if (offset !== data.size) throw invalid(path, 0, `its weights need ${offset} bytes, the shards have ${data.size}`)
  return tensors
}

function tensorOf(
  { name, shape, quantization }: Weight,
  storage: StorageType,
  read: (from: number, to: number) => Uint8Array,
): CheckpointTensor {
  const { scale, min } = quantization ?? {}
  if (scale === undefined || min === undefined) return makeTensor({ name, dims: shape, storage, readRows: read })
  const codes = (bytes: Uint8Array) => (storage === 'U8' ? bytes : new Uint16Array(bytes.slice().buffer))
  return makeTensor({
    name,
    dims: shape,
    storage: 'F32',
    readRows: (from, to) => {
      const out = new Float32Array(((to - from) * elementCount(shape)) / Math.max(1, shape[0] ?? 1))
      for (const [i, code] of codes(read(from, to)).entries()) out[i] = code * scale + min
      return bytesOf(out)
    },
  })
}

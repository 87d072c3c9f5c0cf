/** Hugging Face shards: `*.index.json` with a `weight_map` from tensor name to file. */

import { M4Error } from '../core/errors.js'
import { invalid } from './byte-source.js'
import type { JsonObject } from './json.js'
import { makeCheckpoint } from './tensor.js'
import type { Checkpoint, CheckpointTensor } from './types.js'

/** Shard files that an index names, sorted. @throws M4Error `FORMAT_INVALID` when a name leads out of the folder */
export function shardFiles(indexPath: string, index: JsonObject): readonly string[] {
  const files = [...new Set(Object.values(weightMap(indexPath, index)))].sort()
  const stray = files.find((file) => !/^[^/\\]+$/.test(file) || file === '..' || file === '.')
  if (stray !== undefined) throw invalid(indexPath, 0, `the shard "${stray}" is not a file of the same folder`)
  return files
}

/**
 * One checkpoint from its shards. Metadata is that of the index, over that of the first shard. It owns the shards.
 * @throws M4Error `FORMAT_INVALID` when index and shards do not name exactly the same tensors
 */
export function joinShards(indexPath: string, index: JsonObject, shards: ReadonlyMap<string, Checkpoint>): Checkpoint {
  const map = weightMap(indexPath, index)
  const tensors: CheckpointTensor[] = []
  for (const [name, file] of Object.entries(map)) {
    const tensor = shards.get(file)?.tensors.get(name)
    if (!tensor) throw mismatch(indexPath, `"${name}" is not in ${file}`)
    tensors.push(tensor)
  }
  for (const [file, shard] of shards)
    for (const name of shard.tensors.keys())
      if (!Object.hasOwn(map, name) || map[name] !== file)
        throw mismatch(indexPath, `"${name}" of ${file} is not in the index`)
  const [first] = shards.values()
  const metadata = { ...first?.metadata, ...(isObject(index.metadata) ? index.metadata : {}) }
  return makeCheckpoint(first?.format ?? 'safetensors', indexPath, tensors, metadata, [...shards.values()])
}

function weightMap(indexPath: string, index: JsonObject): Readonly<Record<string, string>> {
  const map = index.weight_map
  if (!isObject(map) || !Object.values(map).every((file) => typeof file === 'string') || !Object.keys(map).length)
    throw invalid(
      indexPath,
      0,
      'no weight_map from tensor names to files',
      'Name the checkpoint itself or a *.index.json.',
    )
  return map as Record<string, string>
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function mismatch(indexPath: string, problem: string): M4Error {
  return new M4Error('FORMAT_INVALID', `${indexPath}: ${problem}.`, {
    hint: 'Index and shards are of different versions; fetch the folder again.',
  })
}

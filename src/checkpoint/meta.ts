/** Meta's LLaMA folders: `params.json` and `consolidated.NN.pth`, one file a model-parallel rank (facebookresearch/llama). */

import { M4Error } from '../core/errors.js'
import { joinTensors } from './join.js'
import type { JsonObject } from './json.js'
import { makeCheckpoint, type StoredTensor } from './tensor.js'
import type { Checkpoint, CheckpointTensor } from './types.js'

/** How ranks share a tensor, by the end of its name: split along a dimension, by which one `dim` tells, or each has a copy. */
const SPLITS: readonly (readonly [ending: RegExp, split: 0 | 1 | 'embedding' | 'copy'])[] = Object.freeze([
  [/(^|\.)(wq|wk|wv|w1|w3|output)\.weight$/, 0],
  [/(^|\.)(wo|w2)\.weight$/, 1],
  [/(^|\.)tok_embeddings\.weight$/, 'embedding'],
  [/(^|\.)(attention_norm|ffn_norm|norm)\.weight$/, 'copy'],
  [/(^|\.)(rope\.freqs|attention\.mask)$/, 'copy'],
])

/**
 * One checkpoint from the ranks in order; metadata is `params.json`. It owns the shards.
 * @throws M4Error `FORMAT_INVALID` when ranks differ in their tensors or a tensor is not one of LLaMA's, `SHAPE_MISMATCH`
 */
export function joinMetaShards(folder: string, shards: readonly Checkpoint[], params: JsonObject): Checkpoint {
  const [first, ...others] = shards
  if (!first) throw new M4Error('FILE_NOT_FOUND', `${folder} has no consolidated.NN.pth.`)
  for (const [i, shard] of others.entries()) assertSameNames(folder, first, shard, i + 1)
  const tensors = [...first.tensors.keys()].map((name) => {
    const parts = shards.map((shard) => shard.tensors.get(name)!)
    return parts.length === 1 ? parts[0]! : joinOne(folder, name, parts, params)
  })
  return makeCheckpoint('torch', folder, tensors, params, shards)
}

function joinOne(
  folder: string,
  name: string,
  parts: readonly CheckpointTensor[],
  params: JsonObject,
): CheckpointTensor {
  const split = SPLITS.find(([ending]) => ending.test(name))?.[1]
  if (split === undefined)
    throw new M4Error(
      'FORMAT_INVALID',
      `${folder}: "${name}" is not a tensor of LLaMA, so how its shards join is unknown.`,
      {
        hint: 'Convert the model to the Hugging Face layout.',
      },
    )
  if (split === 'copy') return parts[0]!
  const axis = split === 'embedding' ? embeddingAxis(folder, name, parts, params) : split
  return joinTensors(name, parts as readonly StoredTensor[], axis)
}

/** LLaMA 1 and 2 split the embedding's width, LLaMA 3 its vocabulary: the width of a shard tells. */
function embeddingAxis(folder: string, name: string, parts: readonly CheckpointTensor[], params: JsonObject): 0 | 1 {
  const width = parts[0]!.dims[1]
  if (width === params.dim) return 0
  if (width !== undefined && width * parts.length === params.dim) return 1
  throw new M4Error(
    'SHAPE_MISMATCH',
    `${folder}: ${parts.length} shards of "${name}" are ${width} wide, params.json says dim ${params.dim}.`,
    {
      hint: 'Check that params.json and all consolidated files belong together.',
    },
  )
}

function assertSameNames(folder: string, first: Checkpoint, shard: Checkpoint, rank: number): void {
  const odd =
    [...first.tensors.keys()].find((name) => !shard.tensors.has(name)) ??
    [...shard.tensors.keys()].find((name) => !first.tensors.has(name))
  if (odd !== undefined)
    throw new M4Error(
      'FORMAT_INVALID',
      `${folder}: "${odd}" is not in every shard (rank ${rank} differs from rank 0).`,
      {
        hint: 'A shard is missing or comes from another model.',
      },
    )
}

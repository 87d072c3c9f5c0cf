/**
 * A prompt cut into the chunks that the decoder evaluates. Cuts depend on the prompt alone, and only whole chunks are taken
 * from the cache, so a reused prefix gives the same bits as a fresh one: kernels round differently for different row counts,
 * and an answer must not depend on what was asked before.
 */

import { M4Error } from '../core/errors.js'

/** A stretch of a prompt: token ids, or soft tokens (rows of `width` numbers) in their place. Segments never share a chunk. */
export type Segment =
  | { readonly ids: readonly number[]; readonly embeddings?: undefined }
  | { readonly embeddings: Float32Array; readonly ids?: undefined }

export interface Chunk {
  /** What identifies each row: its token id; NaN for soft tokens, which are never taken to be equal. */
  readonly keys: readonly number[]
  /** Rows of soft tokens [rows, C]. */
  readonly embeddings?: Float32Array
}

/** Rows of a segment. @throws M4Error `SHAPE_MISMATCH` */
export function segmentLength(segment: Segment, width: number): number {
  if (segment.ids) return segment.ids.length
  const rows = segment.embeddings.length / width
  if (Number.isInteger(rows)) return rows
  throw new M4Error(
    'SHAPE_MISMATCH',
    `Soft tokens have ${width} numbers each, got ${segment.embeddings.length} in all.`,
    {
      hint: 'Project the embedding to the width of the backbone.',
      details: { width, got: segment.embeddings.length },
    },
  )
}

export function promptLength(segments: readonly Segment[], width: number): number {
  return segments.reduce((sum, segment) => sum + segmentLength(segment, width), 0)
}

/** Cuts at segment ends and, within one, every `chunkTokens` rows. Empty segments vanish. */
export function planChunks(segments: readonly Segment[], width: number, chunkTokens: number): Chunk[] {
  return segments.flatMap((segment) => {
    const length = segmentLength(segment, width)
    const chunks: Chunk[] = []
    for (let from = 0; from < length; from += chunkTokens) {
      const to = Math.min(length, from + chunkTokens)
      chunks.push(
        segment.ids
          ? { keys: segment.ids.slice(from, to) }
          : {
              keys: new Array<number>(to - from).fill(Number.NaN),
              embeddings: segment.embeddings.subarray(from * width, to * width),
            },
      )
    }
    return chunks
  })
}

/** How many leading chunks of `wanted` stand in the cache already. The last is always evaluated: its logits are wanted. */
export function reusableChunks(cached: readonly Chunk[], wanted: readonly Chunk[]): number {
  const most = Math.min(cached.length, wanted.length - 1)
  let count = 0
  while (count < most && sameKeys(cached[count]!.keys, wanted[count]!.keys)) count++
  return count
}

function sameKeys(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((key, i) => key === b[i])
}

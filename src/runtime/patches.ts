/**
 * Fuyu's pictures: no encoder wakes, each patch is a token of the backbone itself, and the question stands behind them.
 *
 *   (|SPEAKER| … |NEWLINE|) a row │ <s> question⏎ <0x04> │ answer |ENDOFTEXT|
 *
 * @reference huggingface/transformers src/transformers/models/fuyu/{image_processing_fuyu,processing_fuyu}.py
 */

import type { DataOf } from '../core/dtypes.js'
import type { Engine, Session } from '../engine/types.js'
import type { ModuleEntry } from '../firmware/manifest.js'
import { type Picture, shrinkToFit } from '../media/index.js'
import type { Tokenizer } from '../tokenizers/index.js'
import { configNumber, optionalNumber } from './module-config.js'

/** The graph of a backbone that takes pictures (models/fuyu.ts). */
export const PATCHES = 'patches'

/** What the graph does not say of itself; the manifest does. */
export interface PatchFacts {
  /** Dots a side of a patch. */
  readonly patchSide: number
  /** Dots; larger pictures are shrunk to fit. */
  readonly largestWidth: number
  readonly largestHeight: number
  /** |SPEAKER|: the place of a patch. */
  readonly patchId: number
  /** |NEWLINE|, behind each row of patches. */
  readonly rowEndId: number
  /** <0x04>, in front of the answer, where the vocabulary has it. */
  readonly answerId: number | undefined
}

/** @throws M4Error `IMAGE_INVALID` */
export const patchFacts = (entry: ModuleEntry): PatchFacts => ({
  patchSide: configNumber(entry, 'patchSide'),
  largestWidth: configNumber(entry, 'largestWidth'),
  largestHeight: configNumber(entry, 'largestHeight'),
  patchId: configNumber(entry, 'patchId'),
  rowEndId: configNumber(entry, 'rowEndId'),
  answerId: optionalNumber(entry, 'answerId'),
})

export interface PatchReader {
  readonly facts: PatchFacts
  readonly session: Session
}

/** As the model takes it: shrunk where it is too large, with the ids that hold its places. */
export interface PlacedPicture {
  readonly picture: Picture
  /** rows · (columns + 1) */
  readonly ids: readonly number[]
}

export function placePicture(picture: Picture, facts: PatchFacts): PlacedPicture {
  const { patchSide, largestWidth, largestHeight, patchId, rowEndId } = facts
  const shrunk = shrinkToFit(picture, { width: largestWidth, height: largestHeight })
  const [rows, columns] = [shrunk.height, shrunk.width].map((dots) => Math.ceil(dots / patchSide)) as [number, number]
  const row = [...new Array<number>(columns).fill(patchId), rowEndId]
  return { picture: shrunk, ids: Array.from({ length: rows }, () => row).flat() }
}

/** Patches as tokens, row by row. float32 [P, C] */
export async function readPatches(
  engine: Engine,
  { session }: PatchReader,
  { data, width, height }: Picture,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const picture = engine.tensor('uint8', [height, width, 3], data as DataOf<'uint8'>)
  try {
    const { embeddings } = await session.run({ picture }, ['embeddings'], { signal })
    const rows = (embeddings!.data as Float32Array).slice()
    embeddings!.dispose()
    return rows
  } finally {
    picture.dispose()
  }
}

/**
 * Patches into their places, in order.
 * @param rows embeddings of `ids` [T, C], written in place · @param patches [P, C]
 */
export function splicePatches(
  rows: Float32Array,
  ids: readonly number[],
  patches: Float32Array,
  patchId: number,
): void {
  const width = rows.length / ids.length
  let next = 0
  for (const [place, id] of ids.entries())
    if (id === patchId) {
      rows.set(patches.subarray(next, next + width), place * width)
      next += width
    }
}

/** What stands behind the picture; the question's line ends as the model card's do. */
export function patchQuestionIds(tokenizer: Tokenizer, bosId: number | undefined, question: string, facts: PatchFacts) {
  const ends = [bosId, facts.answerId].map((id) => (id === undefined ? [] : [id])) as [number[], number[]]
  return [...ends[0], ...tokenizer.encode(`${question.trimEnd()}\n`), ...ends[1]]
}

/**
 * Retrieval from a similarity matrix [queries][gallery]. Equal similarities rank by index.
 *
 * @paper re-identification after Market-1501 (Zheng et al., ICCV 2015)
 */

import { averagePrecision } from './classification.js'
import { mean } from './words.js'

type Similarity = readonly (readonly number[])[]

/** Gallery indices, most similar first. */
export const ranking = (row: readonly number[]): number[] =>
  row.map((_, i) => i).sort((a, b) => row[b]! - row[a]! || a - b)

/** Share of queries with a right item among the first `k`. */
export function recallAt(
  similarity: Similarity,
  queryIds: readonly number[],
  galleryIds: readonly number[],
  k: number,
): number {
  const hits = similarity.map((row, q) =>
    ranking(row)
      .slice(0, k)
      .some((item) => galleryIds[item] === queryIds[q])
      ? 1
      : 0,
  )
  return mean(hits)
}

/** Pairs lie on the diagonal: row i belongs to column i. Both directions. */
export function pairRecallAt(similarity: Similarity, k: number): { rows: number; columns: number } {
  const ids = similarity.map((_, i) => i)
  const turned = similarity[0]?.map((_, column) => similarity.map((row) => row[column]!)) ?? []
  return { rows: recallAt(similarity, ids, ids, k), columns: recallAt(turned, ids, ids, k) }
}

/** Mean average precision over queries that have a right item. */
export function meanAveragePrecision(
  similarity: Similarity,
  queryIds: readonly number[],
  galleryIds: readonly number[],
): number {
  const each = similarity.flatMap((row, q) => {
    const right = galleryIds.map((id) => (id === queryIds[q] ? 1 : 0))
    return right.includes(1) ? [averagePrecision(right, row)] : []
  })
  return mean(each)
}

export interface Reidentification {
  readonly rank1: number
  readonly mAP: number
  /** Queries that have a right item under another camera; the others are left out. */
  readonly validQueries: number
  /** Share of queries with a right item among the first 1, 2, … */
  readonly cmc: readonly number[]
}

export interface Sightings {
  readonly ids: readonly number[]
  readonly cameras: readonly number[]
}

/** Items of the same identity and the same camera as the query are taken out of its gallery. */
export function reidentify(
  similarity: Similarity,
  query: Sightings,
  gallery: Sightings,
  ranksWanted: number,
): Reidentification {
  const cmc = new Array<number>(ranksWanted).fill(0)
  const precisions: number[] = []
  for (const [q, row] of similarity.entries()) {
    const kept = ranking(row).filter(
      (item) => gallery.ids[item] !== query.ids[q] || gallery.cameras[item] !== query.cameras[q],
    )
    const places = kept.flatMap((item, place) => (gallery.ids[item] === query.ids[q] ? [place] : []))
    if (!places.length) continue
    precisions.push(mean(places.map((place, hits) => (hits + 1) / (place + 1))))
    for (let rank = places[0]!; rank < ranksWanted; rank++) cmc[rank]!++
  }
  const curve = cmc.map((hits) => hits / precisions.length)
  return { rank1: curve[0] ?? Number.NaN, mAP: mean(precisions), validQueries: precisions.length, cmc: curve }
}

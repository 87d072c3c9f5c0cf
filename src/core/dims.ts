/**
 * The letters used in every shape comment and in the symbolic dimensions of every graph.
 *
 *   B batch · T tokens of this step · S tokens in the KV cache (past + T) · C model width · H query heads · K key/value heads
 *   D head width · F feed-forward width · R LoRA rank · V vocabulary · L layers · P patches or positions · M mel bands · N samples · U rows of a gated prompt
 *   Y, X rows and columns of a picture or of its latents
 *   Q clips of one item · E width of the joint space
 */
export const DIMENSION_LETTERS = {
  B: 'batch',
  T: 'tokens of this step',
  S: 'tokens in the KV cache, this step included',
  C: 'model width',
  H: 'query heads',
  K: 'key/value heads',
  D: 'head width',
  F: 'feed-forward width',
  R: 'LoRA rank',
  V: 'vocabulary',
  L: 'layers',
  P: 'patches or positions',
  M: 'mel bands',
  N: 'audio samples',
  U: 'rows of a gated prompt',
  Y: 'rows of a picture',
  X: 'columns of a picture',
  Q: 'clips of one item',
  E: 'width of the joint space',
} as const

/** A size: a known number, or a symbolic expression such as `T`, `2*T` or `P+T`. One symbol has one size in one run. */
export type Dim = number | string

/** Element count of a fully known shape; a scalar (`[]`) counts 1. */
export function elementCount(dims: readonly number[]): number {
  let count = 1
  for (const dim of dims) count *= dim
  return count
}

/** `[2, T, 64]`, as every message prints a shape. */
export function formatDims(dims: readonly Dim[]): string {
  return `[${dims.join(', ')}]`
}

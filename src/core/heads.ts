/**
 * How attention heads are laid out in a projection's rows.
 *
 * ONNX Runtime's GroupQueryAttention takes head widths that are a multiple of 16 (8 without rotary). Narrower heads get zero
 * rows; a rotary head [x0 … xh | xh … xD] keeps its two halves apart, so that pair (j, j + D/2) stays a pair:
 *
 *   D = 12, padded 16:   0 1 2 3 4 5 · ·  6 7 8 9 10 11 · ·      (rotary)
 *                        0 1 2 3 4 5 6 7  8 9 10 11 · · · ·      (plain: values, and keys without rotary)
 */

export interface HeadLayout {
  /** Head width of the checkpoint. */
  readonly from: number
  /** Head width in the graph. */
  readonly to: number
  readonly rotary: boolean
}

/** Row of the checkpoint that stands at `row` of the graph's projection, or -1 for padding. */
export function sourceHeadRow(row: number, { from, to, rotary }: HeadLayout): number {
  const head = Math.floor(row / to)
  const inside = row % to
  if (!rotary || from === to) return inside < from ? head * from + inside : -1
  const half = inside < to / 2 ? 0 : 1
  const pair = inside - (half * to) / 2
  return pair < from / 2 ? head * from + (half * from) / 2 + pair : -1
}

/** Row of an interleaved head (pairs 2j, 2j+1: Meta, GGUF, lit-llama) that becomes row `row` of a half-rotated one (Hugging Face). */
export function interleavedRow(row: number, headWidth: number): number {
  const head = row - (row % headWidth)
  const inside = row % headWidth
  const half = headWidth / 2
  return head + (inside < half ? 2 * inside : 2 * (inside - half) + 1)
}

/** The next multiple: widths that the attention kernel accepts. */
export function paddedHeadWidth(headWidth: number, multiple: number): number {
  return Math.ceil(headWidth / multiple) * multiple
}

/** Token rows as the inputs of a backbone program. */

import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'

/** Label of a token that is not learned: context, padding. Hugging Face's convention. */
export const IGNORED = -100

export interface TokenRow {
  readonly ids: readonly number[]
  /** Of the same length; a token counts where its label is not `IGNORED`. The first has nothing before it to be told from. */
  readonly labels: readonly number[]
}

/** A row with places for the soft tokens of one item. */
export interface SoftRow extends TokenRow {
  /** Of the first; any id stands there. */
  readonly firstSlot: number
}

/** Rows of [B·T] that soft tokens take, item by item, where rows are padded behind to the longest. */
export function slotsOf(rows: readonly SoftRow[], tokens: number): HostTensor<'int64'> {
  const length = Math.max(...rows.map(({ ids }) => ids.length))
  const slots = rows.flatMap(({ firstSlot }, b) => Array.from({ length: tokens }, (_, i) => b * length + firstSlot + i))
  return int64Tensor([slots.length], slots)
}

export interface BatchShape {
  /** Virtual tokens in front of the embeddings (prompt tuning). */
  readonly promptTokens: number
  /** Virtual tokens in the cache (prefix tuning). */
  readonly prefixTokens: number
  /** Of the backbone, for its empty cache: [K, D]. */
  readonly kvHeads: number
  readonly headWidth: number
}

/** Rows that the loss looks at. */
export const answerTokens = (rows: readonly TokenRow[], shape: Pick<BatchShape, 'promptTokens'>): number =>
  rows.reduce((sum, { labels }) => sum + labels.filter((label, t) => counts(label, t, shape)).length, 0)

const counts = (label: number, t: number, { promptTokens }: Pick<BatchShape, 'promptTokens'>): boolean =>
  label !== IGNORED && (t > 0 || promptTokens > 0)

/**
 * Rows padded behind to the longest. The token at place t is predicted by the row before it.
 * @param normaliser what the sum of losses is divided by: the answer tokens of the whole batch, also where it is run in parts
 */
export function backboneBatch(
  rows: readonly TokenRow[],
  shape: BatchShape,
  normaliser = answerTokens(rows, shape),
): Record<string, HostTensor> {
  const { promptTokens, prefixTokens, kvHeads, headWidth } = shape
  const length = Math.max(...rows.map(({ ids }) => ids.length))
  const ids = new Float64Array(rows.length * length)
  const positions: number[] = []
  const targets: number[] = []
  rows.forEach((row, b) => {
    ids.set(row.ids, b * length)
    row.labels.forEach((label, t) => {
      if (!counts(label, t, shape)) return
      positions.push(b * (promptTokens + length) + promptTokens + t - 1)
      targets.push(label)
    })
  })
  const total = promptTokens + length
  const weights = new Float32Array(positions.length).fill(1 / normaliser)
  return {
    ids: int64Tensor([rows.length, length], ids),
    // With a prefix attention is in plain operators, which read lengths from shapes.
    ...(prefixTokens
      ? {}
      : {
          seqlens_k: hostTensor('int32', [rows.length], new Int32Array(rows.length).fill(total - 1)),
          total: hostTensor('int32', [], Int32Array.of(total)),
          past: hostTensor('float32', [rows.length, kvHeads, 0, headWidth]),
        }),
    positions: int64Tensor([positions.length], positions),
    targets: int64Tensor([targets.length], targets),
    weights: hostTensor('float32', [positions.length], weights),
  }
}

/** A tower of ImageBind that is trained: in full, its own head alone, or LoRA beside its attention. */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Graph } from '../../graph/index.js'
import { type ImageBindConfig, imagebindGraph, type WeightTensor, withOrigins } from '../../models/index.js'

export interface ImageBindTrainingGraph {
  /** Float32, each weight knowing its name: for `trainable`. With adapters: inputs `lora/layers.l/attn/A|B`. */
  readonly graph: Graph
  /** The table that it is made of. */
  readonly weights: ReadonlyMap<string, WeightTensor>
}

/**
 * Values of use as features: `embedding` [B, E] (length 1, scaled), `token` [B·Q, C], and `norm` [B·Q, T, C], whose first token is
 * the class token. Heads behind the last two need pictures of one clip (Q = 1).
 */
export function imagebindTrainingGraph(
  config: ImageBindConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  { adapters = true }: { readonly adapters?: boolean } = {},
): ImageBindTrainingGraph {
  const table = withOrigins(weights)
  const graph = imagebindGraph(config, table, { quantisation: { default: 'fp32' }, embedding: 'fp32', adapters })
  return { graph, weights: table }
}

/** Weights of a tower's own head: its norm and its matrix into the joint space. */
export const isImageBindHead = (name: string): boolean => /^(?:norm(?:\/bias)?|head)$/.test(name)

const PAIR = /^lora\/layers\.(\d+)\/attn\/([AB])$/

/**
 * Trained pairs as a file of ImageBind-LoRA: `w_a_000` [R, C], `w_b_000` [C, R], numbered in the order of the adapted layers.
 * `layers` says which they are: the file does not.
 *
 * @reference fabawi/ImageBind-LoRA@232da92 models/lora.py `save_lora_modality_trunks`
 */
export function imagebindLoraFile(
  parameters: ReadonlyMap<string, Float32Array>,
  { width }: Pick<ImageBindConfig, 'width'>,
): { readonly tensors: Record<string, HostTensor<'float32'>>; readonly layers: readonly number[] } {
  const found = [...parameters].flatMap(([name, data]) => {
    const [, layer, matrix] = PAIR.exec(name) ?? []
    return layer === undefined ? [] : [{ layer: Number(layer), matrix: matrix as 'A' | 'B', data }]
  })
  const layers = [...new Set(found.map(({ layer }) => layer))].sort((a, b) => a - b)
  const tensors = found.map(({ layer, matrix, data }): [string, HostTensor<'float32'>] => {
    const rank = data.length / width
    const name = `w_${matrix.toLowerCase()}_${String(layers.indexOf(layer)).padStart(3, '0')}`
    return [name, matrix === 'A' ? turned(data, width, rank) : turned(data, rank, width)]
  })
  return { tensors: Object.fromEntries(tensors.sort(([a], [b]) => (a < b ? -1 : 1))), layers }
}

/** [rows, columns] → [columns, rows] */
export function turned(data: Float32Array, rows: number, columns: number): HostTensor<'float32'> {
  const out = new Float32Array(data.length)
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) out[x * rows + y] = data[y * columns + x]!
  return hostTensor('float32', [columns, rows], out)
}

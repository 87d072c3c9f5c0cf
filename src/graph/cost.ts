/**
 * What a run of a graph costs: multiply-accumulates, and how many weights it has, from its shapes alone.
 *
 * Counted as fvcore counts, which the paper's "GFLOPs" are: one for each multiply-accumulate of products, convolutions and
 * attention, 5 for each element that a layer norm sees; nothing for what works element by element. Scores (q·kᵀ) under an additive
 * mask are left out: PyTorch computes them in an operator (baddbmm) that fvcore does not know.
 *
 * @see https://github.com/facebookresearch/fvcore/blob/main/fvcore/nn/jit_handles.py · @paper arXiv:2308.14363 Table 1
 */

import { formatDims } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { bindDim } from './dims-algebra.js'
import { inferTypes } from './infer.js'
import type { OpName } from './ops.js'
import type { Graph, GraphNode, Value } from './types.js'

/** Sizes of symbols: `{ B: 1, T: 77 }`. */
export type DimBindings = Readonly<Record<string, number>>

export interface CostOptions {
  /** Also counts scores under a mask, as the machine computes them. Default false: the paper's numbers. */
  readonly maskedScores?: boolean
}

interface NodeCost {
  readonly node: GraphNode
  readonly options: CostOptions
  /** Dims of an input or output; undefined where it is absent. */
  readonly input: (index: number) => readonly number[] | undefined
  readonly output: (index: number) => readonly number[]
}

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
const FLOPS_PER_NORMALISED = 5

const norm = ({ input }: NodeCost) => FLOPS_PER_NORMALISED * product(input(0)!)
/** Each element of the result is a sum over the last axis of the left factor. */
const matrix = ({ input, output }: NodeCost) => product(output(0)) * input(0)!.at(-1)!
/** Each element of the result is a sum over one filter: all but the first size of the weights. */
const convolution = ({ input, output }: NodeCost) => product(output(0)) * product(input(1)!.slice(1))

function attention({ node, options, input, output }: NodeCost): number {
  const [rows, queries, width] = output(0) as [number, number, number]
  const heads = node.attributes.num_heads as number
  const key = input(1)
  const query = input(0)!
  // Packed inputs have as many keys as queries; [B, H, S, D] keys have them on axis 2.
  const keys = key === undefined ? queries : key.length === 4 ? key[2]! : key[1]!
  const headWidth = query.length === 5 ? query[4]! : key ? query[2]! / heads : width / heads
  const masked = node.op === 'MultiHeadAttention' && (input(5) !== undefined || node.attributes.unidirectional === 1)
  const scores = masked && !options.maskedScores ? 0 : rows * heads * queries * keys * headWidth
  return scores + rows * queries * keys * width
}

/** As many keys as the cache has rows when it comes out: past and new ones. */
function cachedAttention({ input, output }: NodeCost): number {
  const [rows, queries, width] = output(0) as [number, number, number]
  const past = input(3)
  const keys = past ? past[2]! : (input(1)?.[1] ?? queries)
  return 2 * rows * queries * keys * width
}

const COSTS: { readonly [K in OpName]?: (cost: NodeCost) => number } = Object.freeze({
  MatMul: matrix,
  MatMulInteger: matrix,
  DynamicQuantizeMatMul: matrix,
  MatMulNBits: matrix,
  Conv: convolution,
  LayerNormalization: norm,
  SimplifiedLayerNormalization: norm,
  SkipSimplifiedLayerNormalization: norm,
  MultiHeadAttention: attention,
  GroupQueryAttention: cachedAttention,
})

/**
 * Multiply-accumulates of one run with inputs of these sizes: `countMacs(graph, { B: 1, T: 77 })`. Caches count as full: S is what
 * they hold with this step. Sizes without a name (`?`) are bound as `?`, all alike.
 * @throws M4Error `USAGE` when the symbols that are bound do not tell a size that counts; `SHAPE_MISMATCH` when they contradict
 */
export function countMacs(graph: Graph, sizes: DimBindings, options: CostOptions = {}): number {
  const { values } = bound(graph, sizes)
  let total = 0
  for (const node of graph.nodes) {
    const cost = Object.hasOwn(COSTS, node.op) ? COSTS[node.op as OpName] : undefined
    if (!cost) continue
    const dims = (name: string | undefined) => (name ? numbers(graph, values.get(name), sizes, node) : undefined)
    total += cost({ node, options, input: (i) => dims(node.inputs[i]), output: (i) => dims(node.outputs[i]) ?? [] })
  }
  return total
}

/** The graph with its inputs of known size, and everything behind them inferred anew: numbers where there were symbols. */
function bound(graph: Graph, sizes: DimBindings): Graph {
  const fixed = (value: Value): Value => ({ ...value, dims: value.dims.map((dim) => bindDim(dim, sizes) ?? dim) })
  const values = new Map<string, Value>()
  for (const name of graph.initializers.keys()) values.set(name, graph.values.get(name)!)
  for (const input of graph.inputs) values.set(input.name, fixed(input))
  return inferTypes({ ...graph, values })
}

function numbers(graph: Graph, value: Value | undefined, sizes: DimBindings, node: GraphNode): readonly number[] {
  const dims = value?.dims ?? ['?']
  return dims.map((dim) => {
    const size = bindDim(dim, sizes)
    if (size !== undefined) return size
    const inputs = graph.inputs.map((each) => `${each.name} ${formatDims(each.dims)}`)
    throw new M4Error(
      'USAGE',
      `Cost of ${node.op} ${node.name}: the size ${dim} of ${formatDims(dims)} is not known.`,
      {
        hint: `Give sizes for the symbols of the inputs: ${inputs.join(', ')}.`,
      },
    )
  })
}

/** Elements of all weights; constants that the builder made are none. */
export function countWeights(graph: Graph): number {
  let count = 0
  for (const [name, { dims }] of graph.initializers) if (!name.startsWith('constants/')) count += product(dims)
  return count
}

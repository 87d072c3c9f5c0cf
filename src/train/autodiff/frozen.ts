/**
 * Inference graphs as part of a training graph. Norms keep the statistics that their gradients read; products with a quantised
 * weight are run as the device runs them, and their input's gradient is a product with the transposed weight, in int8 too.
 */

import { M4Error } from '../../core/errors.js'
import { type Graph, type GraphNode, type GraphTensor, inlineGraph, type Scope, type Value } from '../../graph/index.js'
import { int8Product } from '../../models/index.js'
import { SAVED_STATISTICS } from './rules/norms.js'
import { product } from './rules/products.js'
import type { Tape } from './tape.js'

/** An int8 matrix [in, out] with a scale per column, as `int8Product` takes it; or a float32 matrix. */
export type FrozenMatrix =
  | { readonly codes: GraphTensor; readonly scales: GraphTensor }
  | { readonly matrix: GraphTensor }

/** What a node with a quantised weight W [N, K] is multiplied by. */
export interface FrozenWeights {
  /** W [N, K]: the input's gradient is dy·W. */
  backward(node: GraphNode): FrozenMatrix
  /** Wᵀ [K, N] to run the forward product in int8 too, twice as fast; undefined runs the node as it is. */
  forward?(node: GraphNode): FrozenMatrix | undefined
}

export interface DifferentiableOptions {
  /** Values for inputs and for initializers that are trained. */
  readonly values: ReadonlyMap<string, Value>
  readonly prefix?: string
  readonly wanted?: readonly string[]
  /** Needed where gradients pass a quantised product. */
  readonly frozen?: FrozenWeights
  /** Another emission for a node of this graph: its outputs, or undefined. */
  readonly replace?: (
    node: GraphNode,
    inputs: readonly (Value | undefined)[],
  ) => readonly (Value | undefined)[] | undefined
}

/** Adds `graph` to the tape's builder, ready for `gradients`. @throws M4Error as `inlineGraph` */
export function differentiable(tape: Tape, graph: Graph, options: DifferentiableOptions): Map<string, Value> {
  const { prefix = '', frozen } = options
  const int8 = int8Inputs(graph)
  const sources = new Map<string, Value>()
  return inlineGraph(tape.g, graph, {
    ...options,
    extraOutputs: ({ op, outputs }) => {
      const saved = SAVED_STATISTICS[op as keyof typeof SAVED_STATISTICS]
      return saved && Object.fromEntries(Object.entries(saved).map(([i, suffix]) => [i, `${outputs[0]}/${suffix}`]))
    },
    replace: (node, inputs) => {
      const other = options.replace?.(node, inputs)
      if (other) return other
      if (node.op === 'Div') sources.set(node.outputs[0]!, inputs[0]!)
      if (!frozen) return undefined
      if (node.op === 'MatMulNBits') return [frozenLinear(tape, node, node, inputs, frozen, prefix)]
      const quantised = node.op === 'Mul' ? int8.get(node.name) : undefined
      if (!quantised) return undefined
      const x = sources.get(quantised.divided)!
      const output = tape.g.addNode('Mul', inputs, {}, [`${prefix}${node.outputs[0]}`])[0]!
      return [tape.composite({ output, inputs: [x], backward: inputGradient(tape, quantised.node, frozen, prefix) })]
    },
  })
}

/** A product with a quantised weight: as it is, or in int8, with its gradient. */
function frozenLinear(
  tape: Tape,
  node: GraphNode,
  weight: GraphNode,
  inputs: readonly (Value | undefined)[],
  frozen: FrozenWeights,
  prefix: string,
): Value {
  const { g } = tape
  const x = inputs[0]!
  const faster = frozen.forward?.(node)
  const output = faster
    ? frozenProduct(tape, g, x, faster, `${prefix}${weight.name}`, 'forward')
    : g.addNode('MatMulNBits', inputs, node.attributes, [`${prefix}${node.outputs[0]}`])[0]!
  return tape.composite({ output, inputs: [x], backward: inputGradient(tape, weight, frozen, prefix) })
}

const inputGradient =
  (tape: Tape, node: GraphNode, frozen: FrozenWeights, prefix: string) =>
  (scope: Scope, dy: Value): readonly [Value] => [
    frozenProduct(tape, scope, dy, frozen.backward(node), `${prefix}${node.name}`, 'backward'),
  ]

function frozenProduct(
  tape: Tape,
  scope: Scope,
  x: Value,
  weight: FrozenMatrix,
  name: string,
  direction: 'forward' | 'backward',
): Value {
  const { g } = tape
  const keep = (part: string, tensor: GraphTensor) => {
    const full = `frozen/${name}/${direction}/${part}`
    return g.value(full) ?? g.initializer(full, tensor)
  }
  if ('matrix' in weight) return product(scope, x, keep('matrix', weight.matrix))
  const label = direction === 'forward' ? `${name}/int8` : 'int8'
  return int8Product(scope, x, keep('codes', weight.codes), keep('scales', weight.scales), label)
}

/** The Mul behind each DynamicQuantizeMatMul whose input was divided by its row's scale (see models/linear `w8a8`). */
function int8Inputs(graph: Graph): Map<string, { readonly node: GraphNode; readonly divided: string }> {
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)))
  const found = new Map<string, { node: GraphNode; divided: string }>()
  for (const node of graph.nodes) {
    if (node.op !== 'Mul') continue
    const quantised = makers.get(node.inputs[0]!)
    if (quantised?.op !== 'DynamicQuantizeMatMul') continue
    const divided = makers.get(quantised.inputs[0]!)
    if (divided?.op !== 'Div' || divided.inputs[1] !== node.inputs[1])
      throw new M4Error(
        'NOT_AVAILABLE',
        `${quantised.name}: expected x / scale before and · scale behind the int8 product.`,
        {
          hint: 'Build the image again with this version of m4fm.',
        },
      )
    found.set(node.name, { node: quantised, divided: quantised.inputs[0]! })
  }
  return found
}

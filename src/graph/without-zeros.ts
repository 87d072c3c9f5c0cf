/** A graph whose given inputs are zero, without the work that they would cost: what adapters at places that nobody trains are. */

import type { Graph, GraphNode } from './types.js'

/** How zeros pass through an operator: every output is zero when one (`any`) or all of the inputs are. */
const ZERO_IF: Readonly<Record<string, 'any' | 'all'>> = Object.freeze({
  MatMul: 'any',
  Mul: 'any',
  Split: 'all',
  // Deltas of clips are reshaped before they are added.
  Reshape: 'all',
})

/**
 * The same function for zeros at `inputs` (of any rank, also of no rows at all): products with them and sums with those vanish.
 * Only Add drops a zero operand, and only where the other has the result's shape: as LoRA's deltas are added.
 */
export function withoutZeros(graph: Graph, inputs: ReadonlySet<string>): Graph {
  const zero = new Set(inputs)
  const alias = new Map<string, string>()
  const real = (name: string) => alias.get(name) ?? name
  const nodes: GraphNode[] = []
  for (const given of graph.nodes) {
    const node = { ...given, inputs: given.inputs.map(real) }
    const rule = ZERO_IF[node.op]
    const isZero = (name: string) => zero.has(name)
    if (rule && (rule === 'any' ? node.inputs.some(isZero) : isZero(node.inputs[0]!))) {
      for (const output of node.outputs) zero.add(output)
      continue
    }
    if (node.op === 'Add' && node.inputs.some(isZero)) {
      const other = node.inputs.find((name) => !isZero(name))
      if (other === undefined) zero.add(node.outputs[0]!)
      else alias.set(node.outputs[0]!, other)
      continue
    }
    nodes.push(node)
  }
  return { ...graph, inputs: graph.inputs.filter(({ name }) => !inputs.has(name)), nodes }
}

/**
 * A whole graph as part of another: its nodes are added to a builder again, its inputs replaced by values that are there. This is
 * how training takes the very graph that a device runs.
 */

import { M4Error, unknownName } from '../core/errors.js'
import type { GraphBuilder } from './builder.js'
import type { AttributesOf, OpName } from './ops.js'
import { signatureOf } from './ops.js'
import type { Graph, GraphNode, Value } from './types.js'

/** What a node's replacement may use. Returns its outputs, or undefined to keep the node as it is. */
export type NodeReplacement = (
  node: GraphNode,
  inputs: readonly (Value | undefined)[],
) => readonly (Value | undefined)[] | undefined

export interface InlineOptions {
  /** Values for the graph's inputs; also for initializers that are to be something else. */
  readonly values: ReadonlyMap<string, Value>
  /** In front of every name: `decode/`. Default ''. */
  readonly prefix?: string
  /** Outputs (or values inside) that are wanted; nodes that none of them needs are left out. Default: all outputs. */
  readonly wanted?: readonly string[]
  readonly replace?: NodeReplacement
  /** Names for outputs that the node leaves out but the caller needs (statistics of norms). Index → name. */
  readonly extraOutputs?: (node: GraphNode) => Readonly<Record<number, string>> | undefined
}

/**
 * Adds `graph` to `g` and gives the wanted values by their names in `graph`.
 * @throws M4Error `UNKNOWN_NAME` for a wanted value that the graph has not, `USAGE` for an input without a value,
 * `FORMAT_UNSUPPORTED` for an operator that is not in the table
 */
export function inlineGraph(g: GraphBuilder, graph: Graph, options: InlineOptions): Map<string, Value> {
  const { prefix = '', wanted = graph.outputs.map(({ name }) => name) } = options
  const known = new Map<string, Value>(options.values)
  const lookUp = (name: string): Value | undefined => {
    if (name === '') return undefined
    const found = known.get(name)
    if (found) return found
    const tensor = graph.initializers.get(name)
    if (!tensor)
      throw new M4Error('USAGE', `Graph ${graph.name}: the input "${name}" has no value.`, {
        hint: 'Give one for every input that the wanted outputs depend on.',
      })
    const value = g.initializer(`${prefix}${name}`, tensor)
    known.set(name, value)
    return value
  }
  for (const node of neededNodes(graph, wanted, options.values)) {
    const inputs = node.inputs.map(lookUp)
    const outputs = options.replace?.(node, inputs) ?? addAgain(g, node, inputs, options)
    node.outputs.forEach((name, i) => {
      if (name !== '' && outputs[i]) known.set(name, outputs[i])
    })
  }
  return new Map(
    wanted.map((name) => {
      const value = known.get(name)
      if (!value) throw unknownName(`value of graph ${graph.name}`, name, graph.values.keys())
      return [name, value]
    }),
  )
}

function addAgain(
  g: GraphBuilder,
  node: GraphNode,
  inputs: readonly (Value | undefined)[],
  { prefix = '', extraOutputs }: InlineOptions,
): readonly (Value | undefined)[] {
  if (!signatureOf(node.op, node.domain))
    throw new M4Error('FORMAT_UNSUPPORTED', `${node.op} ${node.name}: M4 has no operator of this name.`, {
      hint: 'Graphs of foreign files run as they are; they cannot be made part of another.',
    })
  const names: (string | undefined)[] = node.outputs.map((name) => (name === '' ? undefined : `${prefix}${name}`))
  for (const [index, name] of Object.entries(extraOutputs?.(node) ?? {})) names[Number(index)] ??= `${prefix}${name}`
  for (let i = 0; i < names.length; i++) names[i] ??= undefined
  return g.addNode(node.op as OpName, inputs, node.attributes as AttributesOf<OpName>, names)
}

/** The nodes that the wanted values need, in order. */
function neededNodes(graph: Graph, wanted: readonly string[], given: ReadonlyMap<string, Value>): GraphNode[] {
  const live = new Set(wanted.filter((name) => !given.has(name)))
  const needed: GraphNode[] = []
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some((name) => live.has(name))) continue
    needed.push(node)
    for (const name of node.inputs) if (!given.has(name)) live.add(name)
  }
  return needed.reverse()
}

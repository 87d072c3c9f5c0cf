/** Which operators a graph is made of, and how many: the paper's Figure 14 counts types; sub-graphs of If and Loop count too. */

import { parseModel } from './proto/decode.js'
import type { GraphProto } from './proto/generated/onnx_pb.js'
import type { Graph } from './types.js'

export interface Census {
  /** Operator types, sorted; other domains than ai.onnx stand before the name: `com.microsoft.MatMulNBits`. */
  readonly types: readonly string[]
  /** Nodes of each type. */
  readonly counts: Readonly<Record<string, number>>
  /** Nodes of each type in the outermost graphs only. */
  readonly withoutSubgraphs: Readonly<Record<string, number>>
  /** Nodes, sub-graphs included. */
  readonly total: number
}

/** What the census needs to see of a graph, in memory or in a file. */
interface Countable {
  readonly nodes: readonly { readonly op: string; readonly domain: string; readonly subgraphs: readonly Countable[] }[]
}

/**
 * Census of one or more graphs, or of ONNX files given as bytes (of any maker: types of weights do not matter here). Bodies of
 * model-local functions are not counted, their calls are.
 * @throws M4Error `FORMAT_INVALID` for bytes that are no ONNX model
 */
export function censusOf(models: Graph | Uint8Array | readonly (Graph | Uint8Array)[]): Census {
  const all: readonly (Graph | Uint8Array)[] = Array.isArray(models) ? models : [models as Graph | Uint8Array]
  const counts = new Map<string, number>()
  const outer = new Map<string, number>()
  for (const model of all)
    count(model instanceof Uint8Array ? countableProto(parseModel(model).graph) : countableGraph(model), counts, outer)
  const types = [...counts.keys()].sort()
  const sorted = (tally: ReadonlyMap<string, number>) =>
    Object.fromEntries(types.filter((type) => tally.has(type)).map((type) => [type, tally.get(type)!]))
  const total = [...counts.values()].reduce((sum, each) => sum + each, 0)
  return { types, counts: sorted(counts), withoutSubgraphs: sorted(outer), total }
}

function count(graph: Countable, counts: Map<string, number>, outer?: Map<string, number>): void {
  for (const { op, domain, subgraphs } of graph.nodes) {
    const type = domain === '' || domain === 'ai.onnx' ? op : `${domain}.${op}`
    counts.set(type, (counts.get(type) ?? 0) + 1)
    outer?.set(type, (outer.get(type) ?? 0) + 1)
    for (const subgraph of subgraphs) count(subgraph, counts)
  }
}

const countableGraph = (graph: Graph): Countable => ({
  nodes: graph.nodes.map(({ op, domain, attributes }) => ({
    op,
    domain,
    subgraphs: Object.values(attributes).flatMap((value) =>
      typeof value === 'object' && 'nodes' in value ? [countableGraph(value)] : [],
    ),
  })),
})

const countableProto = (graph: GraphProto): Countable => ({
  nodes: graph.node.map(({ opType, domain, attribute }) => ({
    op: opType,
    domain,
    subgraphs: attribute.flatMap(({ g, graphs }) => [...(g ? [g] : []), ...graphs].map(countableProto)),
  })),
})

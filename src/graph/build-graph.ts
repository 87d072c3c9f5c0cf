/** Last step of the builder: gives outputs their outside names, and refuses what no output depends on. */

import { M4Error } from '../core/errors.js'
import type { Graph, GraphNode, GraphTensor, Value } from './types.js'

/** What a builder has gathered. */
export interface GraphDraft {
  readonly name: string
  readonly opsets: Readonly<Record<string, number>>
  readonly inputs: readonly Value[]
  readonly outputs: readonly { readonly name: string; readonly value: Value }[]
  readonly nodes: readonly GraphNode[]
  readonly initializers: ReadonlyMap<string, GraphTensor>
  readonly values: ReadonlyMap<string, Value>
}

export interface AssembleOptions {
  /** Leave out what no output depends on instead of refusing it: gradients are written before it is known which are wanted. */
  readonly dropIdle?: boolean
}

/**
 * The graph of a draft. An output whose value has another name renames that value; when that cannot be (an input, an
 * initializer, a value given out twice) an Identity node gives the name.
 * @throws M4Error `USAGE`
 */
export function assembleGraph(given: GraphDraft, { dropIdle = false }: AssembleOptions = {}): Graph {
  if (given.outputs.length === 0)
    throw new M4Error('USAGE', `Graph ${given.name}: expected at least one output, got none.`, {
      hint: 'Call output().',
    })
  const draft = dropIdle ? withoutIdle(given) : given
  if (!dropIdle) assertAllUsed(draft)
  const produced = new Set(draft.nodes.flatMap((node) => node.outputs))
  const renamed = new Map<string, string>()
  const identities: GraphNode[] = []
  const values = new Map(draft.values)
  for (const { name, value } of draft.outputs) {
    if (name === value.name) continue
    if (values.has(name))
      throw new M4Error('USAGE', `Graph ${draft.name}: the output name "${name}" is also the name of another value.`, {
        hint: 'Rename one of them.',
      })
    const givenOut = draft.outputs.some((other) => other.name === value.name && other.value.name === value.name)
    const { dtype, dims } = draft.values.get(value.name)!
    if (produced.has(value.name) && !renamed.has(value.name) && !givenOut) {
      renamed.set(value.name, name)
      values.delete(value.name)
    } else {
      const source = renamed.get(value.name) ?? value.name
      identities.push({ name, op: 'Identity', domain: '', inputs: [source], outputs: [name], attributes: {} })
    }
    values.set(name, { name, dtype, dims })
  }
  const rename = (name: string) => renamed.get(name) ?? name
  const nodes = draft.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    outputs: node.outputs.map(rename),
  }))
  return {
    name: draft.name,
    opsets: draft.opsets,
    inputs: draft.inputs.map((value) => values.get(value.name)!),
    outputs: draft.outputs.map(({ name }) => values.get(name)!),
    nodes: [...nodes, ...identities],
    initializers: new Map(draft.initializers),
    values,
  }
}

/** Names that the outputs depend on. */
function liveNames(draft: GraphDraft): ReadonlySet<string> {
  const live = new Set(draft.outputs.map(({ value }) => value.name))
  for (const node of draft.nodes.toReversed())
    if (node.outputs.some((name) => live.has(name))) for (const name of node.inputs) live.add(name)
  return live
}

function withoutIdle(draft: GraphDraft): GraphDraft {
  const live = liveNames(draft)
  const nodes = draft.nodes.filter(({ outputs }) => outputs.some((name) => live.has(name)))
  const made = new Set(nodes.flatMap(({ outputs }) => outputs))
  const kept = (name: string) => live.has(name) || made.has(name)
  return {
    ...draft,
    inputs: draft.inputs.filter(({ name }) => live.has(name)),
    nodes,
    initializers: new Map([...draft.initializers].filter(([name]) => live.has(name))),
    values: new Map([...draft.values].filter(([name]) => kept(name))),
  }
}

/** Nodes and initializers that no output depends on are mistakes: work or weights that nobody sees. */
function assertAllUsed(draft: GraphDraft): void {
  const live = liveNames(draft)
  const idle = draft.nodes
    .filter(({ outputs }) => !outputs.some((name) => live.has(name)))
    .map((node) => `${node.op} ${node.name}`)
  for (const name of draft.initializers.keys()) if (!live.has(name)) idle.push(`initializer ${name}`)
  if (idle.length)
    throw new M4Error(
      'USAGE',
      `Graph ${draft.name}: no output depends on ${idle.slice(0, 5).join(', ')}${idle.length > 5 ? ` and ${idle.length - 5} more` : ''}.`,
      { hint: 'Use them, or leave them out.', details: { unused: idle } },
    )
}

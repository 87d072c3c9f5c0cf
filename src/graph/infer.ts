/** Types of all values of a finished graph — decoded, or changed by hand — by the same rules that the builder uses. */

import type { Dim } from '../core/dims.js'
import { isM4Error, type M4Error } from '../core/errors.js'
import { freshSymbol } from './dims-algebra.js'
import { type OpName, signatureOf } from './ops.js'
import { inferNode, type Typed } from './shapes.js'
import { smallIntegers } from './tensors.js'
import type { Graph, GraphNode, Value } from './types.js'

export interface InferOptions {
  /**
   * Hears of nodes that the rules refuse, whose outputs then stay as they were. Without it the first one is thrown: right for
   * graphs of this builder, while foreign files may be valid in ways that the rules do not know (older opsets, computed axes).
   */
  readonly onProblem?: (node: GraphNode, problem: M4Error) => void
}

/**
 * The graph with `values` completed where operators are known. Sub-graphs are left as they are.
 * @throws M4Error of the first node that the rules refuse, unless `onProblem` is given
 */
export function inferTypes(graph: Graph, { onProblem }: InferOptions = {}): Graph {
  const values = new Map(graph.values)
  const contents = new Map<string, readonly Dim[]>()
  for (const [name, tensor] of graph.initializers) {
    const content = smallIntegers(name, tensor)
    if (content) contents.set(name, content)
  }
  let symbols = 0
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => typedInput(name, values, contents))
    if (!signatureOf(node.op, node.domain) || inputs.includes('unknown')) continue
    try {
      const types = inferNode({
        op: node.op as OpName,
        name: node.name,
        inputs: inputs as (Typed | undefined)[],
        attributes: node.attributes,
        outputs: node.outputs.length,
        fresh: () => freshSymbol(++symbols),
      })
      node.outputs.forEach((name, i) => {
        if (name === '') return
        const { dtype, dims, content } = types[i]!
        values.set(name, { name, dtype, dims: bestKnown(dims, values.get(name)) })
        if (content) contents.set(name, content)
      })
    } catch (error) {
      if (!onProblem || !isM4Error(error)) throw error
      onProblem(node, error)
    }
  }
  const completed = (value: Value): Value => (value.foreignType ? (values.get(value.name) ?? value) : value)
  return { ...graph, values, outputs: graph.outputs.map(completed) }
}

function typedInput(
  name: string,
  values: ReadonlyMap<string, Value>,
  contents: ReadonlyMap<string, readonly Dim[]>,
): Typed | undefined | 'unknown' {
  if (name === '') return undefined
  const value = values.get(name)
  return value ? { dtype: value.dtype, dims: value.dims, content: contents.get(name) } : 'unknown'
}

/** The file's own symbols are kept where the rules know no number. */
function bestKnown(inferred: readonly Dim[], declared: Value | undefined): readonly Dim[] {
  if (declared?.dims.length !== inferred.length) return inferred
  return inferred.map((dim, i) => (typeof dim === 'string' && declared.dims[i] !== '?' ? declared.dims[i]! : dim))
}

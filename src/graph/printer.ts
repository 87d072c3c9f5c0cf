/** A graph as text, one line a node: `layers.3/attn/q float32[B, T, 64] = MatMul(x, layers.3/attn/q/weight)`. */

import { formatDims } from '../core/dims.js'
import type { AttributeValue, Graph, GraphNode, GraphTensor, Value } from './types.js'

export interface PrintOptions {
  /** Also list initializers. Default off. */
  readonly weights?: boolean
}

/** Readable text of `graph`; sub-graphs are indented below their node. */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const opsets = Object.entries(graph.opsets).map(([domain, version]) => `${domain || 'ai.onnx'} ${version}`)
  const bytes = [...graph.initializers.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0)
  const head = `graph ${graph.name} (${opsets.join(', ')}; ${graph.nodes.length} nodes, ${graph.initializers.size} weights, ${bytes} bytes)`
  return `${[head, ...body(graph, options, '  ')].join('\n')}\n`
}

function body(graph: Graph, options: PrintOptions, indent: string): string[] {
  const lines = graph.inputs.map((value) => `${indent}input  ${typed(value)}`)
  if (options.weights)
    for (const [name, { dtype, dims }] of graph.initializers)
      lines.push(`${indent}weight ${name} ${dtype}${formatDims(dims)}`)
  for (const node of graph.nodes) lines.push(...nodeLines(node, graph, options, indent))
  return [...lines, ...graph.outputs.map((value) => `${indent}output ${typed(value)}`)]
}

function nodeLines(node: GraphNode, graph: Graph, options: PrintOptions, indent: string): string[] {
  const results = node.outputs.map((name) => {
    const value = graph.values.get(name)
    return value ? typed(value) : name || '_'
  })
  const attributes = Object.entries(node.attributes).map(([name, value]) => `${name}=${attributeText(value)}`)
  const operands = [...node.inputs.map((name) => name || '_'), ...attributes].join(', ')
  const op = node.domain ? `${node.domain}.${node.op}` : node.op
  const lines = [`${indent}${results.join(', ')} = ${op}(${operands})`]
  for (const [name, value] of Object.entries(node.attributes))
    if (isGraph(value)) lines.push(`${indent}  ${name}: graph ${value.name}`, ...body(value, options, `${indent}    `))
  return lines
}

const typed = ({ name, dtype, dims, foreignType }: Value): string =>
  `${name} ${foreignType ?? `${dtype}${formatDims(dims)}`}`

const isGraph = (value: AttributeValue): value is Graph => typeof value === 'object' && 'nodes' in value
const isTensor = (value: AttributeValue): value is GraphTensor => typeof value === 'object' && 'byteLength' in value

function attributeText(value: AttributeValue): string {
  if (isGraph(value)) return `graph ${value.name}`
  if (isTensor(value)) return `${value.dtype}${formatDims(value.dims)}`
  if (typeof value === 'object' && 'float' in value) return String(value.float)
  return JSON.stringify(typeof value === 'object' && 'floats' in value ? value.floats : value)
}

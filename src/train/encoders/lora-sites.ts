/**
 * LoRA as inputs of a graph that was built without: y += x·A·B at chosen products, in the form that graphs with adapters have.
 * Without an adapter (rank 0) the graph is what it was, bit for bit.
 *
 * @paper arXiv:2106.09685
 */

import { M4Error, unknownName } from '../../core/errors.js'
import { type Graph, type GraphNode, type GraphTensor, tensorFrom, type Value } from '../../graph/index.js'

export interface LoraSite {
  /** Of the inputs: `lora/<path>/A`, `lora/<path>/B`. */
  readonly path: string
  /** Products that share A and lie side by side in B, by their nodes' names: `layers.0/attn/q`. All read one input. */
  readonly products: readonly string[]
}

/**
 *   new inputs  lora/<path>/A [1 or B, in, R] · lora/<path>/B [1 or B, R, out], out of all products together
 * @throws M4Error `UNKNOWN_NAME` for a product that is not there, `USAGE` for two sites at one product or products of several
 * inputs, `NOT_AVAILABLE` where its width is not known
 */
export function withLoraSites(graph: Graph, sites: readonly LoraSite[]): Graph {
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)))
  const inputs: Value[] = [...graph.inputs]
  const values = new Map(graph.values)
  const initializers = new Map<string, GraphTensor>(graph.initializers)
  const before = new Map<string, GraphNode[]>()
  const deltas = new Map<string, string>()
  for (const { path, products } of sites) {
    const widths = products.map((product) => widthOf(graph, makers, product))
    const sources = new Set(products.map((product) => sourceOf(makers, makers.get(product)!)))
    const [x] = sources
    if (sources.size !== 1 || x === undefined)
      throw new M4Error('USAGE', `LoRA ${path}: expected products of one input, got ${sources.size}.`)
    const inner = values.get(x)?.dims.at(-1)
    if (typeof inner !== 'number') throw unknownWidth(path, x)
    for (const product of products) {
      if (deltas.has(product)) throw new M4Error('USAGE', `LoRA ${path}: ${product} has a site already.`)
      deltas.set(product, products.length === 1 ? `lora/${path}/delta` : `lora/${path}/delta/${product}`)
    }
    const out = widths.reduce((a, b) => a + b, 0)
    inputs.push(
      { name: `lora/${path}/A`, dtype: 'float32', dims: ['?', inner, 'R'] },
      { name: `lora/${path}/B`, dtype: 'float32', dims: ['?', 'R', out] },
    )
    const nodes = [
      plainNode('MatMul', [x, `lora/${path}/A`], [`lora/${path}/low`]),
      plainNode('MatMul', [`lora/${path}/low`, `lora/${path}/B`], [`lora/${path}/delta`]),
    ]
    if (products.length > 1) {
      initializers.set(`lora/${path}/widths`, tensorFrom('int64', [widths.length], BigInt64Array.from(widths, BigInt)))
      const parts = products.map((product) => deltas.get(product)!)
      nodes.push(plainNode('Split', [`lora/${path}/delta`, `lora/${path}/widths`], parts, { axis: -1 }))
    }
    const first = graph.nodes.find(({ outputs }) => outputs.some((name) => products.includes(name)))!
    before.set(first.name, [...(before.get(first.name) ?? []), ...nodes])
  }
  const nodes = graph.nodes.flatMap((node) => [...(before.get(node.name) ?? []), ...adapted(node, deltas)])
  return { ...graph, inputs, values, initializers, nodes }
}

/** The product under another name, and its sum with the delta under its own. */
function adapted(node: GraphNode, deltas: ReadonlyMap<string, string>): GraphNode[] {
  const output = node.outputs[0]!
  const delta = deltas.get(output)
  if (delta === undefined) return [node]
  const base = `${output}/base`
  const name = node.name === output ? base : node.name
  return [{ ...node, name, outputs: [base, ...node.outputs.slice(1)] }, plainNode('Add', [base, delta], [output])]
}

const plainNode = (
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: GraphNode['attributes'] = {},
): GraphNode => ({ name: outputs[0]!, op, domain: '', inputs, outputs, attributes })

function widthOf(graph: Graph, makers: ReadonlyMap<string, GraphNode>, product: string): number {
  const node = makers.get(product)
  if (!node) throw unknownName(`product of graph ${graph.name}`, product, makers.keys())
  const width = graph.values.get(product)?.dims.at(-1)
  if (typeof width !== 'number') throw unknownWidth(product, product)
  return width
}

/** What is multiplied: through the scales around an int8 product (models/linear `w8a8`). */
function sourceOf(makers: ReadonlyMap<string, GraphNode>, node: GraphNode): string {
  if (node.op === 'MatMul' || node.op === 'MatMulNBits') return node.inputs[0]!
  const quantised = node.op === 'Mul' ? makers.get(node.inputs[0]!) : undefined
  const divided = quantised?.op === 'DynamicQuantizeMatMul' ? makers.get(quantised.inputs[0]!) : undefined
  if (divided?.op === 'Div') return divided.inputs[0]!
  throw new M4Error('USAGE', `LoRA: ${node.name} (${node.op}) is no product with a weight.`, {
    hint: 'Name the node of a linear layer, without its bias.',
  })
}

const unknownWidth = (path: string, value: string) =>
  new M4Error('NOT_AVAILABLE', `LoRA ${path}: the width of ${value} is not known.`)

/**
 * A graph in half precision as one that computes in float32. Weights stay stored as halves and are widened by a Cast, which ONNX Runtime
 * folds at load. On a processor without half arithmetic nothing is lost: it would widen before every operator and round behind it,
 * to infinity beyond 65504 and to zero below 6e-8. Kokoro in half precision is not a number throughout for some sentences then.
 */

import { DTYPES, toFloat32 } from '../core/dtypes.js'
import { bytesOf, viewAs } from '../core/tensor.js'
import type { AttributeValue, Graph, GraphNode, GraphTensor, Value } from './types.js'

const HALF = DTYPES.float16.onnx
const FLOAT = DTYPES.float32.onnx
/** Attributes that name an element type. */
const TYPE_ATTRIBUTES = new Set(['to', 'dtype'])

export function withoutHalf(graph: Graph): Graph {
  const halves = [...graph.initializers].filter(([, { dtype }]) => dtype === 'float16')
  const taken = new Set([...graph.initializers.keys(), ...graph.nodes.flatMap(({ outputs }) => outputs)])
  const stored = (name: string): string => (taken.has(`${name}/half`) ? stored(`${name}/half`) : `${name}/half`)
  const widening = halves.map(
    ([name]): GraphNode => ({
      name: `${name}/widened`,
      op: 'Cast',
      domain: '',
      inputs: [stored(name)],
      outputs: [name],
      attributes: { to: FLOAT },
    }),
  )
  return {
    ...graph,
    inputs: graph.inputs.map(wide),
    outputs: graph.outputs.map(wide),
    nodes: [...widening, ...graph.nodes.map(wideNode)],
    initializers: new Map(
      [...graph.initializers].map(([name, tensor]) => [tensor.dtype === 'float16' ? stored(name) : name, tensor]),
    ),
    values: new Map([...graph.values].map(([name, value]) => [name, wide(value)])),
  }
}

const wide = (value: Value): Value => (value.dtype === 'float16' ? { ...value, dtype: 'float32' } : value)

function wideNode(node: GraphNode): GraphNode {
  const attributes = Object.entries(node.attributes).map(([name, value]) => [name, wideAttribute(name, value)])
  return { ...node, attributes: Object.fromEntries(attributes) }
}

function wideAttribute(name: string, value: AttributeValue): AttributeValue {
  if (value === HALF && TYPE_ATTRIBUTES.has(name)) return FLOAT
  if (typeof value !== 'object' || Array.isArray(value)) return value
  if ('nodes' in value) return withoutHalf(value)
  return 'bytes' in value && value.dtype === 'float16' ? wideTensor(value) : value
}

function wideTensor(tensor: GraphTensor): GraphTensor {
  const bytes = () => bytesOf(toFloat32('float16', viewAs('float16', tensor.bytes())))
  return { dtype: 'float32', dims: tensor.dims, byteLength: tensor.byteLength * 2, bytes }
}

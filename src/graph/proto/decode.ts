/**
 * ONNX file → Graph, for files of any maker: unknown operators pass, weights stay views into the file's bytes (or are read
 * from external data on demand), sub-graphs become attributes.
 *
 * @see https://github.com/onnx/onnx/blob/v1.16.0/docs/IR.md
 */

import { fromBinary } from '@bufbuild/protobuf'
import type { Dim } from '../../core/dims.js'
import { dtypeFromOnnx } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { UNKNOWN_DIM } from '../dims-algebra.js'
import type { AttributeValue, Graph, GraphNode, GraphTensor, Value } from '../types.js'
import { type DecodeOptions, decodeTensor, invalid } from './decode-tensor.js'
import {
  type AttributeProto,
  TensorProto_DataType as ElementType,
  type GraphProto,
  AttributeProto_AttributeType as Kind,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type TypeProto,
  type ValueInfoProto,
} from './generated/onnx_pb.js'

export type { DecodeOptions } from './decode-tensor.js'

/** The raw message tree. @throws M4Error `FORMAT_INVALID` when the bytes are no ONNX model. */
export function parseModel(bytes: Uint8Array): ModelProto & { readonly graph: GraphProto } {
  let model: ModelProto
  try {
    model = fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false })
  } catch (error) {
    // Cut-off fields, wrong wire types and nesting without end all arrive here.
    throw invalid('the file', 'an ONNX model', (error as Error).message, error)
  }
  // Bytes that are no model at all often parse as one with nothing in it.
  if (!model.graph || model.irVersion <= 0n) throw invalid('the file', 'a model with a graph and an ir_version', 'none')
  return model as ModelProto & { graph: GraphProto }
}

/**
 * The graph of an ONNX file. `bytes` must not change while the graph is used.
 * @throws M4Error `FORMAT_INVALID` for malformed files, `FORMAT_UNSUPPORTED` for model-local functions, sparse weights and
 * weights of an element type that M4 does not have
 */
export function decodeModel(bytes: Uint8Array, options: DecodeOptions = {}): Graph {
  const model = parseModel(bytes)
  if (model.functions.length)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `Model-local functions (${model.functions[0]!.name}, …) are not supported.`,
      {
        hint: 'Inline them with onnx.inliner.inline_local_functions and save the model again.',
      },
    )
  const opsets: Record<string, number> = {}
  for (const { domain, version } of model.opsetImport) {
    opsets[plainDomain(domain)] = safeInteger(version, `opset of "${domain}"`)
  }
  return decodeGraph(model.graph, opsets, options)
}

function decodeGraph(proto: GraphProto, opsets: Record<string, number>, options: DecodeOptions): Graph {
  if (proto.sparseInitializer.length)
    throw new M4Error('FORMAT_UNSUPPORTED', `Graph ${proto.name}: sparse initializers are not supported.`)
  const initializers = new Map<string, GraphTensor>()
  const values = new Map<string, Value>()
  for (const tensor of proto.initializer) {
    if (tensor.name === '' || initializers.has(tensor.name))
      throw invalid(`graph ${proto.name}`, 'initializers with names of their own', `"${tensor.name}"`)
    const decoded = decodeTensor(tensor.name, tensor, options)
    initializers.set(tensor.name, decoded)
    values.set(tensor.name, { name: tensor.name, dtype: decoded.dtype, dims: decoded.dims })
  }
  // Files before IR version 4 list initializers among the inputs as well.
  const inputs = proto.input.map(decodeValue).filter(({ name }) => !initializers.has(name))
  const outputs = proto.output.map(decodeValue)
  for (const value of [...proto.valueInfo.map(decodeValue), ...outputs, ...inputs])
    if (!value.foreignType) values.set(value.name, value)
  const nodes = proto.node.map((node) => decodeNode(node, opsets, options))
  return { name: proto.name, opsets, inputs, outputs, nodes, initializers, values }
}

const plainDomain = (domain: string): string => (domain === 'ai.onnx' ? '' : domain)

function decodeNode(node: NodeProto, opsets: Record<string, number>, options: DecodeOptions): GraphNode {
  const name = node.name || node.output.find((output) => output !== '') || node.opType
  if (node.opType === '') throw invalid(`node ${name}`, 'an operator', 'none')
  const attributes: Record<string, AttributeValue> = {}
  for (const attribute of node.attribute) {
    const place = `${node.opType} ${name}, attribute "${attribute.name}"`
    // Object keys of foreign origin: defined, so that none can reach a prototype.
    Object.defineProperty(attributes, attribute.name, {
      value: decodeAttribute(attribute, place, opsets, options),
      enumerable: true,
    })
  }
  return {
    name,
    op: node.opType,
    domain: plainDomain(node.domain),
    inputs: node.input,
    outputs: node.output,
    attributes,
  }
}

function decodeAttribute(
  attribute: AttributeProto,
  place: string,
  opsets: Record<string, number>,
  options: DecodeOptions,
): AttributeValue {
  const decode = DECODERS[kindOf(attribute)]
  if (!decode)
    throw new M4Error('FORMAT_UNSUPPORTED', `${place}: attributes of type ${Kind[attribute.type]} are not supported.`)
  const value = decode(attribute, place, opsets, options)
  return (
    value ??
    (() => {
      throw invalid(place, 'a value of its type', 'none')
    })()
  )
}

/** Files before IR version 2 leave the type out; the field that is set tells it. */
function kindOf(attribute: AttributeProto): Kind {
  if (attribute.type !== Kind.UNDEFINED) return attribute.type
  if (attribute.t) return Kind.TENSOR
  if (attribute.g) return Kind.GRAPH
  if (attribute.ints.length) return Kind.INTS
  if (attribute.floats.length) return Kind.FLOATS
  if (attribute.strings.length) return Kind.STRINGS
  if (attribute.s.length) return Kind.STRING
  return attribute.f !== 0 ? Kind.FLOAT : Kind.INT
}

type Decoder = (
  attribute: AttributeProto,
  place: string,
  opsets: Record<string, number>,
  options: DecodeOptions,
) => AttributeValue | undefined

const text = new TextDecoder()

const DECODERS: { readonly [K in Kind]?: Decoder } = {
  [Kind.INT]: ({ i }, place) => safeInteger(i, place),
  [Kind.FLOAT]: ({ f }) => ({ float: f }),
  [Kind.STRING]: ({ s }) => text.decode(s),
  [Kind.INTS]: ({ ints }, place) => ints.map((item) => safeInteger(item, place)),
  [Kind.FLOATS]: ({ floats }) => ({ floats }),
  [Kind.STRINGS]: ({ strings }) => strings.map((item) => text.decode(item)),
  [Kind.TENSOR]: ({ t }, place, _, options) => t && decodeTensor(place, t, options),
  [Kind.GRAPH]: ({ g }, _, opsets, options) => g && decodeGraph(g, opsets, options),
}

function safeInteger(value: bigint, place: string): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw invalid(place, 'an integer below 2^53', String(value))
  return number
}

function decodeValue(info: ValueInfoProto): Value {
  if (info.name === '') throw invalid('an input or output', 'a name', 'none')
  const unusable = (foreignType: string): Value => ({ name: info.name, dtype: 'float32', dims: [], foreignType })
  const type = info.type?.value
  if (type?.case !== 'tensorType') return unusable(typeName(info.type))
  const { elemType, shape } = type.value
  const dtype = dtypeFromOnnx(elemType)
  if (!dtype) return unusable(typeName(info.type))
  if (!shape) return { ...unusable(`${typeName(info.type)} of unknown rank`), dtype }
  return { name: info.name, dtype, dims: shape.dim.map((dim) => decodeDim(dim.value, info.name)) }
}

type DimValue = { case: 'dimValue'; value: bigint } | { case: 'dimParam'; value: string } | { case: undefined }

function decodeDim(dim: DimValue, name: string): Dim {
  if (dim.case === undefined) return UNKNOWN_DIM
  if (dim.case === 'dimParam') return dim.value === '' ? UNKNOWN_DIM : dim.value
  // Some exporters write -1 for a size that they do not know.
  return dim.value < 0n ? UNKNOWN_DIM : safeInteger(dim.value, `value ${name}`)
}

/** `seq(tensor(float))`, as ONNX's own documents spell types. */
function typeName(type: TypeProto | undefined): string {
  const value = type?.value
  if (value?.case === 'tensorType' || value?.case === 'sparseTensorType')
    return `${value.case === 'tensorType' ? '' : 'sparse_'}tensor(${(ElementType[value.value.elemType] ?? String(value.value.elemType)).toLowerCase()})`
  if (value?.case === 'sequenceType') return `seq(${typeName(value.value.elemType)})`
  if (value?.case === 'optionalType') return `optional(${typeName(value.value.elemType)})`
  return value?.case === 'mapType' ? 'map' : 'unknown'
}

/**
 * Graph → ONNX file (ModelProto). The same graph gives the same bytes. Weights are read one at a time, so a graph of any size
 * is written in the memory of its largest tensor.
 *
 * @see https://github.com/onnx/onnx/blob/v1.16.0/docs/IR.md
 * @see https://github.com/onnx/onnx/blob/v1.16.0/docs/ExternalData.md
 */

import { create, toBinary } from '@bufbuild/protobuf'
import type { Dim } from '../../core/dims.js'
import { DTYPES } from '../../core/dtypes.js'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import { type LongOperation, yieldToEventLoop } from '../../core/progress.js'
import { UNKNOWN_DIM } from '../dims-algebra.js'
import type { AttributeType } from '../op-types.js'
import { signatureOf } from '../ops.js'
import { readTensor } from '../tensors.js'
import type { AttributeValue, Graph, GraphNode, GraphTensor, Value } from '../types.js'
import {
  type AttributeProto,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  TensorProto_DataLocation as Location,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type TensorShapeProto_Dimension,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './generated/onnx_pb.js'

/** IR version that goes with opset 21. */
const IR_VERSION = 10n
/** External tensors start on cache lines, so that a mapped file can be used as it lies. */
export const EXTERNAL_ALIGNMENT = 64

export interface ExternalDataOptions {
  /**
   * Name of the data file, relative to the model file; a function is asked once, after the last weight was written, so that
   * the name may depend on the content.
   */
  readonly location: string | (() => string | Promise<string>)
  /** Receives the data file in order, from its first byte on; chunks are not used again afterwards. */
  readonly write: (chunk: Uint8Array) => void | Promise<void>
  /** Tensors of at least this many bytes go to the data file. Default 1024. */
  readonly minBytes?: number
  /** Where bytes lie already, in a file beside the model: they are named there and not written. Default: nowhere. */
  readonly find?: (bytes: Uint8Array) => { readonly location: string; readonly offset: number } | undefined
}

/** The name of a data file that already holds a tensor's bytes, relative to the model file; undefined writes them again. */
export type InPlace = (place: { readonly location: string; readonly offset: number }) => string | undefined

export interface EncodeOptions extends LongOperation {
  readonly externalData?: ExternalDataOptions
  /** Which tensors with a `place` are named where they are. Default: none. */
  readonly inPlace?: InPlace
  /** Name of the tool that is written into the file. Default `m4fm`. */
  readonly producer?: string
  /** Also write the types of intermediate values, for viewers. Default off: the runtime infers them itself. */
  readonly valueInfo?: boolean
}

interface Writing {
  readonly options: EncodeOptions
  readonly totalBytes: number
  doneBytes: number
  externalOffset: number
  /** Where the name of the data file goes once it is known. */
  readonly locations: { value: string }[]
}

/**
 * The model file of `graph`. With `externalData` the large weights go to a second file through `write`.
 * @throws M4Error `ABORTED`, `SHAPE_MISMATCH` for a lazy tensor of the wrong size, `FORMAT_UNSUPPORTED` for a foreign type;
 * what `write` and the tensors throw passes through
 */
export async function encodeModel(graph: Graph, options: EncodeOptions = {}): Promise<Uint8Array> {
  let totalBytes = 0
  for (const tensor of graph.initializers.values()) totalBytes += tensor.byteLength
  const writing: Writing = { options, totalBytes, doneBytes: 0, externalOffset: 0, locations: [] }
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: options.producer ?? 'm4fm',
    graph: await encodeGraph(graph, writing),
    opsetImport: Object.entries(graph.opsets).map(([domain, version]) =>
      create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }),
    ),
  })
  if (writing.locations.length) {
    const { location } = options.externalData!
    const name = typeof location === 'string' ? location : await location()
    for (const entry of writing.locations) entry.value = name
  }
  return toBinary(ModelProtoSchema, model)
}

async function encodeGraph(graph: Graph, writing: Writing): Promise<GraphProto> {
  const initializer: TensorProto[] = []
  for (const [name, tensor] of graph.initializers) {
    throwIfAborted(writing.options.signal)
    initializer.push(await encodeWeight(name, tensor, writing))
    writing.doneBytes += tensor.byteLength
    writing.options.onProgress?.({
      task: `write ${graph.name}`,
      done: writing.doneBytes,
      total: writing.totalBytes,
      unit: 'bytes',
    })
  }
  const node = []
  for (const item of graph.nodes) node.push(await encodeNode(item, writing))
  const outside = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name))
  const inner = writing.options.valueInfo
    ? [...graph.values.values()].filter(({ name }) => !outside.has(name) && !graph.initializers.has(name))
    : []
  return create(GraphProtoSchema, {
    name: graph.name,
    node,
    initializer,
    input: graph.inputs.map(encodeValue),
    output: graph.outputs.map(encodeValue),
    valueInfo: inner.map(encodeValue),
  })
}

async function encodeWeight(name: string, tensor: GraphTensor, writing: Writing): Promise<TensorProto> {
  const { externalData: external, inPlace } = writing.options
  const there = tensor.place && inPlace?.(tensor.place)
  if (there !== undefined) {
    const entries = { location: there, offset: String(tensor.place!.offset), length: String(tensor.byteLength) }
    return externalTensor(name, tensor, entries).proto
  }
  if (!external || tensor.byteLength < (external.minBytes ?? 1024)) return encodeTensor(name, tensor)
  const bytes = readTensor(name, tensor)
  const found = external.find?.(bytes)
  if (found) {
    const entries = { location: found.location, offset: String(found.offset), length: String(tensor.byteLength) }
    return externalTensor(name, tensor, entries).proto
  }
  const padding = (EXTERNAL_ALIGNMENT - (writing.externalOffset % EXTERNAL_ALIGNMENT)) % EXTERNAL_ALIGNMENT
  if (padding) await external.write(new Uint8Array(padding))
  const offset = writing.externalOffset + padding
  await external.write(bytes)
  // Readers and writers may both be synchronous: signals and timers get their turn here.
  await yieldToEventLoop()
  writing.externalOffset = offset + tensor.byteLength
  const entries = { location: '', offset: String(offset), length: String(tensor.byteLength) }
  const { proto, location } = externalTensor(name, tensor, entries)
  writing.locations.push(location)
  return proto
}

/** A tensor that lies in a file; the entry of its location may be filled in later. */
function externalTensor(
  name: string,
  tensor: GraphTensor,
  entries: { location: string; offset: string; length: string },
) {
  const externalData = Object.entries(entries).map(([key, value]) =>
    create(StringStringEntryProtoSchema, { key, value }),
  )
  const proto = create(TensorProtoSchema, {
    name,
    dims: tensor.dims.map(BigInt),
    dataType: DTYPES[tensor.dtype].onnx,
    dataLocation: Location.EXTERNAL,
    externalData,
  })
  return { proto, location: externalData[0]! }
}

function encodeTensor(name: string, tensor: GraphTensor): TensorProto {
  const dataType = DTYPES[tensor.dtype].onnx
  return create(TensorProtoSchema, { name, dims: tensor.dims.map(BigInt), dataType, rawData: readTensor(name, tensor) })
}

async function encodeNode(node: GraphNode, writing: Writing) {
  const attribute = []
  for (const [name, value] of Object.entries(node.attributes)) {
    const type = signatureOf(node.op, node.domain)?.attributes[name]?.type ?? typeOf(value)
    attribute.push(await ENCODERS[type](name, value, writing))
  }
  return create(NodeProtoSchema, {
    name: node.name,
    opType: node.op,
    domain: node.domain,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute,
  })
}

/** Type of an attribute that no signature names. An empty list is taken for integers. */
function typeOf(value: AttributeValue): AttributeType {
  if (typeof value === 'number') return 'int'
  if (typeof value === 'string') return 'string'
  if (Array.isArray(value)) return typeof value[0] === 'string' ? 'strings' : 'ints'
  if ('float' in value) return 'float'
  if ('floats' in value) return 'floats'
  return 'nodes' in value ? 'graph' : 'tensor'
}

type Encoder = (name: string, value: AttributeValue, writing: Writing) => AttributeProto | Promise<AttributeProto>

const text = new TextEncoder()

const ENCODERS: { readonly [T in AttributeType]: Encoder } = {
  int: (name, value) => create(AttributeProtoSchema, { name, type: Kind.INT, i: BigInt(value as number) }),
  float: (name, value) =>
    create(AttributeProtoSchema, { name, type: Kind.FLOAT, f: (value as { float: number }).float }),
  string: (name, value) => create(AttributeProtoSchema, { name, type: Kind.STRING, s: text.encode(value as string) }),
  ints: (name, value) =>
    create(AttributeProtoSchema, { name, type: Kind.INTS, ints: (value as readonly number[]).map(BigInt) }),
  floats: (name, value) =>
    create(AttributeProtoSchema, {
      name,
      type: Kind.FLOATS,
      floats: [...(value as { floats: readonly number[] }).floats],
    }),
  strings: (name, value) =>
    create(AttributeProtoSchema, {
      name,
      type: Kind.STRINGS,
      strings: (value as readonly string[]).map((item) => text.encode(item)),
    }),
  tensor: (name, value) =>
    create(AttributeProtoSchema, { name, type: Kind.TENSOR, t: encodeTensor('', value as GraphTensor) }),
  graph: async (name, value, writing) =>
    create(AttributeProtoSchema, { name, type: Kind.GRAPH, g: await encodeGraph(value as Graph, writing) }),
}

function encodeValue(value: Value): ValueInfoProto {
  if (value.foreignType === 'unknown') return create(ValueInfoProtoSchema, { name: value.name })
  if (value.foreignType)
    throw new M4Error('FORMAT_UNSUPPORTED', `Value ${value.name}: the type ${value.foreignType} cannot be written.`, {
      hint: 'Write only graphs whose inputs and outputs are tensors of numbers.',
    })
  const tensor = create(TypeProto_TensorSchema, {
    elemType: DTYPES[value.dtype].onnx,
    shape: create(TensorShapeProtoSchema, { dim: value.dims.map(encodeDim) }),
  })
  return create(ValueInfoProtoSchema, {
    name: value.name,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensor } }),
  })
}

function encodeDim(dim: Dim): TensorShapeProto_Dimension {
  if (dim === UNKNOWN_DIM) return create(TensorShapeProto_DimensionSchema)
  if (typeof dim === 'string')
    return create(TensorShapeProto_DimensionSchema, { value: { case: 'dimParam', value: dim } })
  return create(TensorShapeProto_DimensionSchema, { value: { case: 'dimValue', value: BigInt(dim) } })
}

/**
 * Writes small ONNX models by hand, for tests of the engine: it must not depend on the graph room's codec, which has tests of its own.
 * Protobuf by field number, after onnx.proto3 (IR version 10).
 */

import { DTYPES, type DType } from '../../src/core/dtypes.js'

export type Attribute = number | string | readonly number[] | { readonly float: number }

export interface TinyValue {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly (number | string)[]
}

export interface TinyNode {
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly domain?: string
}

export interface TinyInitializer {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: ArrayBufferView
  /** Kept in this file instead of in the model; the caller writes it. */
  readonly external?: string
}

export interface TinyModel {
  readonly inputs: readonly TinyValue[]
  readonly outputs: readonly TinyValue[]
  readonly nodes: readonly TinyNode[]
  readonly initializers?: readonly TinyInitializer[]
}

/** ModelProto bytes, opset 21 and com.microsoft 1. */
export function writeModel({ inputs, outputs, nodes, initializers = [] }: TinyModel): Uint8Array {
  const graph = join(
    nodes.map((node) => message(1, writeNode(node))),
    [text(2, 'test')],
    initializers.map((tensor) => message(5, writeTensor(tensor))),
    inputs.map((value) => message(11, writeValue(value))),
    outputs.map((value) => message(12, writeValue(value))),
  )
  const opset = (domain: string, version: number) => message(8, join([text(1, domain), integer(2, version)]))
  return new Uint8Array(join([integer(1, 10), message(7, graph), opset('', 21), opset('com.microsoft', 1)]))
}

function writeNode({ op, inputs, outputs, attributes = {}, domain = '' }: TinyNode): Buffer {
  return join(
    inputs.map((name) => text(1, name)),
    outputs.map((name) => text(2, name)),
    [text(3, outputs[0]!), text(4, op)],
    Object.entries(attributes).map(([name, value]) => message(5, writeAttribute(name, value))),
    [text(7, domain)],
  )
}

function writeAttribute(name: string, value: Attribute): Buffer {
  if (typeof value === 'string') return join([text(1, name), text(4, value), integer(20, 3)])
  if (typeof value === 'number') return join([text(1, name), integer(3, value), integer(20, 2)])
  if ('float' in value) {
    const bytes = Buffer.alloc(4)
    bytes.writeFloatLE(value.float)
    return join([text(1, name), varint((2 << 3) | 5), bytes, integer(20, 1)])
  }
  return join([text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)])
}

function writeValue({ name, dtype, dims }: TinyValue): Buffer {
  const shape = join(dims.map((dim) => message(1, typeof dim === 'number' ? integer(1, dim) : text(2, dim))))
  return join([text(1, name), message(2, message(1, join([integer(1, DTYPES[dtype].onnx), message(2, shape)])))])
}

function writeTensor({ name, dtype, dims, data, external }: TinyInitializer): Buffer {
  const head = [...dims.map((dim) => integer(1, dim)), integer(2, DTYPES[dtype].onnx), text(8, name)]
  if (external === undefined)
    return join(head, [message(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength))])
  const entry = (key: string, value: string) => message(13, join([text(1, key), text(2, value)]))
  return join(head, [entry('location', external), entry('length', String(data.byteLength)), integer(14, 1)])
}

const join = (...parts: readonly (readonly Buffer[])[]): Buffer => Buffer.concat(parts.flat())
const message = (field: number, bytes: Buffer): Buffer => join([varint((field << 3) | 2), varint(bytes.length), bytes])
const text = (field: number, value: string): Buffer => message(field, Buffer.from(value))
const integer = (field: number, value: number): Buffer => join([varint(field << 3), varint(value)])

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Buffer.from([...bytes, Number(rest)])
}

/** The initialisers of an ONNX model as a checkpoint (onnx.proto, TensorProto), found by walking the file; data is read on demand. */

import { WireType } from '@bufbuild/protobuf/wire'
import { type DType, dtypeFromOnnx } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { bytesOf } from '../core/tensor.js'
import { allocateBytes, type ByteSource, invalid, unsupported } from './byte-source.js'
import { fieldInts, fieldText, fieldValue, type WireField, wireFields } from './onnx-wire.js'
import { STORAGE } from './storage.js'
import { contiguousTensor, makeCheckpoint, makeTensor, type StoredTensor, storedByteLength } from './tensor.js'
import type { Checkpoint, StorageType } from './types.js'

const MODEL = { irVersion: 1, producerName: 2, opsetImport: 8, graph: 7, metadataProps: 14 } as const
const GRAPH = { initializer: 5, sparseInitializer: 15 } as const
const PROPERTY = { key: 1, value: 2 } as const
const TENSOR = {
  dims: 1,
  dataType: 2,
  segment: 3,
  floatData: 4,
  int32Data: 5,
  int64Data: 7,
  name: 8,
  rawData: 9,
  doubleData: 10,
  uint64Data: 11,
  externalData: 13,
} as const

/** Types beside those of core/dtypes. */
const MORE_TYPES: Readonly<Record<number, StorageType>> = { 12: 'U32', 13: 'U64', 17: 'F8_E4M3', 19: 'F8_E5M2' }

const STORAGE_OF: Readonly<Record<DType, StorageType>> = {
  float32: 'F32',
  uint8: 'U8',
  int8: 'I8',
  uint16: 'U16',
  int16: 'I16',
  int32: 'I32',
  int64: 'I64',
  bool: 'BOOL',
  float16: 'F16',
  float64: 'F64',
  bfloat16: 'BF16',
}

/** Opens the file that external data names; the path has been checked to stay inside the model's folder. */
export type OpenExternal = (relativePath: string) => ByteSource

/**
 * Opens an ONNX model. Metadata: `irVersion`, `producerName`, and the model's own properties. The checkpoint owns `source` and the
 * external files.
 * @param openExternal called once a file; without it, external data is refused
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for strings, complex numbers, sparse and 4-bit tensors
 */
export function openOnnx(source: ByteSource, openExternal?: OpenExternal): Checkpoint {
  const externals = new Map<string, ByteSource>()
  const open = (path: string) => {
    const known = externals.get(path)
    if (known) return known
    if (!openExternal) throw unsupported(source.name, `external data in "${path}"`, 'Open the model from its folder.')
    const opened = openExternal(assertRelative(source, path))
    externals.set(path, opened)
    return opened
  }
  try {
    const { tensors, metadata } = readModel(source, open)
    return makeCheckpoint('onnx', source.name, tensors, metadata, [source, ...externals.values()])
  } catch (error) {
    for (const external of externals.values()) external.dispose()
    throw error
  }
}

function readModel(source: ByteSource, open: OpenExternal) {
  const tensors: StoredTensor[] = []
  const metadata = new Map<string, unknown>()
  let hasGraph = false
  for (const field of wireFields(source, 0, source.size)) {
    if (field.number === MODEL.graph) {
      hasGraph = true
      for (const inner of wireFields(source, field.offset, field.offset + field.length))
        if (inner.number === GRAPH.initializer) tensors.push(readTensor(source, inner, open))
        else if (inner.number === GRAPH.sparseInitializer)
          throw unsupported(source.name, 'a sparse initialiser', 'Save the model again with dense weights.')
    } else if (field.number === MODEL.irVersion) metadata.set('irVersion', Number(fieldInts(source, field)[0]))
    else if (field.number === MODEL.producerName) metadata.set('producerName', fieldText(source, field))
    else if (field.number === MODEL.metadataProps) metadata.set(...readProperty(source, field))
  }
  if (!hasGraph || !metadata.has('irVersion')) throw invalid(source.name, 0, 'a protobuf message, but no ONNX model')
  return { tensors, metadata: Object.fromEntries(metadata) }
}

function readProperty(source: ByteSource, field: WireField): [string, string] {
  const property: [string, string] = ['', '']
  for (const inner of wireFields(source, field.offset, field.offset + field.length)) {
    if (inner.number === PROPERTY.key) property[0] = fieldText(source, inner)
    else if (inner.number === PROPERTY.value) property[1] = fieldText(source, inner)
  }
  return property
}

/** What a TensorProto says, its data by place. */
interface TensorFields {
  name: string
  dims: number[]
  type: number
  data: WireField | undefined
  external: Map<string, string>
}

function readTensor(source: ByteSource, message: WireField, open: OpenExternal): StoredTensor {
  const fields: TensorFields = { name: '', dims: [], type: 0, data: undefined, external: new Map() }
  for (const field of wireFields(source, message.offset, message.offset + message.length))
    TENSOR_FIELDS[field.number]?.(fields, source, field)
  const { name, dims, type, data, external } = fields
  const dtype = dtypeFromOnnx(type)
  const storage = dtype ? STORAGE_OF[dtype] : MORE_TYPES[type]
  if (!storage)
    throw unsupported(
      source.name,
      `initialiser "${name}" has the element type ${type}`,
      'Only numeric types of 8 bits and more are read.',
    )
  const byteLength = storedByteLength(name, storage, dims)
  if (external.size) return externalTensor(source, open, external, { name, dims, storage }, byteLength)
  if (!data) {
    if (byteLength) throw invalid(source.name, message.offset, `initialiser "${name}" has no data`)
    return contiguousTensor(source, 0, { name, dims, storage })
  }
  if (RAW_FIELDS.has(data.number)) {
    if (data.length !== byteLength)
      throw invalid(
        source.name,
        data.offset,
        `initialiser "${name}" has ${data.length} bytes, its shape needs ${byteLength}`,
      )
    return contiguousTensor(source, data.offset, { name, dims, storage })
  }
  return varintTensor(source, data, { name, dims, storage }, byteLength)
}

/** raw_data, and the packed fixed-size fields: little-endian elements as they are. */
const RAW_FIELDS: ReadonlySet<number> = new Set([TENSOR.rawData, TENSOR.floatData, TENSOR.doubleData])

function setData(fields: TensorFields, source: ByteSource, field: WireField): void {
  if (field.wireType !== WireType.LengthDelimited)
    throw unsupported(source.name, 'an initialiser with unpacked values', 'Save the model again with raw data.')
  if (field.length === 0) return
  if (fields.data) throw invalid(source.name, field.offset, `initialiser "${fields.name}" has data twice`)
  fields.data = field
}

const TENSOR_FIELDS: Readonly<Record<number, (fields: TensorFields, source: ByteSource, field: WireField) => void>> =
  Object.freeze({
    [TENSOR.dims]: (fields, source, field) => void fields.dims.push(...fieldInts(source, field).map(Number)),
    [TENSOR.dataType]: (fields, source, field) => {
      fields.type = fieldValue(source, field, (reader) => reader.int32())
    },
    [TENSOR.segment]: (_, source) => {
      throw unsupported(source.name, 'an initialiser in segments', 'Save the model again with raw data.')
    },
    [TENSOR.name]: (fields, source, field) => {
      fields.name = fieldText(source, field)
    },
    [TENSOR.rawData]: setData,
    [TENSOR.floatData]: setData,
    [TENSOR.doubleData]: setData,
    [TENSOR.int32Data]: setData,
    [TENSOR.int64Data]: setData,
    [TENSOR.uint64Data]: setData,
    [TENSOR.externalData]: (fields, source, field) => void fields.external.set(...readProperty(source, field)),
  })

type Described = Pick<StoredTensor, 'name' | 'dims' | 'storage'>

function externalTensor(
  source: ByteSource,
  open: OpenExternal,
  entries: ReadonlyMap<string, string>,
  tensor: Described,
  byteLength: number,
): StoredTensor {
  const location = entries.get('location')
  const offset = Number(entries.get('offset') ?? 0)
  const length = Number(entries.get('length') ?? byteLength)
  if (location === undefined || !Number.isSafeInteger(offset) || offset < 0 || length !== byteLength)
    throw invalid(
      source.name,
      0,
      `initialiser "${tensor.name}" of ${byteLength} bytes is said to lie in "${location}" at ${offset}, ${length} bytes`,
    )
  return contiguousTensor(open(location), offset, tensor)
}

/** External data must stay beside the model: a model file may not name other files of the machine. */
function assertRelative(source: ByteSource, path: string): string {
  const steps = path.split(/[/\\]/)
  if (path === '' || path.includes('\0') || /^([/\\]|[A-Za-z]:)/.test(path) || steps.includes('..'))
    throw new M4Error(
      'FORMAT_INVALID',
      `${source.name}: external data lies in "${path}", outside of the model's folder.`,
      {
        hint: 'Do not use this file unless you trust its origin.',
        details: { location: path },
      },
    )
  return path
}

/** int32_data and int64_data are varints, decoded when the tensor is read; int32_data also holds the smaller types and half bits. */
function varintTensor(source: ByteSource, data: WireField, tensor: Described, byteLength: number): StoredTensor {
  const bytesEach = STORAGE[tensor.storage].blockBytes
  const rowBytes = byteLength / Math.max(1, tensor.dims[0] ?? 1)
  const count = byteLength / bytesEach
  // Each varint takes a byte or more, so the file bounds what may be allocated.
  if (count > data.length) throw invalid(source.name, data.offset, `initialiser "${tensor.name}" needs ${count} values`)
  const readRows = (from: number, to: number) => {
    const values = fieldInts(source, data)
    if (values.length !== count)
      throw invalid(
        source.name,
        data.offset,
        `initialiser "${tensor.name}" has ${values.length} values, expected ${count}`,
      )
    const wide = new BigInt64Array(values)
    const out = allocateBytes(byteLength, data.length * 8, `initialiser "${tensor.name}"`)
    const wideBytes = bytesOf(wide)
    for (let i = 0; i < count; i++) out.set(wideBytes.subarray(i * 8, i * 8 + bytesEach), i * bytesEach)
    return out.slice(from * rowBytes, to * rowBytes)
  }
  return makeTensor({ ...tensor, readRows })
}

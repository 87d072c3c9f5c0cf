/** TensorProto → GraphTensor: raw bytes, packed number fields, or external data. Nothing is copied before it is asked for. */

import { elementCount, formatDims } from '../../core/dims.js'
import { allocate, DTYPES, type DType, dtypeFromOnnx } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { bytesOf } from '../../core/tensor.js'
import type { GraphTensor } from '../types.js'
import {
  TensorProto_DataType as ElementType,
  TensorProto_DataLocation as Location,
  type TensorProto,
} from './generated/onnx_pb.js'

export interface DecodeOptions {
  /** Bytes `[offset, offset + length)` of the data file `location`, named relative to the model. Called when a tensor is read. */
  readonly readExternal?: (location: string, offset: number, length: number) => Uint8Array
}

export const invalid = (place: string, expected: string, got: string, cause?: unknown): M4Error =>
  new M4Error('FORMAT_INVALID', `ONNX: ${place}: expected ${expected}, got ${got}.`, {
    hint: 'The file is damaged or not an ONNX model; fetch or export it again.',
    ...(cause === undefined ? {} : { cause }),
  })

/** @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` */
export function decodeTensor(name: string, tensor: TensorProto, options: DecodeOptions): GraphTensor {
  const dtype = dtypeFromOnnx(tensor.dataType)
  if (!dtype)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `ONNX: tensor ${name}: the element type ${ElementType[tensor.dataType] ?? tensor.dataType} is not supported.`,
      { details: { name, supported: Object.keys(DTYPES) } },
    )
  if (tensor.segment) throw new M4Error('FORMAT_UNSUPPORTED', `ONNX: tensor ${name}: segments are not supported.`)
  const dims = tensor.dims.map(Number)
  const byteLength = elementCount(dims) * DTYPES[dtype].bytes
  if (dims.some((dim) => !Number.isSafeInteger(dim) || dim < 0) || !Number.isSafeInteger(byteLength))
    throw invalid(`tensor ${name}`, 'sizes of 0 or more', formatDims(dims))
  if (tensor.dataLocation === Location.EXTERNAL)
    return { dtype, dims, byteLength, ...externalReader(name, tensor, byteLength, options) }
  return { dtype, dims, byteLength, bytes: bytesReader(name, tensor, dtype, byteLength) }
}

function bytesReader(name: string, tensor: TensorProto, dtype: DType, byteLength: number): () => Uint8Array {
  const raw = tensor.rawData
  if (raw.length || byteLength === 0) {
    if (raw.length !== byteLength) throw invalid(`tensor ${name}`, `${byteLength} bytes`, String(raw.length))
    return () => raw
  }
  const field = NUMBER_FIELDS[dtype](tensor)
  const count = byteLength / DTYPES[dtype].bytes
  if (field.length !== count) throw invalid(`tensor ${name}`, `${count} elements`, String(field.length))
  return () => {
    const data = allocate(dtype, count)
    for (let i = 0; i < count; i++) data[i] = field[i] as never
    return bytesOf(data)
  }
}

/** The field that holds elements of each type. */
const NUMBER_FIELDS: { readonly [T in DType]: (tensor: TensorProto) => readonly (number | bigint)[] } = {
  float32: (tensor) => tensor.floatData,
  float64: (tensor) => tensor.doubleData,
  int64: (tensor) => tensor.int64Data,
  int32: (tensor) => tensor.int32Data,
  int16: (tensor) => tensor.int32Data,
  int8: (tensor) => tensor.int32Data,
  uint16: (tensor) => tensor.int32Data,
  uint8: (tensor) => tensor.int32Data,
  bool: (tensor) => tensor.int32Data,
  float16: (tensor) => tensor.int32Data,
  bfloat16: (tensor) => tensor.int32Data,
}

function externalReader(
  name: string,
  tensor: TensorProto,
  byteLength: number,
  { readExternal }: DecodeOptions,
): Pick<GraphTensor, 'bytes' | 'place'> {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]))
  const location = entries.get('location')
  const number = (key: string, fallback: number) => {
    const value = entries.get(key)
    return value === undefined ? fallback : /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
  }
  const offset = number('offset', 0)
  const length = number('length', byteLength)
  if (!location || Number.isNaN(offset) || length !== byteLength)
    throw invalid(
      `tensor ${name}`,
      `external data with a location, an offset and ${byteLength} bytes`,
      JSON.stringify(Object.fromEntries(entries)),
    )
  const bytes = () => {
    if (!readExternal)
      throw new M4Error('NOT_AVAILABLE', `ONNX: tensor ${name} lies in the external file ${location}.`, {
        hint: 'Give decodeModel a readExternal function.',
      })
    const bytes = readExternal(location, offset, length)
    if (bytes.length !== byteLength)
      throw invalid(`tensor ${name} in ${location}`, `${byteLength} bytes at ${offset}`, String(bytes.length))
    return bytes
  }
  return { bytes, place: { location, offset } }
}

/** Element types of tensors in memory. Names follow ONNX in lower case; numbers are ONNX `TensorProto.DataType`. */

export const DTYPES = {
  float32: { onnx: 1, bytes: 4, array: Float32Array },
  uint8: { onnx: 2, bytes: 1, array: Uint8Array },
  int8: { onnx: 3, bytes: 1, array: Int8Array },
  uint16: { onnx: 4, bytes: 2, array: Uint16Array },
  int16: { onnx: 5, bytes: 2, array: Int16Array },
  int32: { onnx: 6, bytes: 4, array: Int32Array },
  int64: { onnx: 7, bytes: 8, array: BigInt64Array },
  /** One byte an element, 0 or 1. */
  bool: { onnx: 9, bytes: 1, array: Uint8Array },
  /** Raw IEEE half bits: JavaScript has no half array on Node 20. */
  float16: { onnx: 10, bytes: 2, array: Uint16Array },
  float64: { onnx: 11, bytes: 8, array: Float64Array },
  /** Raw bfloat16 bits. */
  bfloat16: { onnx: 16, bytes: 2, array: Uint16Array },
} as const

export type DType = keyof typeof DTYPES

/** The typed array that holds one element type. */
export type DataOf<T extends DType = DType> = InstanceType<(typeof DTYPES)[T]['array']>

/** DType of an ONNX `TensorProto.DataType` number, or undefined for the types that M4 does not use. */
export function dtypeFromOnnx(code: number): DType | undefined {
  for (const name of Object.keys(DTYPES) as DType[]) if (DTYPES[name].onnx === code) return name
  return undefined
}

/** A zero-filled array of `length` elements, never on the JavaScript heap, so that native code may keep its address. */
export function allocate<T extends DType>(dtype: T, length: number): DataOf<T> {
  const { array, bytes } = DTYPES[dtype]
  return new array(new ArrayBuffer(length * bytes)) as DataOf<T>
}

const halfView = new Float32Array(1)
const halfBits = new Uint32Array(halfView.buffer)

/** IEEE 754 half bits → number. */
export function halfToFloat(bits: number): number {
  const exponent = (bits >> 10) & 0x1f
  const mantissa = bits & 0x3ff
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

let halfTable: Float32Array | undefined

/** All 65,536 half values: converting a checkpoint by look-up is several times faster than by arithmetic. */
export function halfLookup(): Float32Array {
  if (!halfTable) {
    halfTable = new Float32Array(65536)
    for (let bits = 0; bits < 65536; bits++) halfTable[bits] = halfToFloat(bits)
  }
  return halfTable
}

/** Number → IEEE 754 half bits, round to nearest, ties to even. */
export function floatToHalf(value: number): number {
  halfView[0] = value
  const bits = halfBits[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= 0x7f800000) return sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0)
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // rounds to infinity
  if (magnitude < 0x38800000) {
    // Subnormal half: the value in units of 2^-24, rounded to even.
    const scaled = Math.abs(value) * 2 ** 24
    const floor = Math.floor(scaled)
    const rest = scaled - floor
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor)
  }
  const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)
  return sign | (rounded >>> 13)
}

/** Numbers as IEEE half bits. */
export function toHalf(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const out = new Uint16Array(values.length)
  for (let i = 0; i < out.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff
    // The common case in line: a normal number that stays one; the rest by the full rules.
    out[i] =
      magnitude >= 0x38800000 && magnitude < 0x477ff000
        ? ((bits[i]! >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
        : floatToHalf(values[i]!)
  }
  return out
}

/** Any numeric data as float32: halves and bfloat16 are decoded, float32 is returned as it is. */
export function toFloat32(dtype: DType, data: DataOf): Float32Array {
  if (dtype === 'float32') return data as Float32Array
  const out = new Float32Array(data.length)
  if (dtype === 'float16') {
    const table = halfLookup()
    for (let i = 0; i < out.length; i++) out[i] = table[data[i] as number]!
  } else if (dtype === 'bfloat16') {
    const bits = new Uint32Array(out.buffer)
    for (let i = 0; i < out.length; i++) bits[i] = (data[i] as number) << 16
  } else {
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i])
  }
  return out
}

/** How each storage type becomes elements: one frozen table, total over `StorageType`. */

import { type DataOf, DTYPES, type DType, floatToHalf, toFloat32 } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { viewAs } from '../core/tensor.js'
import { allocateBytes } from './byte-source.js'
import { dequantiseBlocks } from './gguf-blocks.js'
import { BLOCK_SHAPES } from './gguf-types.js'
import type { GgufBlockType, StorageType } from './types.js'

export interface StorageLayout {
  /** Elements that are stored together: 1, or the block of a GGUF type, which never crosses the innermost dimension. */
  readonly blockSize: number
  readonly blockBytes: number
  /** The dtype that `read()` gives: it holds every value of the type exactly. */
  readonly dtype: DType
  /** Stored bytes → elements of `dtype`. */
  readonly decode: (bytes: Uint8Array) => DataOf
}

type PlainType = Exclude<StorageType, GgufBlockType>

/** Float32 output of the most compressed type (IQ1_S, 50 bytes for 256 elements) is 20.5 times its input. */
const MAX_EXPANSION = 32

const same = (dtype: DType): StorageLayout => ({
  blockSize: 1,
  blockBytes: DTYPES[dtype].bytes,
  dtype,
  decode: (bytes) => viewAs(dtype, bytes),
})

const PLAIN: Readonly<Record<PlainType, StorageLayout>> = Object.freeze({
  F64: same('float64'),
  F32: same('float32'),
  F16: same('float16'),
  BF16: same('bfloat16'),
  I64: same('int64'),
  I32: same('int32'),
  I16: same('int16'),
  I8: same('int8'),
  U8: same('uint8'),
  U16: same('uint16'),
  U32: { blockSize: 1, blockBytes: 4, dtype: 'int64', decode: widenU32 },
  U64: { blockSize: 1, blockBytes: 8, dtype: 'int64', decode: signU64 },
  BOOL: { blockSize: 1, blockBytes: 1, dtype: 'bool', decode: checkBool },
  F8_E4M3: { blockSize: 1, blockBytes: 1, dtype: 'float16', decode: (bytes) => lookUp(bytes, e4m3Halves()) },
  F8_E5M2: { blockSize: 1, blockBytes: 1, dtype: 'float16', decode: (bytes) => lookUp(bytes, E5M2_HALVES) },
})

const BLOCKED = Object.fromEntries(
  (Object.keys(BLOCK_SHAPES) as GgufBlockType[]).map((type): [GgufBlockType, StorageLayout] => {
    const { blockSize, blockBytes } = BLOCK_SHAPES[type]
    return [type, { blockSize, blockBytes, dtype: 'float32', decode: (bytes) => dequantise(type, bytes) }]
  }),
) as Record<GgufBlockType, StorageLayout>

export const STORAGE: Readonly<Record<StorageType, StorageLayout>> = Object.freeze({ ...PLAIN, ...BLOCKED })

/** Stored bytes as float32. @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` for values that no dtype of M4 holds. */
export function decodeFloat32(storage: StorageType, bytes: Uint8Array): Float32Array {
  const { dtype, decode } = STORAGE[storage]
  return toFloat32(dtype, decode(bytes))
}

function output(byteLength: number, input: Uint8Array): ArrayBuffer {
  return allocateBytes(byteLength, input.byteLength * MAX_EXPANSION, 'decoding a tensor').buffer as ArrayBuffer
}

function dequantise(type: GgufBlockType, bytes: Uint8Array): DataOf<'float32'> {
  const { blockSize, blockBytes } = BLOCK_SHAPES[type]
  const blocks = bytes.byteLength / blockBytes
  const out = new Float32Array(output(blocks * blockSize * 4, bytes))
  dequantiseBlocks(type, bytes, out)
  return out
}

function widenU32(bytes: Uint8Array): DataOf<'int64'> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const out = new BigInt64Array(output(bytes.byteLength * 2, bytes))
  for (let i = 0; i < out.length; i++) out[i] = BigInt(view.getUint32(i * 4, true))
  return out
}

function signU64(bytes: Uint8Array): DataOf<'int64'> {
  const out = viewAs('int64', bytes)
  for (const value of out)
    if (value < 0n)
      throw new M4Error(
        'FORMAT_UNSUPPORTED',
        'A U64 tensor holds a value of 2^63 or more, int64 is the widest dtype here.',
      )
  return out
}

function checkBool(bytes: Uint8Array): DataOf<'bool'> {
  for (const value of bytes)
    if (value > 1)
      throw new M4Error('FORMAT_INVALID', `A BOOL tensor holds the byte ${value}, expected 0 or 1.`, {
        hint: 'Fetch the file again.',
      })
  return viewAs('bool', bytes)
}

const E5M2_HALVES = Uint16Array.from({ length: 256 }, (_, bits) => bits << 8)

let e4m3: Uint16Array | undefined

/** FP8 E4M3 (OCP, the "fn" kind: no infinities, one NaN) as half bits; every value is a half exactly. */
function e4m3Halves(): Uint16Array {
  e4m3 ??= Uint16Array.from({ length: 256 }, (_, bits) => {
    const exponent = (bits >> 3) & 15
    const mantissa = bits & 7
    const sign = bits & 0x80 ? -1 : 1
    if (exponent === 15 && mantissa === 7) return 0x7e00 | ((bits & 0x80) << 8)
    return floatToHalf(sign * (exponent ? (1 + mantissa / 8) * 2 ** (exponent - 7) : mantissa * 2 ** -9))
  })
  return e4m3
}

function lookUp(bytes: Uint8Array, table: Uint16Array): DataOf<'float16'> {
  const out = new Uint16Array(output(bytes.byteLength * 2, bytes))
  for (let i = 0; i < out.length; i++) out[i] = table[bytes[i]!]!
  return out
}

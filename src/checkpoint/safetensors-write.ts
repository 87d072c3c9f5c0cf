/** Writes safetensors: the same tensors and metadata always give the same bytes. */

import type { DType } from '../core/dtypes.js'
import { bytesOf, type HostTensor } from '../core/tensor.js'

const DTYPE_NAMES: Readonly<Record<DType, string>> = Object.freeze({
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint16: 'U16',
  bool: 'BOOL',
})

const ALIGNMENT = 8

/**
 * A whole safetensors file. As the official writer does, tensors lie by falling element size, then by name, so that each is
 * aligned; the header is padded with spaces to 8 bytes. Metadata keys are sorted.
 */
export function writeSafetensors(
  tensors: Readonly<Record<string, HostTensor>> | ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const entries: [string, HostTensor][] = tensors instanceof Map ? [...tensors] : Object.entries(tensors)
  const elementBytes = ({ data }: HostTensor) => data.BYTES_PER_ELEMENT
  entries.sort(([a, x], [b, y]) => elementBytes(y) - elementBytes(x) || compare(a, b))
  const header: [string, unknown][] = []
  const pairs = Object.entries(metadata).sort(([a], [b]) => compare(a, b))
  if (pairs.length) header.push(['__metadata__', Object.fromEntries(pairs)])
  let end = 0
  for (const [name, { dtype, dims, data }] of entries) {
    const begin = end
    end += data.byteLength
    header.push([name, { dtype: DTYPE_NAMES[dtype], shape: dims, data_offsets: [begin, end] }])
  }
  // Written entry by entry: an object would put names that look like numbers first.
  const json = `{${header.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(',')}}`
  const text = new TextEncoder().encode(json)
  const headerBytes = Math.ceil(text.byteLength / ALIGNMENT) * ALIGNMENT
  const out = new Uint8Array(8 + headerBytes + end)
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true)
  out.fill(0x20, 8 + text.byteLength, 8 + headerBytes)
  out.set(text, 8)
  let at = 8 + headerBytes
  for (const [, { data }] of entries) {
    out.set(bytesOf(data), at)
    at += data.byteLength
  }
  return out
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

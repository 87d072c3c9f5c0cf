/** Writes GGUF v3 with float tensors (ggml-org/ggml docs/gguf.md): enough for an adapter. The same input gives the same bytes. */

import { M4Error } from '../core/errors.js'
import { bytesOf, type HostTensor } from '../core/tensor.js'

/** A metadata value with its type. */
export type GgufValue =
  | { readonly type: 'uint32'; readonly value: number }
  | { readonly type: 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }

const VERSION = 3
const ALIGNMENT = 32
/** `ggml_type` of the dtypes that can be written. */
const TENSOR_TYPES: Readonly<Partial<Record<HostTensor['dtype'], number>>> = Object.freeze({
  float32: 0,
  float16: 1,
  bfloat16: 30,
})

/**
 * A whole GGUF file.
 * @param tensors row-major; GGUF lists the innermost dimension first, which is done here
 * @throws M4Error `FORMAT_UNSUPPORTED` for a dtype other than float32, float16 and bfloat16
 */
export function writeGguf(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlyMap<string, HostTensor>,
): Uint8Array {
  const head: Uint8Array[] = [ascii('GGUF'), u32(VERSION), u64(tensors.size), u64(metadata.size)]
  for (const [key, value] of metadata) head.push(text(key), ...encodeValue(value))
  let offset = 0
  for (const [name, { dtype, dims, data }] of tensors) {
    const type = TENSOR_TYPES[dtype]
    if (type === undefined)
      throw new M4Error('FORMAT_UNSUPPORTED', `Tensor "${name}" is ${dtype}; GGUF is written with float tensors here.`)
    head.push(text(name), u32(dims.length), ...[...dims].reverse().map(u64), u32(type), u64(offset))
    offset = aligned(offset + data.byteLength)
  }
  const headBytes = head.reduce((sum, piece) => sum + piece.length, 0)
  const out = new Uint8Array(aligned(headBytes) + offset)
  let at = 0
  for (const piece of head) {
    out.set(piece, at)
    at += piece.length
  }
  at = aligned(headBytes)
  for (const { data } of tensors.values()) {
    out.set(bytesOf(data), at)
    at += aligned(data.byteLength)
  }
  return out
}

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT

/** Type number and value. */
function encodeValue(entry: GgufValue): Uint8Array[] {
  switch (entry.type) {
    case 'uint32':
      return [u32(4), u32(entry.value)]
    case 'float32':
      return [u32(6), view(4, (out) => out.setFloat32(0, entry.value, true))]
    case 'bool':
      return [u32(7), Uint8Array.of(entry.value ? 1 : 0)]
    case 'string':
      return [u32(8), text(entry.value)]
  }
}

function view(bytes: number, write: (out: DataView) => void): Uint8Array {
  const out = new Uint8Array(bytes)
  write(new DataView(out.buffer))
  return out
}

const ascii = (value: string) => new TextEncoder().encode(value)
const u32 = (value: number) => view(4, (out) => out.setUint32(0, value, true))
const u64 = (value: number) => view(8, (out) => out.setBigUint64(0, BigInt(value), true))

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value)
  const out = new Uint8Array(8 + bytes.length)
  out.set(u64(bytes.length))
  out.set(bytes, 8)
  return out
}

/** The format of a file by its first bytes. */

import type { ByteSource } from './byte-source.js'
import { invalid } from './byte-source.js'

export type FileFormat = 'safetensors' | 'torch-zip' | 'torch-legacy' | 'gguf' | 'ggml-whisper' | 'onnx' | 'json'

interface Signature {
  readonly format: FileFormat
  /** Byte values from `offset` on. */
  readonly bytes: readonly number[]
  readonly offset: number
}

const ascii = (text: string) => [...text].map((character) => character.charCodeAt(0))

/** In order of certainty: a safetensors file begins with any length, an ONNX file with field 1 as a varint. */
const SIGNATURES: readonly Signature[] = Object.freeze([
  { format: 'gguf', offset: 0, bytes: ascii('GGUF') },
  { format: 'ggml-whisper', offset: 0, bytes: ascii('lmgg') },
  { format: 'torch-zip', offset: 0, bytes: [0x50, 0x4b, 0x03, 0x04] },
  { format: 'torch-legacy', offset: 0, bytes: [0x80, 0x02, 0x8a, 0x0a] },
  { format: 'safetensors', offset: 8, bytes: ascii('{') },
  { format: 'json', offset: 0, bytes: ascii('{') },
  { format: 'onnx', offset: 0, bytes: [0x08] },
])

/** @throws M4Error `FORMAT_INVALID` when the beginning is that of no known format */
export function detectFormat(source: ByteSource): FileFormat {
  const head = source.read(0, Math.min(16, source.size))
  const found = SIGNATURES.find(({ bytes, offset }) => bytes.every((byte, i) => head[offset + i] === byte))
  if (found) return found.format
  const hex = Array.from(head.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
  throw invalid(
    source.name,
    0,
    `begins with ${hex || 'nothing'}, expected safetensors, torch, GGUF, ggml (Whisper), ONNX or an index of shards`,
    'Check that the download is complete and not a web page or a Git LFS pointer.',
  )
}

/**
 * Re-encodes a GGUF file with other block types (ggml-org/ggml docs/gguf.md; blocks of ggml-quants.c, MIT): the same weights,
 * metadata and tokenizer for llama.cpp at the bit width that is compared. Key/values are copied byte for byte.
 */

import { open, readFile, rename, rm } from 'node:fs/promises'
import { openCheckpoint } from '../../dist/checkpoint/index.js'
import { floatToHalf } from '../../dist/core/dtypes.js'

const ALIGNMENT = 32
/** Bytes of GGUF scalar types by number; 8 is a string, 9 an array. */
const SCALAR_BYTES = Object.freeze({ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 })
/** Rows converted at a time: bounds memory to some tens of MB. */
const ROWS_AT_ONCE = 512

/** Block formats that can be written: number in the file, bytes for 32 weights. */
export const ENCODINGS = Object.freeze({
  F32: { type: 0, bytes: 128, pack: packF32 },
  Q4_0: { type: 2, bytes: 18, pack: packQ4 },
  Q8_0: { type: 8, bytes: 34, pack: packQ8 },
})

/**
 * Writes `target` with every matrix of `source` in the encoding that `choose(name)` gives; vectors become F32. The file gets its
 * name when it is whole.
 * @param fileType llama.cpp's `general.file_type`: 2 = mostly Q4_0, 7 = mostly Q8_0
 */
export async function reencodeGguf(source, target, { choose, fileType, onProgress }) {
  const checkpoint = openCheckpoint(source)
  const temporary = `${target}.${process.pid}.tmp`
  try {
    const { pairs, pairCount } = await keyValues(source, fileType)
    const plan = [...checkpoint.tensors.values()].map((tensor) => {
      const kind = tensor.dims.length > 1 ? choose(tensor.name) : 'F32'
      const count = tensor.dims.reduce((a, b) => a * b, 1)
      return { tensor, encoding: ENCODINGS[kind], bytes: (count / 32) * ENCODINGS[kind].bytes }
    })
    const file = await open(temporary, 'w')
    try {
      const head = header(plan, pairs, pairCount)
      await file.write(head)
      for (const [i, { tensor, encoding, bytes }] of plan.entries()) {
        const rows = tensor.dims[0]
        const step = tensor.dims.length > 1 ? ROWS_AT_ONCE : rows
        for (let from = 0; from < rows; from += step)
          await file.write(encode(tensor.float32({ from, to: Math.min(rows, from + step) }), encoding))
        await file.write(Buffer.alloc(padding(bytes)))
        onProgress?.(i + 1, plan.length)
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, target)
  } finally {
    checkpoint.dispose()
    await rm(temporary, { force: true })
  }
}

const padding = (bytes) => (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT

function header(plan, pairs, pairCount) {
  const start = Buffer.alloc(24)
  start.write('GGUF', 0, 'latin1')
  start.writeUInt32LE(3, 4)
  start.writeBigUInt64LE(BigInt(plan.length), 8)
  start.writeBigUInt64LE(BigInt(pairCount), 16)
  const entries = []
  let offset = 0
  for (const { tensor, encoding, bytes } of plan) {
    const name = Buffer.from(tensor.name)
    const entry = Buffer.alloc(8 + name.length + 4 + 8 * tensor.dims.length + 4 + 8)
    let at = entry.writeBigUInt64LE(BigInt(name.length), 0)
    at += name.copy(entry, at)
    at = entry.writeUInt32LE(tensor.dims.length, at)
    // ggml counts dimensions from the innermost.
    for (const dim of [...tensor.dims].reverse()) at = entry.writeBigUInt64LE(BigInt(dim), at)
    at = entry.writeUInt32LE(encoding.type, at)
    entry.writeBigUInt64LE(BigInt(offset), at)
    entries.push(entry)
    offset += bytes + padding(bytes)
  }
  const head = Buffer.concat([start, pairs, ...entries])
  return Buffer.concat([head, Buffer.alloc(padding(head.length))])
}

/** The key/value section as it stands in the file, `general.file_type` set to `fileType`. */
async function keyValues(path, fileType) {
  const file = await readFile(path)
  const pairCount = Number(file.readBigUInt64LE(16))
  let at = 24
  const string = () => {
    const length = Number(file.readBigUInt64LE(at))
    const text = file.toString('utf8', at + 8, at + 8 + length)
    at += 8 + length
    return text
  }
  const skip = (type) => {
    if (type === 8) string()
    else if (type === 9) {
      const inner = file.readUInt32LE(at)
      const count = Number(file.readBigUInt64LE(at + 4))
      at += 12
      for (let i = 0; i < count; i++) skip(inner)
    } else if (SCALAR_BYTES[type]) at += SCALAR_BYTES[type]
    else throw new Error(`${path}: unknown GGUF value type ${type} at byte ${at}.`)
  }
  let fileTypeAt = 0
  for (let i = 0; i < pairCount; i++) {
    const key = string()
    const type = file.readUInt32LE(at)
    at += 4
    if (key === 'general.file_type') fileTypeAt = at
    skip(type)
  }
  if (fileTypeAt) file.writeUInt32LE(fileType, fileTypeAt)
  return { pairs: Buffer.from(file.subarray(24, at)), pairCount }
}

function encode(values, { bytes, pack }) {
  if (values.length % 32) throw new Error(`Blocks hold 32 weights; got ${values.length} in these rows.`)
  const out = Buffer.alloc((values.length / 32) * bytes)
  for (let block = 0; block < values.length / 32; block++) pack(values, block * 32, out, block * bytes)
  return out
}

function packF32(values, start, out, at) {
  for (let i = 0; i < 32; i++) out.writeFloatLE(values[start + i], at + 4 * i)
}

/** quantize_row_q4_0_ref: d = (value of largest magnitude) / -8, code = trunc(x/d + 8.5), low nibbles are the first half. */
function packQ4(values, start, out, at) {
  let max = 0
  for (let i = 0; i < 32; i++) if (Math.abs(values[start + i]) > Math.abs(max)) max = values[start + i]
  const scale = max / -8
  const inverse = scale ? 1 / scale : 0
  out.writeUInt16LE(floatToHalf(scale), at)
  const code = (i) => Math.min(15, Math.trunc(values[start + i] * inverse + 8.5))
  for (let i = 0; i < 16; i++) out[at + 2 + i] = code(i) | (code(i + 16) << 4)
}

/** quantize_row_q8_0_ref: d = max|x| / 127. */
function packQ8(values, start, out, at) {
  let max = 0
  for (let i = 0; i < 32; i++) max = Math.max(max, Math.abs(values[start + i]))
  const scale = max / 127
  const inverse = scale ? 1 / scale : 0
  out.writeUInt16LE(floatToHalf(scale), at)
  for (let i = 0; i < 32; i++) out.writeInt8(Math.round(values[start + i] * inverse), at + 2 + i)
}

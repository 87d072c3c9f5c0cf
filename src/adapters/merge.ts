/**
 * W' = W + scale·B·A over a checkpoint, for those who need one model without an adapter. Streams: one matrix in memory at a
 * time, in blocks of rows; the new file appears whole or not at all.
 */

import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type CheckpointTensor, openCheckpoint, type StorageType } from '../checkpoint/index.js'
import { elementCount, formatDims } from '../core/dims.js'
import { toHalf } from '../core/dtypes.js'
import { M4Error, nearestNames, throwIfAborted, wrapSystemError } from '../core/errors.js'
import { requireFreeBytes, syncFolder, temporaryBeside } from '../core/files.js'
import { type LongOperation, yieldToEventLoop } from '../core/progress.js'
import { bytesOf } from '../core/tensor.js'
import { readPeftPairs, type ScaledPair } from './peft-pairs.js'
import { type DiskWrite, writeToDisk } from './write-folder.js'

export interface MergeOptions extends LongOperation {
  /** A checkpoint with Hugging Face names: a file, an index of shards, or a folder. */
  readonly base: string
  /** A PEFT LoRA folder. */
  readonly adapter: string
  /** The safetensors file to write. A file that is there is replaced. */
  readonly output: string
  readonly write?: DiskWrite
}

export interface MergeReport {
  readonly output: string
  readonly bytes: number
  readonly tensors: number
  /** Matrices that were changed. */
  readonly merged: number
  /** Largest change of an element, before rounding to the stored type. */
  readonly largestChange: number
}

/** What the new file stores a tensor as; GGUF blocks and the like become float32. */
type Stored = 'F32' | 'F16' | 'BF16'
const ELEMENT_BYTES: Readonly<Record<Stored, number>> = Object.freeze({ F32: 4, F16: 2, BF16: 2 })
/** Copied as they are: safetensors has them under the same names. */
const COPIED: ReadonlySet<StorageType> = new Set([
  'F64',
  'F32',
  'F16',
  'BF16',
  'I64',
  'I32',
  'I16',
  'I8',
  'U8',
  'U16',
  'U32',
  'U64',
  'BOOL',
  'F8_E4M3',
  'F8_E5M2',
])
/** Bounds what is held above the matrix itself. */
const BLOCK_BYTES = 8 << 20

interface Piece {
  readonly tensor: CheckpointTensor
  readonly dtype: StorageType
  readonly bytes: number
  readonly pair: ScaledPair | undefined
}

/**
 * Writes the merged checkpoint. Tensors keep their names and stored type; changed ones are rounded to it once.
 * @throws M4Error as `readPeftPairs`; `TENSOR_MISSING` when the checkpoint has no matrix for a pair, `SHAPE_MISMATCH`,
 *   `INVALID_REQUEST` when a sum is beyond float16 or the output is the base itself, `DISK_FULL`, `ABORTED`, `IO`
 */
export async function mergeAdapter(options: MergeOptions): Promise<MergeReport> {
  const output = resolve(options.output)
  const pairs = readPeftPairs(options.adapter)
  using checkpoint = openCheckpoint(options.base)
  requireApart(resolve(options.base), output)
  const pieces = plan(checkpoint.tensors, pairs)
  const header = headerOf(pieces)
  const bytes = header.length + pieces.reduce((sum, piece) => sum + piece.bytes, 0)
  await requireFreeBytes(output, bytes, 'Merging')
  const temporary = temporaryBeside(output)
  let largestChange = 0
  try {
    await mkdir(dirname(output), { recursive: true })
    const file = await open(temporary, 'wx', 0o644)
    try {
      const append = appender(file, options.write ?? writeToDisk)
      await append(header)
      let done = 0
      for (const piece of pieces) {
        throwIfAborted(options.signal)
        if (piece.pair) largestChange = Math.max(largestChange, await writeMerged(piece, piece.pair, append))
        else await append(copied(piece))
        done += piece.bytes
        options.onProgress?.({ task: 'merge', done, total: bytes - header.length, unit: 'bytes' })
        await yieldToEventLoop()
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, output)
    await syncFolder(dirname(output))
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw wrapSystemError(error, `Writing ${output}`)
  }
  return { output, bytes, tensors: pieces.length, merged: pairs.length, largestChange }
}

/** The base stays: neither its file nor its folder is written to. */
function requireApart(base: string, output: string): void {
  const folder = base.endsWith('.json') ? dirname(base) : base
  if (output !== base && dirname(output) !== folder) return
  throw new M4Error('INVALID_REQUEST', `${output} is, or lies beside, the files of the base ${base}.`, {
    hint: 'Name a file in another folder for the output.',
    details: { base, output },
  })
}

/** Every tensor with its pair, in the order of writing: largest elements first, then by name, so that all are aligned. */
function plan(tensors: ReadonlyMap<string, CheckpointTensor>, pairs: readonly ScaledPair[]): Piece[] {
  const byName = new Map(pairs.map((pair) => [matrixName(tensors, pair), pair]))
  const pieces = [...tensors.values()].map((tensor): Piece => {
    const pair = byName.get(tensor.name)
    if (pair) requireShape(tensor, pair)
    const count = elementCount(tensor.dims)
    if (!pair && COPIED.has(tensor.storage)) return { tensor, dtype: tensor.storage, bytes: tensor.storedBytes, pair }
    const dtype: Stored = tensor.storage === 'F16' || tensor.storage === 'BF16' ? tensor.storage : 'F32'
    return { tensor, dtype, bytes: count * ELEMENT_BYTES[dtype], pair }
  })
  const elementBytes = ({ tensor, bytes }: Piece) => bytes / Math.max(1, elementCount(tensor.dims))
  return pieces.sort((a, b) => elementBytes(b) - elementBytes(a) || (a.tensor.name < b.tensor.name ? -1 : 1))
}

/** `model.layers.3.self_attn.q_proj.weight`, with or without what stands before `layers`. */
function matrixName(tensors: ReadonlyMap<string, CheckpointTensor>, { layer, module }: ScaledPair): string {
  const end = `layers.${layer}.${module}.weight`
  const found = [...tensors.keys()].filter((name) => name === end || name.endsWith(`.${end}`))
  if (found.length === 1) return found[0]!
  const near = nearestNames(`model.${end}`, tensors.keys())
  throw new M4Error(
    'TENSOR_MISSING',
    `The checkpoint has ${found.length || 'no'} matrices named ${end}, expected one.`,
    {
      hint: near.length ? `It has ${near.join(', ')}.` : 'It needs Hugging Face names.',
      details: { name: end, found },
    },
  )
}

function requireShape({ name, dims }: CheckpointTensor, pair: ScaledPair): void {
  if (dims.length === 2 && dims[0] === pair.out && dims[1] === pair.in) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `${name}: expected ${formatDims([pair.out, pair.in])}, got ${formatDims(dims)}.`,
    {
      hint: 'Was the adapter made for this base model?',
      details: { name },
    },
  )
}

/** safetensors: header length, then JSON padded with spaces to 8 bytes. */
function headerOf(pieces: readonly Piece[]): Uint8Array {
  let end = 0
  const entries = pieces.map(({ tensor, dtype, bytes }) => {
    const entry = { dtype, shape: tensor.dims, data_offsets: [end, end + bytes] }
    end += bytes
    return `${JSON.stringify(tensor.name)}:${JSON.stringify(entry)}`
  })
  const json = new TextEncoder().encode(`{${['"__metadata__":{"format":"pt"}', ...entries].join(',')}}`)
  const length = Math.ceil(json.length / 8) * 8
  const out = new Uint8Array(8 + length).fill(0x20, 8)
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true)
  out.set(json, 8)
  return out
}

type Append = (bytes: Uint8Array) => Promise<void>

function appender(file: FileHandle, write: DiskWrite): Append {
  let position = 0
  return async (bytes) => {
    for (let done = 0; done < bytes.length; ) done += await write(file, bytes.subarray(done), position + done)
    position += bytes.length
  }
}

const copied = ({ tensor, dtype }: Piece): Uint8Array =>
  dtype === tensor.storage ? tensor.bytes() : bytesOf(tensor.float32())

/** @returns the largest change */
async function writeMerged({ tensor, dtype }: Piece, pair: ScaledPair, append: Append): Promise<number> {
  const rows = Math.max(1, Math.floor(BLOCK_BYTES / (4 * pair.in)))
  let largest = 0
  for (let from = 0; from < pair.out; from += rows) {
    const to = Math.min(from + rows, pair.out)
    const block = tensor.float32({ from, to }).slice()
    largest = Math.max(largest, addDelta(block, pair, from, to))
    const out = encode(dtype as Stored, block)
    if (!out)
      throw new M4Error('INVALID_REQUEST', `${tensor.name}: the sum is beyond ${dtype}.`, {
        hint: 'Merge into a float32 checkpoint.',
        details: { name: tensor.name },
      })
    await append(out)
  }
  return largest
}

/** Adds rows [from, to) of scale·B·A; each element is summed in double precision. */
function addDelta(block: Float32Array, { a, b, rank, scale, in: width }: ScaledPair, from: number, to: number): number {
  const sums = new Float64Array(width)
  let largest = 0
  for (let row = from; row < to; row++) {
    sums.fill(0)
    for (let r = 0; r < rank; r++) {
      const factor = scale * b[row * rank + r]!
      if (factor !== 0) for (let column = 0; column < width; column++) sums[column]! += factor * a[r * width + column]!
    }
    for (let column = 0; column < width; column++) {
      const change = sums[column]!
      block[(row - from) * width + column]! += change
      largest = Math.max(largest, Math.abs(change))
    }
  }
  return largest
}

/** Stored bytes, or undefined when a value does not fit. */
function encode(dtype: Stored, data: Float32Array): Uint8Array | undefined {
  if (dtype === 'F32') return data.every(Number.isFinite) ? bytesOf(data) : undefined
  const bits = dtype === 'F16' ? toHalf(data) : toBfloat16(data)
  const infinity = dtype === 'F16' ? 0x7c00 : 0x7f80
  return bits.some((value) => (value & infinity) === infinity) ? undefined : bytesOf(bits)
}

/** Numbers as bfloat16 bits, round to nearest, ties to even. */
function toBfloat16(data: Float32Array): Uint16Array {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length)
  return Uint16Array.from(bits, (value) => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16)
}

/** ggml block types → float32, and → 8-bit codes with one scale for 32 elements where that loses nothing. */

import { elementCount } from '../core/dims.js'
import { M4Error } from '../core/errors.js'
import { allocateBytes } from './byte-source.js'
import { BLOCK_SHAPES } from './gguf-types.js'
import { type Codes, UNPACK_PLAIN, type Unpack } from './gguf-unpack.js'
import { UNPACK_IQ } from './gguf-unpack-iq.js'
import { UNPACK_K } from './gguf-unpack-k.js'
import type { CheckpointTensor, GgufBlockType } from './types.js'

interface BlockType {
  readonly unpack: Unpack
  /** Elements under one scale. */
  readonly group: 16 | 32
  /** Whether groups also have a minimum that is subtracted. */
  readonly mins: boolean
}

const UNPACK: Readonly<Record<GgufBlockType, Unpack>> = { ...UNPACK_PLAIN, ...UNPACK_K, ...UNPACK_IQ }
const GROUPS_OF_16 = new Set<GgufBlockType>(['Q2_K', 'Q3_K', 'Q6_K', 'IQ2_XS', 'IQ2_S'])
const WITH_MINS = new Set<GgufBlockType>(['Q4_1', 'Q5_1', 'Q2_K', 'Q4_K', 'Q5_K'])

const BLOCK_TYPES = Object.freeze(
  Object.fromEntries(
    (Object.keys(UNPACK) as GgufBlockType[]).map((type): [GgufBlockType, BlockType] => [
      type,
      { unpack: UNPACK[type], group: GROUPS_OF_16.has(type) ? 16 : 32, mins: WITH_MINS.has(type) },
    ]),
  ) as Record<GgufBlockType, BlockType>,
)

/** Elements that are unpacked before they are scaled: codes and scales then stay in the first-level cache. */
const CHUNK_ELEMENTS = 8192

function makeCodes(memory: ArrayBuffer, elements: number, group: number): Codes {
  return {
    codes: new Int8Array(memory, 0, elements),
    words: new Int32Array(memory, 0, elements / 4),
    scales: new Float32Array(memory, elements, elements / group),
    mins: new Float32Array(elements / group),
  }
}

/**
 * Whole blocks → float32, bit for bit what ggml's own C code gives.
 * @param src `out.length / blockSize` blocks
 */
export function dequantiseBlocks(type: GgufBlockType, src: Uint8Array, out: Float32Array): void {
  const { blockSize, blockBytes } = BLOCK_SHAPES[type]
  const { unpack, group, mins: hasMins } = BLOCK_TYPES[type]
  const scratch = makeCodes(new ArrayBuffer(CHUNK_ELEMENTS * 2), CHUNK_ELEMENTS, group)
  const { codes, scales, mins } = scratch
  for (let start = 0; start < out.length; start += CHUNK_ELEMENTS) {
    const count = Math.min(CHUNK_ELEMENTS, out.length - start)
    unpack(src.subarray((start / blockSize) * blockBytes), count / blockSize, scratch)
    for (let g = 0, i = 0; i < count; g++) {
      const scale = scales[g]!
      const end = i + group
      if (hasMins) for (const min = mins[g]!; i < end; i++) out[start + i] = codes[i]! * scale - min
      else for (; i < end; i++) out[start + i] = codes[i]! * scale
    }
  }
}

export interface NativeCodes {
  /** Row-major, one of each element. */
  readonly codes: Int8Array
  /** One of each 32 codes: element i is `codes[i] * scales[i >> 5]`, rounded once to float32. */
  readonly scales: Float32Array
}

/**
 * The values of a tensor as 8-bit codes and one scale for 32 elements, when its block type is exactly that: Q4_0, Q5_0, Q8_0,
 * IQ1_S, IQ2_XXS, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0. Repacking from these to 8-bit block-32 weights is lossless.
 * @param rows rows `[from, to)` of the first dimension; default all
 * @returns undefined for every other storage
 */
export function nativeCodes(
  tensor: CheckpointTensor,
  rows?: { readonly from: number; readonly to: number },
): NativeCodes | undefined {
  const type = tensor.storage as GgufBlockType
  if (!Object.hasOwn(BLOCK_TYPES, type)) return undefined
  const { unpack, group, mins } = BLOCK_TYPES[type]
  if (group !== 32 || mins) return undefined
  const { blockSize, blockBytes } = BLOCK_SHAPES[type]
  const src = storedRows(tensor, rows)
  const blocks = src.byteLength / blockBytes
  const elements = blocks * blockSize
  const memory = allocateBytes(elements + elements / 8, src.byteLength * 8, `codes of "${tensor.name}"`)
  const out = makeCodes(memory.buffer as ArrayBuffer, elements, 32)
  unpack(src, blocks, out)
  return { codes: out.codes, scales: out.scales }
}

/** Stored bytes of some rows, without reading the others when the tensor comes from this room. */
function storedRows(tensor: CheckpointTensor, rows?: { readonly from: number; readonly to: number }): Uint8Array {
  if (!rows) return tensor.bytes()
  if ('storedRows' in tensor && typeof tensor.storedRows === 'function') return tensor.storedRows(rows) as Uint8Array
  const rowCount = tensor.dims[0] ?? 1
  if (rows.from < 0 || rows.from > rows.to || rows.to > rowCount)
    throw new M4Error(
      'INVALID_REQUEST',
      `Tensor "${tensor.name}" has ${rowCount} rows, [${rows.from}, ${rows.to}) wanted.`,
    )
  const rowBytes = elementCount(tensor.dims) === 0 ? 0 : tensor.storedBytes / rowCount
  return tensor.bytes().subarray(rows.from * rowBytes, rows.to * rowBytes)
}

/**
 * ggml block types as integer codes with scales (layouts: ggml-common.h and ggml-quants.c of ggml-org/ggml, MIT).
 * Every type here is `code * scale - min` exactly, with one scale for 16 or 32 elements; this file has the formats of 4 to 8 bits
 * and the ternary ones, `gguf-unpack-k.ts` the K-quants, `gguf-unpack-iq.ts` the code-book types.
 */

import { halfLookup } from '../core/dtypes.js'

/** Where unpackers write, from element 0 on. */
export interface Codes {
  readonly codes: Int8Array
  /** The memory of `codes`, four codes at a time. */
  readonly words: Int32Array
  /** One of each group of 16 or 32 codes. */
  readonly scales: Float32Array
  /** As `scales`; empty for types without. */
  readonly mins: Float32Array
}

/** Unpacks `blocks` whole blocks from the start of `src`. */
export type Unpack = (src: Uint8Array, blocks: number, out: Codes) => void

/** IQ4_NL and IQ4_XS: the sixteen levels of a non-linear nibble. */
const IQ4_LEVELS = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
const CENTRED_NIBBLES = Int8Array.from({ length: 16 }, (_, nibble) => nibble - 8)
const PLAIN_NIBBLES = Int8Array.from({ length: 16 }, (_, nibble) => nibble)

/** The number that the two bytes at `at` hold as an IEEE half. */
export function halfAt(halves: Float32Array, src: Uint8Array, at: number): number {
  return halves[src[at]! | (src[at + 1]! << 8)]!
}

/** 16 bytes → 32 codes: low nibbles are elements 0…15, high nibbles 16…31. */
function nibbles(src: Uint8Array, at: number, levels: Int8Array, codes: Int8Array, to: number): void {
  for (let j = 0; j < 16; j++) {
    const byte = src[at + j]!
    codes[to + j] = levels[byte & 15]!
    codes[to + 16 + j] = levels[byte >> 4]!
  }
}

/** Nibbles with a fifth bit each, from the 32 bits at `highAt`. */
function fiveBits(src: Uint8Array, highAt: number, at: number, centre: number, codes: Int8Array, to: number): void {
  const high = src[highAt]! | (src[highAt + 1]! << 8) | (src[highAt + 2]! << 16) | (src[highAt + 3]! << 24)
  for (let j = 0; j < 16; j++) {
    const byte = src[at + j]!
    codes[to + j] = ((byte & 15) | (((high >>> j) & 1) << 4)) - centre
    codes[to + 16 + j] = ((byte >> 4) | (((high >>> (j + 16)) & 1) << 4)) - centre
  }
}

/** Half d, 16 bytes of nibbles. */
const nibbleBlocks =
  (levels: Int8Array): Unpack =>
  (src, blocks, { codes, scales }) => {
    const halves = halfLookup()
    for (let b = 0, at = 0; b < blocks; b++, at += 18) {
      scales[b] = halfAt(halves, src, at)
      nibbles(src, at + 2, levels, codes, b * 32)
    }
  }

/** Half d, half m, 16 bytes of nibbles: d * code + m. */
const q4_1: Unpack = (src, blocks, { codes, scales, mins }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 20) {
    scales[b] = halfAt(halves, src, at)
    mins[b] = -halfAt(halves, src, at + 2)
    nibbles(src, at + 4, PLAIN_NIBBLES, codes, b * 32)
  }
}

/** Half d, 32 fifth bits, 16 bytes of nibbles. */
const q5_0: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 22) {
    scales[b] = halfAt(halves, src, at)
    fiveBits(src, at + 2, at + 6, 16, codes, b * 32)
  }
}

/** Half d, half m, 32 fifth bits, 16 bytes of nibbles. */
const q5_1: Unpack = (src, blocks, { codes, scales, mins }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 24) {
    scales[b] = halfAt(halves, src, at)
    mins[b] = -halfAt(halves, src, at + 2)
    fiveBits(src, at + 4, at + 8, 0, codes, b * 32)
  }
}

/** Half d, 32 signed bytes. */
const q8_0: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 34) {
    scales[b] = halfAt(halves, src, at)
    for (let j = 0; j < 32; j++) codes[b * 32 + j] = src[at + 2 + j]!
  }
}

/** Half d, 8 scales of 6 bits (2 high bits in 2 bytes, 4 low bits in 4 bytes), 128 bytes of nibbles. */
const iq4Xs: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 136) {
    const d = halfAt(halves, src, at)
    const high = src[at + 2]! | (src[at + 3]! << 8)
    for (let g = 0; g < 8; g++) {
      const low = (src[at + 4 + (g >> 1)]! >> (4 * (g & 1))) & 15
      scales[b * 8 + g] = d * ((low | (((high >> (2 * g)) & 3) << 4)) - 32)
      nibbles(src, at + 8 + g * 16, IQ4_LEVELS, codes, b * 256 + g * 32)
    }
  }
}

/** 64 bytes of four ternary digits, half d. */
const tq2_0: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 66) {
    scales.fill(halfAt(halves, src, at + 64), b * 8, b * 8 + 8)
    for (let part = 0, to = b * 256; part < 64; part += 32)
      for (let shift = 0; shift < 8; shift += 2, to += 32)
        for (let j = 0; j < 32; j++) codes[to + j] = ((src[at + part + j]! >> shift) & 3) - 1
  }
}

/** Runs of bytes of a TQ1_0 block: first byte, bytes, digits in each byte. */
const TQ1_RUNS = [
  [0, 32, 5],
  [32, 16, 5],
  [48, 4, 4],
] as const

/** 48 bytes of five ternary digits, 4 of four, half d. A byte holds the digits as a fraction of 256: times 3 moves the next one out. */
const tq1_0: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 54) {
    scales.fill(halfAt(halves, src, at + 52), b * 8, b * 8 + 8)
    let to = b * 256
    for (const [start, count, digits] of TQ1_RUNS)
      for (let digit = 0, power = 1; digit < digits; digit++, power *= 3, to += count)
        for (let j = 0; j < count; j++) codes[to + j] = ((((src[at + start + j]! * power) & 255) * 3) >> 8) - 1
  }
}

export const UNPACK_PLAIN = {
  Q4_0: nibbleBlocks(CENTRED_NIBBLES),
  Q4_1: q4_1,
  Q5_0: q5_0,
  Q5_1: q5_1,
  Q8_0: q8_0,
  IQ4_NL: nibbleBlocks(IQ4_LEVELS),
  IQ4_XS: iq4Xs,
  TQ1_0: tq1_0,
  TQ2_0: tq2_0,
} as const

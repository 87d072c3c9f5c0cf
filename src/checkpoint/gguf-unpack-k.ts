/** K-quants: 256 elements, 8 or 16 groups whose scales are quantised too (layouts: ggml-quants.c of ggml-org/ggml, MIT). */

import { halfLookup } from '../core/dtypes.js'
import { halfAt, type Unpack } from './gguf-unpack.js'

/** 16 bytes scale | min << 4, 64 bytes of 2-bit codes, half d, half dmin. Groups of 16. */
const q2K: Unpack = (src, blocks, { codes, scales, mins }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 84) {
    const d = halfAt(halves, src, at + 80)
    const dmin = halfAt(halves, src, at + 82)
    for (let g = 0; g < 16; g++) {
      scales[b * 16 + g] = d * (src[at + g]! & 15)
      mins[b * 16 + g] = dmin * (src[at + g]! >> 4)
    }
    for (let part = 0, to = b * 256; part < 64; part += 32)
      for (let shift = 0; shift < 8; shift += 2, to += 32)
        for (let j = 0; j < 32; j++) codes[to + j] = (src[at + 16 + part + j]! >> shift) & 3
  }
}

/** 32 bytes of third bits (set = no offset), 64 bytes of 2-bit codes, 16 scales of 6 bits in 12 bytes, half d. Groups of 16. */
const q3K: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 110) {
    const d = halfAt(halves, src, at + 108)
    for (let g = 0; g < 16; g++) {
      const low = (src[at + 96 + (g & 7)]! >> (4 * (g >> 3))) & 15
      const high = (src[at + 104 + (g & 3)]! >> (2 * (g >> 2))) & 3
      scales[b * 16 + g] = d * ((low | (high << 4)) - 32)
    }
    for (let run = 0, to = b * 256; run < 8; run++, to += 32) {
      const from = at + 32 + (run >> 2) * 32
      const shift = 2 * (run & 3)
      for (let j = 0; j < 32; j++) codes[to + j] = ((src[from + j]! >> shift) & 3) - ((src[at + j]! >> run) & 1 ? 0 : 4)
    }
  }
}

/** Eight pairs of 6-bit scale and min from 12 bytes, times d and dmin. */
function scalePairs(
  src: Uint8Array,
  at: number,
  d: number,
  dmin: number,
  scales: Float32Array,
  mins: Float32Array,
  to: number,
): void {
  for (let g = 0; g < 4; g++) {
    const first = src[at + g]!
    const second = src[at + 4 + g]!
    const rest = src[at + 8 + g]!
    scales[to + g] = d * (first & 63)
    mins[to + g] = dmin * (second & 63)
    scales[to + 4 + g] = d * ((rest & 15) | ((first >> 6) << 4))
    mins[to + 4 + g] = dmin * ((rest >> 4) | ((second >> 6) << 4))
  }
}

/** Half d, half dmin, 12 bytes of scales, 128 bytes: 32 low nibbles, then the 32 high ones. Groups of 32. */
const q4K: Unpack = (src, blocks, { codes, scales, mins }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 144) {
    scalePairs(src, at + 4, halfAt(halves, src, at), halfAt(halves, src, at + 2), scales, mins, b * 8)
    for (let part = 0, to = b * 256; part < 128; part += 32, to += 64)
      for (let j = 0; j < 32; j++) {
        const byte = src[at + 16 + part + j]!
        codes[to + j] = byte & 15
        codes[to + 32 + j] = byte >> 4
      }
  }
}

/** As Q4_K with 32 bytes of fifth bits before the nibbles: bit g of byte j belongs to element j of group g. */
const q5K: Unpack = (src, blocks, { codes, scales, mins }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 176) {
    scalePairs(src, at + 4, halfAt(halves, src, at), halfAt(halves, src, at + 2), scales, mins, b * 8)
    for (let pair = 0, to = b * 256; pair < 4; pair++, to += 64)
      for (let j = 0; j < 32; j++) {
        const byte = src[at + 48 + pair * 32 + j]!
        const high = src[at + 16 + j]! >> (2 * pair)
        codes[to + j] = (byte & 15) | ((high & 1) << 4)
        codes[to + 32 + j] = (byte >> 4) | ((high & 2) << 3)
      }
  }
}

/** 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, half d. Groups of 16. */
const q6K: Unpack = (src, blocks, { codes, scales }) => {
  const halves = halfLookup()
  for (let b = 0, at = 0; b < blocks; b++, at += 210) {
    const d = halfAt(halves, src, at + 208)
    for (let g = 0; g < 16; g++) scales[b * 16 + g] = d * ((src[at + 192 + g]! << 24) >> 24)
    for (let half = 0, to = b * 256; half < 2; half++, to += 128) {
      const low = at + half * 64
      for (let j = 0; j < 32; j++) {
        const near = src[low + j]!
        const far = src[low + 32 + j]!
        const high = src[at + 128 + half * 32 + j]!
        codes[to + j] = ((near & 15) | ((high & 3) << 4)) - 32
        codes[to + 32 + j] = ((far & 15) | (((high >> 2) & 3) << 4)) - 32
        codes[to + 64 + j] = ((near >> 4) | (((high >> 4) & 3) << 4)) - 32
        codes[to + 96 + j] = ((far >> 4) | ((high >> 6) << 4)) - 32
      }
    }
  }
}

export const UNPACK_K = { Q2_K: q2K, Q3_K: q3K, Q4_K: q4K, Q5_K: q5K, Q6_K: q6K } as const

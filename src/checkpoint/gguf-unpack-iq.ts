/**
 * IQ1, IQ2 and IQ3: 256 elements, each four or eight of them one row of a code book, plus signs (layouts: ggml-quants.c of
 * ggml-org/ggml, MIT). Rows are handled as 32-bit words of four codes: a 1.1B-parameter file then unpacks in a second or two.
 */

import { halfLookup } from '../core/dtypes.js'
import { type GridName, grid } from './gguf-grids.js'
import { halfAt, type Unpack } from './gguf-unpack.js'

const ONES = 0x01010101

/** Four sign bits → four bytes of 0 or -1. */
const SIGN_MASKS = Int32Array.from({ length: 16 }, (_, bits) => {
  let mask = 0
  for (let j = 0; j < 4; j++) if ((bits >> j) & 1) mask |= 0xff << (8 * j)
  return mask
})

/** Seven stored sign bits → eight: the eighth makes their number even. */
const EVEN_SIGNS = Uint8Array.from({ length: 128 }, (_, bits) => {
  let parity = 0
  for (let rest = bits; rest; rest >>= 1) parity ^= rest & 1
  return bits | (parity << 7)
})

const gridWords = new Map<GridName, Int32Array>()

/** A code book four values at a time. */
function wordsOf(name: GridName): Int32Array {
  let words = gridWords.get(name)
  if (!words) {
    words = new Int32Array(grid(name).buffer)
    gridWords.set(name, words)
  }
  return words
}

/** Negates the bytes of `word` that `mask` marks. No byte of these code books is 0, so no carry crosses into the next byte. */
const negate = (word: number, mask: number) => (word ^ mask) + (mask & ONES)

/** A row of eight values with eight signs → two words. */
function signedRow(rows: Int32Array, row: number, signs: number, words: Int32Array, to: number): void {
  words[to] = negate(rows[row * 2]!, SIGN_MASKS[signs & 15]!)
  words[to + 1] = negate(rows[row * 2 + 1]!, SIGN_MASKS[signs >> 4]!)
}

const u32At = (src: Uint8Array, at: number) =>
  src[at]! | (src[at + 1]! << 8) | (src[at + 2]! << 16) | (src[at + 3]! << 24)

/** Half d, then for each 32 elements 4 row bytes and 32 bits: 4 × 7 signs, 4 bits of scale. */
const iq2Xxs: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const rows = wordsOf('IQ2_XXS')
  for (let b = 0, at = 0; b < blocks; b++, at += 66) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 8; g++) {
      const from = at + 2 + g * 8
      const packed = u32At(src, from + 4)
      scales[b * 8 + g] = d * (0.5 + (packed >>> 28)) * 0.25
      for (let row = 0; row < 4; row++)
        signedRow(rows, src[from + row]!, EVEN_SIGNS[(packed >>> (7 * row)) & 127]!, words, b * 64 + g * 8 + row * 2)
    }
  }
}

/** Half d, 32 × (9 bits of row, 7 of signs), 16 scales of 4 bits. Groups of 16. */
const iq2Xs: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const rows = wordsOf('IQ2_XS')
  for (let b = 0, at = 0; b < blocks; b++, at += 74) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 16; g++)
      scales[b * 16 + g] = d * (0.5 + ((src[at + 66 + (g >> 1)]! >> (4 * (g & 1))) & 15)) * 0.25
    for (let row = 0; row < 32; row++) {
      const packed = src[at + 2 + row * 2]! | (src[at + 3 + row * 2]! << 8)
      signedRow(rows, packed & 511, EVEN_SIGNS[packed >> 9]!, words, b * 64 + row * 2)
    }
  }
}

/** Half d, 32 low row bytes, 32 sign bytes, 8 bytes of high row bits, 16 scales of 4 bits. Groups of 16. */
const iq2S: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const rows = wordsOf('IQ2_S')
  for (let b = 0, at = 0; b < blocks; b++, at += 82) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 16; g++)
      scales[b * 16 + g] = d * (0.5 + ((src[at + 74 + (g >> 1)]! >> (4 * (g & 1))) & 15)) * 0.25
    for (let row = 0; row < 32; row++) {
      const high = (src[at + 66 + (row >> 2)]! >> (2 * (row & 3))) & 3
      signedRow(rows, src[at + 2 + row]! | (high << 8), src[at + 34 + row]!, words, b * 64 + row * 2)
    }
  }
}

/** Half d, 64 rows of four, then for each 32 elements 32 bits: 4 × 7 signs, 4 bits of scale. */
const iq3Xxs: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const rows = wordsOf('IQ3_XXS')
  for (let b = 0, at = 0; b < blocks; b++, at += 98) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 8; g++) {
      const packed = u32At(src, at + 66 + g * 4)
      scales[b * 8 + g] = d * (0.5 + (packed >>> 28)) * 0.5
      for (let row = 0; row < 8; row++) {
        const signs = EVEN_SIGNS[(packed >>> (7 * (row >> 1))) & 127]! >> (4 * (row & 1))
        words[b * 64 + g * 8 + row] = negate(rows[src[at + 2 + g * 8 + row]!]!, SIGN_MASKS[signs & 15]!)
      }
    }
  }
}

/** Half d, 64 low row bytes, 8 bytes of ninth bits, 32 sign bytes, 8 scales of 4 bits. */
const iq3S: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const rows = wordsOf('IQ3_S')
  for (let b = 0, at = 0; b < blocks; b++, at += 110) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 8; g++) {
      scales[b * 8 + g] = d * (1 + 2 * ((src[at + 106 + (g >> 1)]! >> (4 * (g & 1))) & 15))
      const high = src[at + 66 + g]!
      for (let row = 0; row < 8; row++) {
        const signs = src[at + 74 + g * 4 + (row >> 1)]! >> (4 * (row & 1))
        const index = src[at + 2 + g * 8 + row]! | (((high >> row) & 1) << 8)
        words[b * 64 + g * 8 + row] = negate(rows[index]!, SIGN_MASKS[signs & 15]!)
      }
    }
  }
}

let iq1Rows: readonly [plus: Int32Array, minus: Int32Array] | undefined

/** IQ1_S values are (row ± 1/8) * scale; in eighths they are the whole numbers 8 * row ± 1. */
function iq1Eighths(): readonly [plus: Int32Array, minus: Int32Array] {
  const shifted = (delta: number) => new Int32Array(grid('IQ1_S').map((value) => 8 * value + delta).buffer)
  iq1Rows ??= [shifted(1), shifted(-1)]
  return iq1Rows
}

/** Half d, 32 low row bytes, then for each 32 elements 16 bits: 4 × 3 high row bits, 3 bits of scale, the sign of the shift. */
const iq1S: Unpack = (src, blocks, { words, scales }) => {
  const halves = halfLookup()
  const [plus, minus] = iq1Eighths()
  for (let b = 0, at = 0; b < blocks; b++, at += 50) {
    const d = halfAt(halves, src, at)
    for (let g = 0; g < 8; g++) {
      const packed = src[at + 34 + g * 2]! | (src[at + 35 + g * 2]! << 8)
      const rows = packed & 0x8000 ? minus : plus
      scales[b * 8 + g] = d * (2 * ((packed >> 12) & 7) + 1) * 0.125
      for (let row = 0; row < 4; row++) {
        const index = src[at + 2 + g * 4 + row]! | (((packed >> (3 * row)) & 7) << 8)
        const to = b * 64 + g * 8 + row * 2
        words[to] = rows[index * 2]!
        words[to + 1] = rows[index * 2 + 1]!
      }
    }
  }
}

export const UNPACK_IQ = {
  IQ1_S: iq1S,
  IQ2_XXS: iq2Xxs,
  IQ2_XS: iq2Xs,
  IQ2_S: iq2S,
  IQ3_XXS: iq3Xxs,
  IQ3_S: iq3S,
} as const

/** ggml tensor types: numbers, block sizes and bytes, as in ggml.h (ggml-org/ggml, MIT). */

import type { GgufBlockType, StorageType } from './types.js'

/** Elements and bytes of one block. */
export const BLOCK_SHAPES: Readonly<
  Record<GgufBlockType, { readonly blockSize: number; readonly blockBytes: number }>
> = Object.freeze({
  Q4_0: { blockSize: 32, blockBytes: 18 },
  Q4_1: { blockSize: 32, blockBytes: 20 },
  Q5_0: { blockSize: 32, blockBytes: 22 },
  Q5_1: { blockSize: 32, blockBytes: 24 },
  Q8_0: { blockSize: 32, blockBytes: 34 },
  Q2_K: { blockSize: 256, blockBytes: 84 },
  Q3_K: { blockSize: 256, blockBytes: 110 },
  Q4_K: { blockSize: 256, blockBytes: 144 },
  Q5_K: { blockSize: 256, blockBytes: 176 },
  Q6_K: { blockSize: 256, blockBytes: 210 },
  IQ1_S: { blockSize: 256, blockBytes: 50 },
  IQ2_XXS: { blockSize: 256, blockBytes: 66 },
  IQ2_XS: { blockSize: 256, blockBytes: 74 },
  IQ2_S: { blockSize: 256, blockBytes: 82 },
  IQ3_XXS: { blockSize: 256, blockBytes: 98 },
  IQ3_S: { blockSize: 256, blockBytes: 110 },
  IQ4_NL: { blockSize: 32, blockBytes: 18 },
  IQ4_XS: { blockSize: 256, blockBytes: 136 },
  TQ1_0: { blockSize: 256, blockBytes: 54 },
  TQ2_0: { blockSize: 256, blockBytes: 66 },
})

/** `ggml_type` → storage type. Types that are not here (IQ1_M, MXFP4, …) are refused by name. */
export const GGML_TYPES: Readonly<Record<number, StorageType>> = Object.freeze({
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  30: 'BF16',
  34: 'TQ1_0',
  35: 'TQ2_0',
})

/** Types that ggml has and M4 does not read, for the message. */
export const GGML_UNREAD_TYPES: Readonly<Record<number, string>> = Object.freeze({
  9: 'Q8_1',
  15: 'Q8_K',
  29: 'IQ1_M',
  39: 'MXFP4',
  40: 'NVFP4',
})

/** Who is compared: M4's quantisations of TinyLlama and llama.cpp on the same weights. Data; files are made by `prepare.mjs`. */

/** Matrices that M4's `int4` keeps at 8 bit: attention, the first two ffn_down, head and embedding. */
const EIGHT_BIT_IN_INT4 = /^(blk\.\d+\.attn_(q|k|v|output)|blk\.[01]\.ffn_down|output|token_embd)\.weight$/
const HEAD_AND_EMBEDDING = /^(output|token_embd)\.weight$/

/** GGUF files for llama.cpp: the source as it is, or its weights in `encoding`, those that fit `eightBit` in Q8_0. */
export const GGUFS = Object.freeze({
  q4: {
    about: 'Q4_0, head and embedding in Q8_0: what a llama.cpp user runs at 4 bit, and its fastest',
    fileType: 2,
    encoding: 'Q4_0',
    eightBit: HEAD_AND_EMBEDDING,
  },
  q4mix: {
    about: 'Q4_0 and Q8_0: the same tensors at 8 bit as in M4 int4',
    fileType: 2,
    encoding: 'Q4_0',
    eightBit: EIGHT_BIT_IN_INT4,
  },
  q8: { about: 'Q8_0 throughout', fileType: 7, encoding: 'Q8_0' },
  iq2: { about: 'the source file as it is: IQ2_XXS (2 bit)' },
})

/** M4 images by quantisation, as named in the recipe `lite`. */
export const QUANTISATIONS = Object.freeze({
  int4: 'the default: feed-forward at 4 bit in blocks of 32, the rest at 8 bit in blocks of 128',
  'int4-b128': '4 bit in blocks of 128, head at 8 bit',
  int8: '8 bit in blocks of 32: lossless for this source',
  'int8-b128': '8 bit in blocks of 128',
  w8a8: '8-bit weights (a scale per output) and activations (a scale per token)',
})

export const m4Name = (quantisation, flashed) => `m4 ${quantisation}${flashed ? ' flashed' : ''}`
export const llamaName = (gguf) => `llama.cpp ${gguf}`

/** What must hold, as stated in the issue (`atLeast`), and what is worth seeing beside it: ours / theirs, in tokens per second. */
export const SPEED_GOALS = Object.freeze([
  { what: 'decode, 4 bit', ours: 'm4 int4', theirs: 'llama.cpp q4', measure: 'decode', atLeast: 1 },
  { what: 'prefill 512, 4 bit', ours: 'm4 int4', theirs: 'llama.cpp q4', measure: 'prefill512', atLeast: 1 },
  { what: 'decode, 8 bit', ours: 'm4 int8-b128', theirs: 'llama.cpp q8', measure: 'decode', atLeast: 1.2 },
  { what: 'decode, 8 bit lossless', ours: 'm4 int8', theirs: 'llama.cpp q8', measure: 'decode', atLeast: 1.2 },
  { what: 'prefill 512, W8A8', ours: 'm4 w8a8', theirs: 'llama.cpp q8', measure: 'prefill512', atLeast: 3 },
  { what: 'decode, the same bits', ours: 'm4 int4', theirs: 'llama.cpp q4mix', measure: 'decode' },
  { what: 'prefill 512, the same bits', ours: 'm4 int4', theirs: 'llama.cpp q4mix', measure: 'prefill512' },
  { what: 'decode, coarser 4 bit', ours: 'm4 int4-b128', theirs: 'llama.cpp q4', measure: 'decode' },
  { what: 'prefill 512, coarser 4 bit', ours: 'm4 int4-b128', theirs: 'llama.cpp q4', measure: 'prefill512' },
  { what: 'prefill 512, 8 bit', ours: 'm4 int8-b128', theirs: 'llama.cpp q8', measure: 'prefill512' },
  { what: 'decode, W8A8', ours: 'm4 w8a8', theirs: 'llama.cpp q8', measure: 'decode' },
])

/** How far perplexity may lie above llama.cpp's on the source GGUF, as a factor. */
export const PERPLEXITY_GOALS = Object.freeze({ int8: 1.005, 'int8-b128': 1.005, int4: 1.015, w8a8: 1.05 })

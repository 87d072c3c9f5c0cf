/** Who is compared: M4's quantisations of TinyLlama and llama.cpp on the same weights. Data; files are made by `prepare.mjs`. */

/** Matrices that M4's `int4` keeps at 8 bit; llama.cpp gets the same ones in Q8_0, so that both read the same bits per tensor. */
const EIGHT_BIT_IN_INT4 = /^(blk\.\d+\.attn_v|blk\.[01]\.ffn_down|output|token_embd)\.weight$/
const HEAD_AND_EMBEDDING = /^(output|token_embd)\.weight$/

/** GGUF files for llama.cpp: the source as it is, or its weights in other blocks. */
export const GGUFS = Object.freeze({
  iq2: { about: 'the source file as it is: IQ2_XXS (2 bit)' },
  q4mix: {
    about: 'Q4_0, with attn_v, ffn_down 0–1, head and embedding in Q8_0: the same tensors at 8 bit as in M4 int4',
    fileType: 2,
    choose: (name) => (EIGHT_BIT_IN_INT4.test(name) ? 'Q8_0' : 'Q4_0'),
  },
  q4: {
    about: 'Q4_0, head and embedding in Q8_0',
    fileType: 2,
    choose: (name) => (HEAD_AND_EMBEDDING.test(name) ? 'Q8_0' : 'Q4_0'),
  },
  q8: { about: 'Q8_0 throughout', fileType: 7, choose: () => 'Q8_0' },
})

/** M4 images by quantisation, as named in the recipe `lite`. */
export const QUANTISATIONS = Object.freeze({
  int4: '4 bit, blocks of 32, sensitive matrices at 8 bit (the default)',
  int8: '8 bit, blocks of 32: lossless for this source',
  'int4-b128': '4 bit, blocks of 128',
  w8a8: '8-bit weights and activations',
})

export const m4Name = (quantisation, flashed) => `m4 ${quantisation}${flashed ? ' flashed' : ''}`
export const llamaName = (gguf) => `llama.cpp ${gguf}`

/** What must hold, as stated in the issue: `ours / theirs` for rates, both by name. */
export const SPEED_GOALS = Object.freeze([
  { what: 'decode, 4 bit', ours: 'm4 int4', theirs: 'llama.cpp q4mix', measure: 'decode', atLeast: 1.0 },
  { what: 'decode, 8 bit', ours: 'm4 int8', theirs: 'llama.cpp q8', measure: 'decode', atLeast: 1.2 },
  { what: 'prefill 512, 4 bit', ours: 'm4 int4', theirs: 'llama.cpp q4mix', measure: 'prefill512', atLeast: 1.0 },
  {
    what: 'prefill 512, W8A8 against Q8_0',
    ours: 'm4 w8a8',
    theirs: 'llama.cpp q8',
    measure: 'prefill512',
    atLeast: 3,
  },
  { what: 'decode, 4 bit b128', ours: 'm4 int4-b128', theirs: 'llama.cpp q4', measure: 'decode' },
  { what: 'prefill 512, 4 bit b128', ours: 'm4 int4-b128', theirs: 'llama.cpp q4', measure: 'prefill512' },
  { what: 'prefill 512, 8 bit', ours: 'm4 int8', theirs: 'llama.cpp q8', measure: 'prefill512' },
])

/** Most that perplexity may rise over llama.cpp on the source GGUF, as a factor. */
export const PERPLEXITY_GOALS = Object.freeze({ int8: 1.005, int4: 1.015, w8a8: 1.05 })

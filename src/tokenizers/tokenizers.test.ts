/** Tokenizers against SentencePiece, tiktoken and each other, in whole texts and streams. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { randomSource } from '../core/random.js'
import { fromGgmlWhisper, fromGguf, fromSentencePiece, fromTiktoken, loadTokenizer, tinyTokenizer } from './index.js'
import type { TokenizerJson } from './tokenizer-json.js'
import type { Tokenizer } from './types.js'
import { WHISPER_ROLES, whisperSpecials } from './whisper.js'

const goldens = new URL('../../test/goldens/', import.meta.url)
const bytesOf = (path: string) => new Uint8Array(readFileSync(new URL(path, goldens)))
const json = (path: string) => JSON.parse(readFileSync(new URL(path, goldens), 'utf8'))

interface Case {
  readonly text: string
  readonly ids: number[]
  readonly decoded?: string
}

const llamaJson = fromSentencePiece(bytesOf('shared/llama-tokenizer.model'))
// Through JSON text, as an image stores it.
const llama = loadTokenizer(JSON.parse(JSON.stringify(llamaJson)))
const whisperJson = fromTiktoken(bytesOf('shared/gpt2.tiktoken'), whisperSpecials(false), WHISPER_ROLES)
const whisper = loadTokenizer(JSON.parse(JSON.stringify(whisperJson)))
const tiny = loadTokenizer(tinyTokenizer())
const llamaCases: Case[] = json('tokenizer-llama/cases.json')
const whisperCases: Case[] = json('tokenizer-whisper-en/cases.json')
const decodeCases: { ids: number[]; decoded: string }[] = json('tokenizer-llama/decode.json')

function streamed(tokenizer: Tokenizer, ids: readonly number[]): string[] {
  const stream = tokenizer.decodeStream()
  return [...ids.map((id) => stream.push(id)), stream.end()]
}

describe('LLaMA (SentencePiece BPE)', () => {
  test('ids and texts of every golden case', () => {
    expect(llamaCases.length).toBeGreaterThan(50)
    for (const { text, ids, decoded } of llamaCases) {
      expect(llama.encode(text), JSON.stringify(text)).toEqual(ids)
      expect(llama.decode(ids), JSON.stringify(text)).toBe(decoded)
    }
    for (const { ids, decoded } of decodeCases) expect(llama.decode(ids), String(ids)).toBe(decoded)
  })

  test('roles, specials and sizes', () => {
    expect(llama).toMatchObject({ kind: 'sentencepiece-bpe', vocabularySize: 32000, bosId: 1, eosId: 2, unknownId: 0 })
    expect(llama.padId).toBeUndefined()
    expect([...llama.specialIds]).toEqual([
      ['<unk>', 0],
      ['<s>', 1],
      ['</s>', 2],
    ])
    expect(llama.idOf('▁###')).toBe(835)
    expect(llama.pieceOf(13)).toBe('<0x0A>')
    expect(llama.idOf('no such piece')).toBeUndefined()
    expect(llama.encode('How are you doing?', { addBos: true })).toEqual([1, 1128, 526, 366, 2599, 29973])
    expect(llama.encode('', { addBos: true, addEos: true })).toEqual([1, 2])
  })

  test('special tokens in a text are text unless allowed; text after one starts with the prefix again', () => {
    const plain = llama.encode('a</s>b')
    expect(plain).not.toContain(2)
    expect(llama.decode(plain)).toBe('a</s>b')
    const hi = llama.encode('b')
    expect(llama.encode('a</s>b', { allowSpecial: true })).toEqual([...llama.encode('a'), 2, ...hi])
    expect(llama.decode([1, ...hi, 2], { keepSpecial: true })).toBe('<s> b</s>')
    expect(llama.encode('<|user|>', { allowSpecial: true })).toEqual(llama.encode('<|user|>'))
  })

  test('bytes that make no character become one U+FFFD each, as SentencePiece writes them', () => {
    const byte = (value: number) => value + 3
    expect(llama.decode([byte(0xe2), byte(0x82)])).toBe('��')
    expect(llama.decode([byte(0xe2), byte(0x82), byte(0xac)])).toBe('€')
    expect(llama.decode([byte(0xe2), byte(0x41), byte(0xed), byte(0xa0), byte(0x80)])).toBe('�A���')
    expect(llama.decode([byte(0xf0), ...llama.encode('x')])).toBe('� x')
    expect(streamed(llama, [byte(0xf0), byte(0x9f), byte(0x98), byte(0x80)])).toEqual(['', '', '', '😀', ''])
  })

  test('a stream after a prompt keeps its leading space', () => {
    const [id] = llama.encode('Paris') as [number]
    expect(llama.decode([id])).toBe('Paris')
    expect(llama.decode([id], { continuing: true })).toBe(' Paris')
  })

  test('the same vocabulary out of GGUF keys gives the same file', () => {
    const { vocab } = llamaJson.model
    const tokens = Object.entries(vocab).sort((a, b) => a[1] - b[1]) // id order
    const score = new Map(scoresOfModel())
    const gguf = {
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens.map(([piece]) => piece),
      'tokenizer.ggml.scores': Float32Array.from(tokens, ([piece]) => score.get(piece)!.score),
      'tokenizer.ggml.token_type': Int32Array.from(tokens, ([piece]) => score.get(piece)!.type),
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
    }
    expect(JSON.stringify(fromGguf(gguf))).toBe(JSON.stringify(llamaJson))
    expect(() => fromGguf({ ...gguf, 'tokenizer.ggml.model': 'gpt2' })).toThrow(/expected "llama"/)
    expect(() => fromGguf({ ...gguf, 'tokenizer.ggml.scores': new Float32Array(3) })).toThrow(/32000 tokens, but 3/)
    expect(() => fromGguf({ ...gguf, 'tokenizer.ggml.bos_token_id': 32000 })).toThrow(/bos is id 32000/)
    expect(() => fromGguf({ 'tokenizer.ggml.model': 'llama' })).toThrow(/tokens is missing/)
  })
})

/** Piece → score and type, read from the golden .model without the code under test: fields of fixed order and width. */
function scoresOfModel(): [string, { score: number; type: number }][] {
  const bytes = bytesOf('shared/llama-tokenizer.model')
  const view = new DataView(bytes.buffer)
  const found: [string, { score: number; type: number }][] = []
  let at = 0
  while (bytes[at] === 0x0a) {
    const end = at + 2 + bytes[at + 1]!
    const textEnd = at + 4 + bytes[at + 3]!
    const piece = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(at + 4, textEnd))
    const score = view.getFloat32(textEnd + 1, true)
    found.push([piece, { score, type: textEnd + 5 < end ? bytes[textEnd + 6]! : 1 }])
    at = end
  }
  return found
}

describe('Whisper .en (GPT-2 byte-level BPE)', () => {
  test('ids of every golden case, and back', () => {
    expect(whisperCases.length).toBeGreaterThan(40)
    for (const { text, ids } of whisperCases) {
      expect(whisper.encode(text), JSON.stringify(text)).toEqual(ids)
      expect(whisper.decode(ids), JSON.stringify(text)).toBe(text)
    }
  })

  test('specials of .en and of multilingual models', () => {
    expect(whisper.vocabularySize).toBe(51864)
    const names: Record<string, number> = {
      '<|endoftext|>': 50256,
      '<|startoftranscript|>': 50257,
      '<|en|>': 50258,
      '<|su|>': 50356,
      '<|translate|>': 50357,
      '<|transcribe|>': 50358,
      '<|startoflm|>': 50359,
      '<|startofprev|>': 50360,
      '<|nospeech|>': 50361,
      '<|notimestamps|>': 50362,
      '<|0.00|>': 50363,
      '<|30.00|>': 51863,
    }
    for (const [name, id] of Object.entries(names)) expect(whisper.specialIds.get(name), name).toBe(id)
    const multilingual = whisperSpecials(true)
    expect(multilingual.get(50257)).toBe('<|endoftext|>')
    expect(multilingual.get(50363)).toBe('<|notimestamps|>')
    expect(Math.max(...multilingual.keys())).toBe(51864)
    expect(whisper.eosId).toBe(50256)
    expect(() => whisper.encode('x', { addBos: true })).toThrow(/no begin-of-text token/)
  })

  test('timestamps are left out of the text, invalid bytes are replaced', () => {
    expect(whisper.decode([50257, 50362, 15496, 995, 50363, 50256])).toBe('Hello world')
    expect(whisper.encode('<|0.00|> Hello', { allowSpecial: true })).toEqual([50363, 18435])
    expect(whisper.encode('<|0.00|>')).not.toContain(50363)
    const [ae] = whisper.encode('日') as [number]
    expect(whisper.decode([ae, 15496])).toMatch(/^(日|�)Hello$/)
  })

  test('white space is Unicode white space, not that of JavaScript', () => {
    // U+FEFF is a symbol and sticks to what follows the space; U+0085 is white space.
    const bom = whisper.encode('\uFEFF')
    expect(whisper.encode('.\uFEFF.')).toEqual(byteBpe('.\uFEFF.'))
    expect(whisper.decode(bom)).toBe('\uFEFF')
    expect(whisper.encode('a\u0085\u0085b')).toEqual(['a', '\u0085', '\u0085', 'b'].flatMap(byteBpe))
  })

  test('ggml vocabulary bytes give the same tokenizer', () => {
    const ranks = readFileSync(new URL('shared/gpt2.tiktoken', goldens), 'utf8').trim().split('\n')
    const vocabulary = ranks.map((line) => new Uint8Array(Buffer.from(line.split(' ')[0]!, 'base64')))
    expect(JSON.stringify(fromGgmlWhisper(vocabulary, false))).toBe(JSON.stringify(whisperJson))
    const withEnd = [...vocabulary, new TextEncoder().encode('<|endoftext|>')]
    expect(JSON.stringify(fromGgmlWhisper(withEnd, false))).toBe(JSON.stringify(whisperJson))
    expect(() => fromGgmlWhisper([...vocabulary, new Uint8Array(3)], false)).toThrow(/50256 is not <\|endoftext/)
    expect(() => fromGgmlWhisper(vocabulary.slice(1), false)).toThrow(/expected 50256 tokens/)
  })
})

/** tiktoken's rule, slowly: merge the adjacent pair of lowest rank, leftmost first, on one word. */
function byteBpe(word: string): number[] {
  const ranks = whisperRanks()
  const parts = [...new TextEncoder().encode(word)].map((byte) => String.fromCharCode(byte))
  for (;;) {
    let best = Number.POSITIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(parts[i]! + parts[i + 1]!) ?? Number.POSITIVE_INFINITY
      if (rank < best) {
        best = rank
        at = i
      }
    }
    if (at < 0) return parts.map((part) => ranks.get(part)!)
    parts.splice(at, 2, parts[at]! + parts[at + 1]!)
  }
}

let rankCache: Map<string, number> | undefined
function whisperRanks(): Map<string, number> {
  rankCache ??= new Map(
    readFileSync(new URL('shared/gpt2.tiktoken', goldens), 'utf8')
      .trim()
      .split('\n')
      .map((line) => {
        const [token, rank] = line.split(' ') as [string, string]
        return [Buffer.from(token, 'base64').toString('latin1'), Number(rank)]
      }),
  )
  return rankCache
}

/** SentencePiece's rule, slowly: merge the adjacent pair whose concatenation has the best score, leftmost first. */
function scoreBpe(text: string, scores: ReadonlyMap<string, number>): string[] {
  const parts = [...`▁${text.replaceAll(' ', '▁')}`]
  for (;;) {
    let best = Number.NEGATIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < parts.length; i++) {
      const score = scores.get(parts[i]! + parts[i + 1]!)
      if (score !== undefined && score > best) {
        best = score
        at = i
      }
    }
    if (at < 0) return parts
    parts.splice(at, 2, parts[at]! + parts[at + 1]!)
  }
}

describe('against the rules written out slowly', () => {
  const uniform = randomSource(7)
  const pick = <T>(from: readonly T[]) => from[Math.floor(uniform() * from.length)]!
  const alphabets = ['a', 'ab', ' ', ' a', '=-', '01', ' etaoinshrdlu', ' the', 'xX.,', "'stmre "]
  const strings = Array.from({ length: 1500 }, () => {
    const letters = [...pick(alphabets)]
    return Array.from({ length: 1 + Math.floor(uniform() * 40) }, () => pick(letters)).join('')
  })

  test('LLaMA: best score first, leftmost on ties', () => {
    const scores = new Map(
      scoresOfModel()
        .filter(([, { type }]) => type === 1)
        .map(([piece, { score }]) => [piece, score]),
    )
    for (const text of strings) {
      const pieces = llama.encode(text).map((id) => llama.pieceOf(id))
      expect(pieces, JSON.stringify(text)).toEqual(scoreBpe(text, scores))
    }
  })

  test('Whisper: lowest rank first on each word', () => {
    for (const text of strings) {
      const words = text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ?? []
      expect(whisper.encode(text), JSON.stringify(text)).toEqual(words.flatMap(byteBpe))
    }
  })
})

describe('every tokenizer', () => {
  const texts = [
    ...llamaCases.map(({ text }) => text),
    'lone \ud800 surrogate',
    '\uFEFFbom',
    '   ',
    '\n\n',
    '👩‍👩‍👧‍👦🇩🇪é',
  ]

  test.each([
    ['llama', llama],
    ['whisper', whisper],
    ['tiny', tiny],
  ])('%s: texts survive, streams say the same as whole texts, in whole characters', (_, tokenizer) => {
    for (const text of texts) {
      const ids = tokenizer.encode(text)
      // SentencePiece writes spaces as U+2581, so it cannot give that character back.
      if (!text.includes('\u2581')) expect(tokenizer.decode(ids)).toBe(text.replace(/\p{Surrogate}/gu, '\uFFFD'))
      const pieces = streamed(tokenizer, ids)
      expect(pieces.join('')).toBe(tokenizer.decode(ids))
      for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u)
    }
  })

  test.each([
    ['llama', llama],
    ['whisper', whisper],
  ])('%s: 100,000 characters without a space, nothing cut', (_, tokenizer) => {
    const word = 'abcdefghij'.repeat(10_000)
    expect(tokenizer.decode(tokenizer.encode(word))).toBe(word)
    const spaces = ' '.repeat(100_000)
    expect(tokenizer.decode(tokenizer.encode(spaces))).toBe(spaces)
  })

  test('ids outside the vocabulary are errors', () => {
    for (const id of [32000, -1, 1.5, Number.NaN]) expect(() => llama.decode([id])).toThrow(/is not in the vocabulary/)
  })

  test('conversion is deterministic', () => {
    const again = fromSentencePiece(bytesOf('shared/llama-tokenizer.model'))
    expect(JSON.stringify(again)).toBe(JSON.stringify(llamaJson))
  })
})

describe('tiny', () => {
  test('one token a byte', () => {
    expect(tiny).toMatchObject({ kind: 'byte-bpe', vocabularySize: 259, bosId: 1, eosId: 2 })
    expect(tiny.encode('é<s>', { addBos: true, allowSpecial: true })).toEqual([1, 3 + 0xc3, 3 + 0xa9, 1])
    expect(streamed(tiny, tiny.encode('é'))).toEqual(['', 'é', ''])
  })
})

const wordPiece: TokenizerJson = {
  version: '1.0',
  // Left in files by their makers; following them would cut texts.
  truncation: { max_length: 4, strategy: 'LongestFirst', stride: 0, direction: 'Right' },
  padding: { strategy: { Fixed: 128 }, direction: 'Right', pad_id: 0, pad_type_id: 0, pad_token: '[PAD]' },
  added_tokens: ['[PAD]', '[UNK]', '[CLS]', '[SEP]'].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: null,
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(
      ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'un', '##want', '##ed', 'runn', '##ing', ',', '.', '世', '𠀀'].map(
        (w, i) => [w, i],
      ),
    ),
  },
}

describe('WordPiece (BERT)', () => {
  const bert = loadTokenizer(wordPiece)

  test('lower case, accents, punctuation, unknown words; nothing cut or padded', () => {
    expect(bert.encode('UNwantéd, running.')).toEqual([4, 5, 6, 9, 7, 8, 10])
    expect(bert.encode('unwanted xyz', { addBos: true, addEos: true })).toEqual([2, 4, 5, 6, 1, 3])
    expect(bert).toMatchObject({ kind: 'wordpiece', bosId: 2, eosId: 3, padId: 0, unknownId: 1 })
    expect(bert.encode('un '.repeat(600))).toHaveLength(600)
    expect(bert.encode('a'.repeat(100_000))).toEqual([1])
  })

  test('ideographs stand alone, also beyond the basic plane', () => {
    expect(bert.encode('un世un')).toEqual([4, 11, 4])
    expect(bert.encode('un𠀀un')).toEqual([4, 12, 4])
  })

  test('decoding joins continuations', () => {
    expect(bert.decode([2, 4, 5, 6, 9, 7, 8, 10, 3])).toBe('unwanted, running.')
    expect(streamed(bert, [4, 5, 7]).join('|')).toBe('un|want| runn|')
  })
})

describe('files that are not what they claim', () => {
  const changed = (change: (json: Record<string, unknown> & { model: Record<string, unknown> }) => void) => {
    const copy = structuredClone(tinyTokenizer()) as unknown as Record<string, unknown> & {
      model: Record<string, unknown>
    }
    change(copy)
    return () => loadTokenizer(copy)
  }

  test.each<[string, Parameters<typeof changed>[0], RegExp]>([
    ['model type', (j) => Object.assign(j.model, { type: 'Unigram' }), /model type "Unigram"/],
    ['no vocabulary', (j) => Object.assign(j.model, { vocab: null }), /expected an object "model.vocab"/],
    ['an id twice', (j) => Object.assign(j.model.vocab as object, { a: 7 }), /id 7 is given to two/],
    ['a fraction', (j) => Object.assign(j.model.vocab as object, { a: 0.5 }), /has id 0.5/],
    ['a huge id', (j) => Object.assign(j.model.vocab as object, { a: 1e12 }), /has id 1000000000000/],
    ['a missing byte', (j) => delete (j.model.vocab as Record<string, number>).a, /byte 97 has no token/],
    ['a foreign merge', (j) => Object.assign(j.model, { merges: [['a', 'b']] }), /does not have/],
    ['a role without token', (j) => Object.assign(j, { m4: { bos: '<x>', eos: null, pad: null } }), /names <x> as bos/],
    ['an unknown stage', (j) => Object.assign(j, { normalizer: { type: 'Magic' } }), /Magic/],
    ['an unknown decoder', (j) => Object.assign(j, { decoder: { type: 'CTC' } }), /decoder/],
  ])('%s', (_, change, message) => {
    expect(changed(change)).toThrow(message)
  })

  test('not even an object', () => {
    expect(() => loadTokenizer('x')).toThrow(/expected an object, got string/)
    expect(() => loadTokenizer(null)).toThrow(/got null/)
  })

  test('other bytes as SentencePiece and tiktoken files', () => {
    const html = new TextEncoder().encode('<!doctype html>')
    expect(() => fromSentencePiece(html)).toThrow(/not a SentencePiece model/)
    expect(() => fromSentencePiece(new Uint8Array())).toThrow(/no pieces/)
    expect(() => fromSentencePiece(bytesOf('shared/llama-tokenizer.model').subarray(0, 5000))).toThrow(
      /SentencePiece model/,
    )
    expect(() => fromTiktoken(html, new Map())).toThrow(/line 1: expected/)
  })
})

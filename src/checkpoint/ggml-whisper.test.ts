/** Whisper in the old ggml format. */

import { expect, test } from 'vitest'
import { floatBytes, floats, ggmlWhisperFile } from '../../test/helpers/checkpoint-files.js'
import { memorySource } from './byte-source.js'
import { openGgmlWhisper } from './ggml-whisper.js'

const weights = { name: 'encoder.ln_post.weight', dims: [2, 3], type: 0, data: floatBytes(floats(6)) }
const halves = { name: 'encoder.conv1.bias', dims: [2], type: 1, data: Uint8Array.of(0, 0x3c, 0, 0xc0) }
const blocks = { name: 'q', dims: [32], type: 8, data: new Uint8Array(34) }
const open = (bytes: Uint8Array) => openGgmlWhisper(memorySource(bytes))

test('hyper-parameters, filters, vocabulary bytes and tensors', () => {
  using checkpoint = open(ggmlWhisperFile([weights, halves]))
  expect(checkpoint.metadata).toEqual({
    dims: {
      n_vocab: 4,
      n_audio_ctx: 6,
      n_audio_state: 8,
      n_audio_head: 2,
      n_audio_layer: 1,
      n_text_ctx: 5,
      n_text_state: 8,
      n_text_head: 2,
      n_text_layer: 1,
      n_mels: 2,
    },
    melFilters: { mels: 2, bins: 3, data: Float32Array.of(0, 0.125, 0.25, 0.375, 0.5, 0.625) },
    vocabulary: [Uint8Array.of(97), Uint8Array.of(0xff, 0x20)],
  })
  expect(checkpoint.tensors.get('encoder.ln_post.weight')!.read()).toEqual({
    dtype: 'float32',
    dims: [2, 3],
    data: floats(6),
  })
  expect(checkpoint.tensors.get('encoder.conv1.bias')!.float32()).toEqual(Float32Array.of(1, -2))
})

test('blocks are read in their present layout only', () => {
  using checkpoint = open(ggmlWhisperFile([blocks], { ftype: 2007 }))
  expect(checkpoint.tensors.get('q')!.storage).toBe('Q8_0')
  expect(() => open(ggmlWhisperFile([blocks], { ftype: 1007 }))).toThrow(
    expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
  )
})

test.each([
  ['a truncated tensor', (bytes: Uint8Array) => bytes.slice(0, -1)],
  ['no tensors', () => ggmlWhisperFile([])],
  ['another model in the same format', (bytes: Uint8Array) => bytes.fill(0, 8, 12)],
  ['filters that are larger than the file', (bytes: Uint8Array) => bytes.fill(0x7f, 48, 52)],
])('refuses %s', (_, damage) => {
  expect(() => open(damage(ggmlWhisperFile([weights])))).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
})

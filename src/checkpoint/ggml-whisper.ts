/** The ggml `.bin` of whisper.cpp (models/convert-pt-to-ggml.py): hyper-parameters, mel filters, vocabulary, tensors to the end. */

import type { ByteSource } from './byte-source.js'
import { unsupported } from './byte-source.js'
import { Cursor } from './cursor.js'
import { unreadType } from './gguf.js'
import { BLOCK_SHAPES, GGML_TYPES } from './gguf-types.js'
import { contiguousTensor, makeCheckpoint, type StoredTensor } from './tensor.js'
import type { Checkpoint } from './types.js'

export const GGML_MAGIC = 0x67676d6c

const DIM_NAMES = [
  'n_vocab',
  'n_audio_ctx',
  'n_audio_state',
  'n_audio_head',
  'n_audio_layer',
  'n_text_ctx',
  'n_text_state',
  'n_text_head',
  'n_text_layer',
  'n_mels',
] as const

/** Under OpenAI's names, as in the `dims` of its `.pt` files. */
export type WhisperDims = Readonly<Record<(typeof DIM_NAMES)[number], number>>

/** Metadata of a Whisper file in ggml format. */
export interface WhisperMetadata {
  readonly dims: WhisperDims
  /** [M, bins] */
  readonly melFilters: { readonly mels: number; readonly bins: number; readonly data: Float32Array }
  /** Bytes of each text token, by id. Special tokens are not in the file. */
  readonly vocabulary: readonly Uint8Array[]
}

const MAX_DIMS = 4
const MAX_NAME_BYTES = 1024
/** ftype = 1000 * version of the block layouts + type. Version 2 is today's; blocks of older ones look different. */
const QUANT_VERSION_FACTOR = 1000
const QUANT_VERSION = 2

/**
 * Opens a Whisper `.bin`. `metadata` is a `WhisperMetadata`; tensors have the names of OpenAI's state dict. The checkpoint owns `source`.
 * @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function openGgmlWhisper(source: ByteSource): Checkpoint {
  const cursor = new Cursor(source)
  if (cursor.u32() !== GGML_MAGIC) throw cursor.fail('no ggml magic')
  const dims = Object.fromEntries(DIM_NAMES.map((name) => [name, positive(cursor, name)])) as WhisperDims
  const quantVersion = Math.floor(cursor.i32() / QUANT_VERSION_FACTOR)
  const melFilters = readFilters(cursor)
  const vocabulary = readVocabulary(cursor)
  const tensors: StoredTensor[] = []
  while (cursor.remaining > 0) tensors.push(readTensor(cursor, quantVersion))
  if (!tensors.length) throw cursor.fail('no tensors')
  return makeCheckpoint('ggml-whisper', source.name, tensors, { dims, melFilters, vocabulary }, [source])
}

function positive(cursor: Cursor, what: string): number {
  const value = cursor.i32()
  if (value <= 0)
    throw cursor.fail(
      `${what} is ${value}, expected a positive number`,
      'Only Whisper models are read in the old ggml format; use GGUF for others.',
    )
  return value
}

function readFilters(cursor: Cursor): WhisperMetadata['melFilters'] {
  const mels = positive(cursor, 'the number of mel bands')
  const bins = positive(cursor, 'the number of frequency bins')
  cursor.assertRoom(mels * bins, 4, 'mel filter weights')
  return { mels, bins, data: new Float32Array(cursor.bytes(mels * bins * 4).buffer as ArrayBuffer) }
}

function readVocabulary(cursor: Cursor): Uint8Array[] {
  const count = cursor.u32()
  cursor.assertRoom(count, 4, 'tokens')
  return Array.from({ length: count }, () => cursor.bytes(cursor.u32()))
}

function readTensor(cursor: Cursor, quantVersion: number): StoredTensor {
  const dimCount = cursor.u32()
  const nameBytes = cursor.u32()
  const type = cursor.u32()
  if (dimCount > MAX_DIMS || nameBytes > MAX_NAME_BYTES)
    throw cursor.fail(`a tensor of ${dimCount} dimensions and a name of ${nameBytes} bytes`)
  const dims: number[] = []
  for (let i = 0; i < dimCount; i++) dims.unshift(cursor.u32())
  const name = cursor.text(nameBytes)
  const storage = GGML_TYPES[type]
  if (!storage) throw unreadType(cursor, name, type)
  if (Object.hasOwn(BLOCK_SHAPES, storage) && quantVersion < QUANT_VERSION)
    throw unsupported(
      cursor.source.name,
      `${storage} blocks of layout version ${quantVersion}`,
      'Quantise the model again with a current whisper.cpp.',
    )
  const tensor = contiguousTensor(cursor.source, cursor.offset, { name, dims, storage })
  cursor.skip(tensor.storedBytes)
  return tensor
}

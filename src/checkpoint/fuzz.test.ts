/** Damaged and hostile files: readers give a typed error or succeed, and never take more memory than their file's size allows. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  floatBytes,
  floats,
  ggmlWhisperFile,
  ggufFile,
  ggufText,
  goldenBytes,
  onnxFile,
  onnxTensor,
  torchFile,
} from '../../test/helpers/checkpoint-files.js'
import { isM4Error } from '../core/errors.js'
import { type ByteSource, memorySource, watchAllocations } from './byte-source.js'
import { openGgmlWhisper } from './ggml-whisper.js'
import { openGguf } from './gguf.js'
import { openOnnx } from './onnx-initializers.js'
import { openSafetensors } from './safetensors.js'
import { openTorchLegacy, openTorchZip } from './torch.js'
import type { Checkpoint } from './types.js'

const data = floatBytes(floats(64))
const plain = [
  { name: 'a', dims: [8, 8], type: 0, data },
  { name: 'q', dims: [32], type: 8, data: data.slice(0, 34) },
]

const OPEN_ONNX = (source: ByteSource) => openOnnx(source)

const FORMATS: readonly (readonly [string, Uint8Array, (source: ByteSource) => Checkpoint])[] = [
  ['safetensors', goldenBytes('loader-safetensors/model.safetensors'), openSafetensors],
  ['torch zip', goldenBytes('loader-torch-zip/checkpoint.pt'), openTorchZip],
  ['torch zip64', torchFile([{ name: 'a', dims: [8, 8], data: floats(64) }], { zip64: true }), openTorchZip],
  ['torch legacy', goldenBytes('loader-torch-legacy/checkpoint.pt'), openTorchLegacy],
  [
    'gguf',
    ggufFile(plain, [
      ['general.name', 8, ggufText('x')],
      ['t', 9, Uint8Array.of(8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, ...ggufText('word'))],
    ]),
    openGguf,
  ],
  ['ggml-whisper', ggmlWhisperFile(plain, { ftype: 2007 }), openGgmlWhisper],
  ['onnx', onnxFile([onnxTensor('w', [8, 8], 1, (writer) => void writer.tag(9, 2).bytes(data))]), OPEN_ONNX],
]

/** Reads are counted as well as bytes: a reader that re-reads the same window for ever would not allocate much at once. */
const MAX_ALLOCATIONS = 5000
/** The largest decoding step gives 20 times its input. */
const MAX_EXPANSION = 32

/** Opens and reads everything; the largest single allocation and the number of them. */
function exercise(
  bytes: Uint8Array,
  open: (source: ByteSource) => Checkpoint,
): { largest: number; count: number; outcome: string } {
  let largest = 0
  let count = 0
  const stop = watchAllocations((byteLength) => {
    largest = Math.max(largest, byteLength)
    count++
  })
  try {
    using checkpoint = open(memorySource(bytes))
    for (const tensor of checkpoint.tensors.values()) tensor.float32()
    return { largest, count, outcome: 'read' }
  } catch (error) {
    if (!isM4Error(error)) throw error
    return { largest, count, outcome: error.code }
  } finally {
    stop()
  }
}

/** Edits that hit headers harder than data: the first kilobyte and the last 300 bytes. */
const edits = fc.array(
  fc.record({
    place: fc.oneof(fc.nat(1000), fc.integer({ min: -300, max: -1 }), fc.nat()),
    bytes: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 9 }),
      fc.constantFrom(
        Uint8Array.of(0xff, 0xff, 0xff, 0xff),
        Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
        Uint8Array.of(0, 0, 0, 0x80),
      ),
    ),
  }),
  { minLength: 1, maxLength: 4 },
)

describe.each(FORMATS)('%s', (_, valid, open) => {
  test('the file itself is read', () => {
    expect(exercise(valid, open).outcome).toBe('read')
  })

  test('every damaged copy is read or refused, within its size', () => {
    const property = fc.property(edits, fc.option(fc.nat(valid.length), { freq: 4 }), (changes, cut) => {
      const bytes = valid.slice(0, cut ?? valid.length)
      for (const { place, bytes: patch } of changes) {
        const at = place < 0 ? Math.max(0, bytes.length + place) : place % Math.max(1, bytes.length)
        bytes.set(patch.subarray(0, Math.max(0, bytes.length - at)), at)
      }
      const { largest, count } = exercise(bytes, open)
      expect(largest).toBeLessThanOrEqual(bytes.length * MAX_EXPANSION)
      expect(count).toBeLessThanOrEqual(MAX_ALLOCATIONS)
    })
    fc.assert(property, { seed: 20261120, numRuns: 1000, endOnFailure: true })
  })

  test('a prefix is refused, or is a shorter file: it never gives other tensors', () => {
    using whole = open(memorySource(valid))
    const step = Math.max(1, Math.floor(valid.length / 300))
    for (let length = 0; length < valid.length; length += step) {
      const bytes = valid.slice(0, length)
      const { outcome } = exercise(bytes, open)
      if (outcome !== 'read') continue
      // Whisper's format has no count of tensors, and ONNX's none of fields.
      expect([openGgmlWhisper, OPEN_ONNX]).toContain(open)
      using part = open(memorySource(bytes))
      for (const [name, tensor] of part.tensors) expect(tensor.bytes()).toEqual(whole.tensors.get(name)!.bytes())
    }
  })
})

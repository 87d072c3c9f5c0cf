/** GGUF: values, places, and files that lie about counts. */

import { describe, expect, test } from 'vitest'
import { ByteWriter, floatBytes, floats, ggufFile, ggufText } from '../../test/helpers/checkpoint-files.js'
import { memorySource } from './byte-source.js'
import { openGguf } from './gguf.js'
import { nativeCodes } from './gguf-blocks.js'

const open = (bytes: Uint8Array) => openGguf(memorySource(bytes))
const refused = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })
const tensor = (name: string, dims: readonly number[], data = floatBytes(floats(dims.reduce((a, b) => a * b, 1)))) => ({
  name,
  dims,
  type: 0,
  data,
})
const u32 = (value: number) => new ByteWriter().u32(value).done()

describe('values', () => {
  test('every type of value', () => {
    const array = (type: number, count: number, value: ByteWriter) =>
      new ByteWriter().u32(type).u64(count).raw(value.done()).done()
    using checkpoint = open(
      ggufFile(
        [],
        [
          ['u8', 0, Uint8Array.of(200)],
          ['i8', 1, Uint8Array.of(200)],
          ['u16', 2, Uint8Array.of(0xff, 0xff)],
          ['i16', 3, Uint8Array.of(0xff, 0xff)],
          ['u32', 4, u32(0xffffffff)],
          ['i32', 5, u32(0xffffffff)],
          ['f32', 6, new ByteWriter().f32(0.5).done()],
          ['bool', 7, Uint8Array.of(1)],
          ['text', 8, ggufText('héllo')],
          ['raw', 8, new ByteWriter().u64(1).u8(0xff).done()],
          ['u64', 10, new ByteWriter().u64(2n ** 64n - 1n).done()],
          ['i64', 11, new ByteWriter().u64(-5n).done()],
          ['f64', 12, new Uint8Array(Float64Array.of(0.1).buffer)],
          ['floats', 9, array(6, 2, new ByteWriter().f32(1).f32(2))],
          ['words', 9, array(8, 2, new ByteWriter().raw(ggufText('a')).raw(ggufText('')))],
          ['nested', 9, array(9, 1, new ByteWriter().u32(0).u64(2).raw([1, 2]))],
        ],
      ),
    )
    expect(checkpoint.metadata).toEqual({
      u8: 200,
      i8: -56,
      u16: 65535,
      i16: -1,
      u32: 4294967295,
      i32: -1,
      f32: 0.5,
      bool: true,
      text: 'héllo',
      raw: Uint8Array.of(0xff),
      u64: 2n ** 64n - 1n,
      i64: -5,
      f64: 0.1,
      floats: Float32Array.of(1, 2),
      words: ['a', ''],
      nested: [Uint8Array.of(1, 2)],
    })
  })

  test.each([
    [
      'an array of 2^40 bytes',
      9,
      new ByteWriter()
        .u32(0)
        .u64(2 ** 40)
        .done(),
      /array items are announced/,
    ],
    [
      'an array of 2^40 strings',
      9,
      new ByteWriter()
        .u32(8)
        .u64(2 ** 40)
        .done(),
      /array items are announced/,
    ],
    [
      'arrays in arrays in arrays',
      9,
      new ByteWriter().raw(Array.from({ length: 8 }, () => [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).flat()).done(),
      /nested/,
    ],
    ['a string longer than the file', 8, new ByteWriter().u64(2 ** 31).done(), /bytes wanted/],
    ['an unknown type', 99, new Uint8Array(8), /unknown value type 99/],
    ['a bool of 2', 7, Uint8Array.of(2), /bool of value 2/],
  ])('refuses %s', (_, type, value, message) => {
    expect(() => open(ggufFile([], [['k', type, value]]))).toThrow(refused('FORMAT_INVALID', message))
  })
})

describe('tensors', () => {
  test('dimensions are row-major and the alignment is the file’s own', () => {
    const tensors = [tensor('a', [2, 3]), tensor('b', [3])]
    using checkpoint = open(ggufFile(tensors, [['general.alignment', 4, u32(64)]], { alignment: 64 }))
    expect(checkpoint.tensors.get('a')!.read()).toEqual({ dtype: 'float32', dims: [2, 3], data: floats(6) })
    expect(checkpoint.tensors.get('a')!.float32({ from: 1, to: 2 })).toEqual(floats(6).slice(3))
    expect(checkpoint.tensors.get('b')!.float32()).toEqual(floats(3))
  })

  test('codes of some rows are those of the whole', () => {
    const data = Uint8Array.from({ length: 34 * 6 }, (_, i) => (i * 37) & 0x7f)
    using checkpoint = open(ggufFile([{ name: 'q', dims: [3, 64], type: 8, data }]))
    const q = checkpoint.tensors.get('q')!
    const all = nativeCodes(q)!
    const some = nativeCodes(q, { from: 1, to: 3 })!
    expect(some.codes).toEqual(all.codes.slice(64))
    expect(some.scales).toEqual(all.scales.slice(2))
    expect(q.float32({ from: 1, to: 3 })).toEqual(
      Float32Array.from(some.codes, (code, i) => code * some.scales[i >> 5]!),
    )
  })

  test.each([
    ['an alignment of 24', ggufFile([], [['general.alignment', 4, u32(24)]]), 'FORMAT_INVALID', /power of two/],
    ['version 1', ggufFile([], [], { version: 1 }), 'FORMAT_UNSUPPORTED', /version 1/],
    ['big-endian files', ggufFile([], [], { version: 0x03000000 }), 'FORMAT_UNSUPPORTED', /big-endian/],
    [
      'part of a split file',
      ggufFile([], [['split.count', 2, Uint8Array.of(2, 0)]]),
      'FORMAT_UNSUPPORTED',
      /split in 2/,
    ],
    ['a type without reader', ggufFile([{ ...tensor('a', [256]), type: 29 }]), 'FORMAT_UNSUPPORTED', /IQ1_M/],
    ['a row that cuts a block', ggufFile([{ ...tensor('a', [16]), type: 8 }]), 'FORMAT_INVALID', /blocks of 32/],
    ['data behind the end', ggufFile([tensor('a', [64], new Uint8Array(8))]), 'FORMAT_INVALID', /the file ends at/],
    [
      'overlapping tensors',
      ggufFile([tensor('a', [64], new Uint8Array(32)), tensor('b', [64])]),
      'FORMAT_INVALID',
      /overlaps/,
    ],
    ['one name twice', ggufFile([tensor('a', [8]), tensor('a', [8])]), 'FORMAT_INVALID', /two tensors are named/],
    [
      'one key twice',
      ggufFile(
        [],
        [
          ['k', 4, u32(1)],
          ['k', 4, u32(1)],
        ],
      ),
      'FORMAT_INVALID',
      /stands twice/,
    ],
  ])('refuses %s', (_, bytes, code, message) => {
    expect(() => open(bytes)).toThrow(refused(code, message))
  })

  test('a count of tensors beyond the file is refused before anything is read', () => {
    const bytes = ggufFile([tensor('a', [8])])
    new DataView(bytes.buffer).setUint32(8, 0x7fffffff, true)
    expect(() => open(bytes)).toThrow(refused('FORMAT_INVALID', /2147483647 tensors are announced/))
  })
})

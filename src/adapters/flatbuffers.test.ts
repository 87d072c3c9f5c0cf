/** FlatBuffers: what is written is read by this reader, offsets that lie are refused, and elements lie where the format wants them. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FlatTable, readFlatBuffer, writeFlatBuffer } from './flatbuffers.js'

const ROOT: FlatTable = [
  { int32: -7 },
  undefined,
  { string: 'héllo' },
  { int64s: [1, 2 ** 40, -3] },
  { bytes: Uint8Array.of(1, 2, 3, 4, 5) },
  { tables: [[{ string: 'a' }, { bytes: new Uint8Array(0) }], [undefined, { bytes: Uint8Array.of(9) }], []] },
]

test('every kind of field, defaults for those left out', () => {
  const file = writeFlatBuffer('TEST', ROOT)
  const root = readFlatBuffer(file, 'TEST', 'x')
  expect([root.int32(0), root.int32(1), root.int32(17)]).toEqual([-7, 0, 0])
  expect([root.string(2), root.string(1)]).toEqual(['héllo', undefined])
  expect(root.int64s(3)).toEqual([1, 2 ** 40, -3])
  expect([...root.bytes(4)]).toEqual([1, 2, 3, 4, 5])
  const [first, second, third, ...more] = root.tables(5)
  expect(more).toEqual([])
  expect([first!.string(0), first!.bytes(1).length]).toEqual(['a', 0])
  expect([second!.string(0), ...second!.bytes(1)]).toEqual([undefined, 9])
  expect([third!.string(0), third!.bytes(1).length, third!.tables(5)]).toEqual([undefined, 0, []])
})

test('bytes and int64s lie at multiples of 8, whatever is before them', () => {
  for (let length = 0; length < 20; length++) {
    const file = writeFlatBuffer('TEST', [{ string: 'x'.repeat(length) }, { bytes: Uint8Array.of(1) }, { int64s: [5] }])
    const root = readFlatBuffer(file, 'TEST', 'x')
    expect(root.bytes(1).byteOffset % 8).toBe(0)
    const place = file.findIndex((_, i) => i % 8 === 0 && new DataView(file.buffer).getBigInt64(i, true) === 5n)
    expect(place).toBeGreaterThan(0)
  }
})

describe('files that lie', () => {
  const walk = (file: Uint8Array) => {
    const root = readFlatBuffer(file, 'TEST', 'x')
    const read = [root.int32(0), root.string(2), root.int64s(3), root.bytes(4)]
    return [...read, ...root.tables(5).map((table) => [table.string(0), table.bytes(1)])]
  }
  const isTyped = (file: Uint8Array) => {
    try {
      walk(file)
      return true
    } catch (error) {
      return (error as { code?: string }).code === 'FORMAT_INVALID'
    }
  }

  test('another identifier, an empty file', () => {
    expect(() => readFlatBuffer(writeFlatBuffer('ELSE', ROOT), 'TEST', 'x')).toThrow(/expected the identifier TEST/)
    expect(() => readFlatBuffer(new Uint8Array(0), 'TEST', 'x')).toThrow(/identifier/)
  })

  test('cut anywhere: an error of its own kind, or what is left is whole', () => {
    const file = writeFlatBuffer('TEST', ROOT)
    for (let length = 0; length < file.length; length++) expect(isTyped(file.slice(0, length))).toBe(true)
    expect(() => walk(file.slice(0, 60))).toThrow(/byte/)
  })

  test('any four bytes changed', () => {
    const file = writeFlatBuffer('TEST', ROOT)
    fc.assert(
      fc.property(fc.nat(file.length - 1), fc.uint8Array({ minLength: 1, maxLength: 4 }), (at, bytes) => {
        const broken = file.slice()
        broken.set(bytes.subarray(0, file.length - at), at)
        return isTyped(broken)
      }),
      { seed: 11, numRuns: 3000 },
    )
  })
})

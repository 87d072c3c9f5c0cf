/** torch files beyond the goldens: archives, and pickles that want more than to hold tensors. */

import { describe, expect, test } from 'vitest'
import { ByteWriter, floats, torchArchive, torchFile, zipFile } from '../../test/helpers/checkpoint-files.js'
import { memorySource } from './byte-source.js'
import { openTorchZip } from './torch.js'

const open = (bytes: Uint8Array) => openTorchZip(memorySource(bytes))
const pickle = (build: (writer: ByteWriter) => ByteWriter) =>
  torchArchive(
    build(new ByteWriter().raw([0x80, 2]))
      .text('.')
      .done(),
  )
const error = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })

describe('archives', () => {
  const tensors = [
    { name: 'a', dims: [2, 3], data: floats(6) },
    { name: 'b', dims: [4], data: floats(4, 10) },
  ]

  test.each([false, true])('stored members, zip64 %s', (zip64) => {
    using checkpoint = open(torchFile(tensors, { zip64 }))
    for (const { name, dims, data } of tensors)
      expect(checkpoint.tensors.get(name)!.read()).toEqual({ dtype: 'float32', dims, data })
  })

  test('a compressed member is refused by name', () => {
    const bytes = zipFile([{ name: 'archive/data.pkl', data: new Uint8Array(4), method: 8 }])
    expect(() => open(bytes)).toThrow(error('FORMAT_UNSUPPORTED', /archive\/data\.pkl" is compressed/))
  })

  test('an encrypted member is refused', () => {
    expect(() => open(zipFile([{ name: 'a/data.pkl', data: new Uint8Array(4), flags: 1 }]))).toThrow(
      error('FORMAT_UNSUPPORTED', /encrypted/),
    )
  })

  test('a zip of something else is refused', () => {
    expect(() => open(zipFile([{ name: 'readme.txt', data: new Uint8Array(4) }]))).toThrow(
      error('FORMAT_INVALID', /data\.pkl/),
    )
  })

  test('two members of one name are refused', () => {
    const twice = { name: 'a/data.pkl', data: new Uint8Array(4) }
    expect(() => open(zipFile([twice, twice]))).toThrow(error('FORMAT_INVALID', /two zip members/))
  })

  test('a missing storage is named', () => {
    const whole = torchFile(tensors)
    const text = Buffer.from(whole).toString('latin1').replaceAll('archive/data/1', 'archive/data/7')
    expect(() => open(new Uint8Array(Buffer.from(text, 'latin1')))).toThrow(
      error('FORMAT_INVALID', /storage "1" is not in the archive/),
    )
  })

  test('a tensor that leaves its storage is refused', () => {
    expect(() => open(torchFile([{ name: 'a', dims: [2, 4], data: floats(6) }]))).toThrow(
      error('FORMAT_INVALID', /leaves its storage of 6/),
    )
  })
})

describe('pickles', () => {
  test.each([
    ['names', 'cos\nsystem\n', []],
    ['names', 'cbuiltins\neval\n', []],
    ['names', 'c__torch__\nModule\n', []],
    ['calls', 'ctorch\nFloatStorage\n)R', []],
    ['calls', 'cbuiltins\nint\n)R', []],
    ['calls', 'cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n)', [0x81]],
  ])('a pickle that %s %j is unsafe', (does, text, newObject) => {
    const bytes = pickle((p) => p.text(text).raw(newObject))
    expect(() => open(bytes)).toThrow(error('UNSAFE_PICKLE', new RegExp(`the pickle ${does} "`)))
  })

  test('STACK_GLOBAL takes the same way', () => {
    const word = (p: ByteWriter, text: string) => p.raw([0x8c, text.length]).text(text)
    expect(() => open(pickle((p) => word(word(p, 'posix'), 'system').raw([0x93])))).toThrow(
      error('UNSAFE_PICKLE', /"posix\.system"/),
    )
  })

  test('opcodes that torch never writes are refused', () => {
    for (const opcode of ['i', 'o', 'P', 'I', 'V', 'F'])
      expect(() => open(pickle((p) => p.text(opcode)))).toThrow(error('FORMAT_INVALID', /opcode/))
  })

  test('lists in lists that grow beyond the file are refused', () => {
    // Each level holds the level below ten times: 10^20 leaves in 300 bytes.
    const bomb = pickle((p) => {
      p.text(']q').u8(0)
      for (let level = 0; level < 20; level++) {
        p.text('](')
        for (let i = 0; i < 10; i++) p.text('h').u8(level)
        p.text('eq').u8(level + 1)
      }
      return p
    })
    expect(() => open(bomb)).toThrow(error('FORMAT_INVALID', /repeats lists/))
  })

  test('a list that holds itself is refused', () => {
    expect(() => open(pickle((p) => p.text(']q').u8(0).text('h').u8(0).text('a').text('N0'.repeat(50))))).toThrow(
      error('FORMAT_UNSUPPORTED', /nested more than 64/),
    )
  })

  test('an integer of a megabyte is refused before it is read', () => {
    expect(() => open(pickle((p) => p.raw([0x8b]).u32(1 << 20)))).toThrow(
      error('FORMAT_INVALID', /integer of 1048576 bytes/),
    )
  })

  test('two values of one path are refused', () => {
    const bytes = pickle((p) =>
      p.text('}(X').u32(3).text('a/b').text('NX').u32(1).text('a').text('}X').u32(1).text('b').text('Nsu'),
    )
    expect(() => open(bytes)).toThrow(error('FORMAT_INVALID', /two values have the path "a\/b"/))
  })

  test('numpy scalars, sets and ordered dicts are plain data', () => {
    const bytes = pickle((p) =>
      p
        .text('}(X')
        .u32(1)
        .text('n')
        .text('cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n(X')
        .u32(2)
        .text('f8')
        .text('K')
        .raw([0, 0x4b, 1])
        .text('tR')
        .text('c_codecs\nencode\n(X')
        .u32(9)
        .text('\0\0\0\0\0\0ø?')
        .text('X')
        .u32(6)
        .text('latin1')
        .text('tR')
        .raw([0x86])
        .text('R')
        .text('X')
        .u32(1)
        .text('s')
        .raw([0x8f])
        .text('(K')
        .u8(7)
        .raw([0x90])
        .text('u'),
    )
    using checkpoint = open(bytes)
    expect(checkpoint.metadata).toEqual({ n: 1.5, s: [7] })
  })
})

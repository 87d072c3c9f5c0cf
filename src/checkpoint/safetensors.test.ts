/** safetensors: the writer's bytes, and what the strict reader refuses. */

import { describe, expect, test } from 'vitest'
import { goldenBytes, openMemory } from '../../test/helpers/checkpoint-files.js'
import { hostTensor } from '../core/tensor.js'
import { memorySource } from './byte-source.js'
import { openSafetensors } from './safetensors.js'
import { writeSafetensors } from './safetensors-write.js'

function file(header: string, data = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(header)
  const out = new Uint8Array(8 + text.length + data.length)
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true)
  out.set(text, 8)
  out.set(data, 8 + text.length)
  return out
}

const entry = (dtype: string, shape: readonly number[], begin: number, end: number) =>
  `{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]}`

describe('writer', () => {
  const tensors = {
    '10': hostTensor('int8', [3], Int8Array.of(1, -2, 3)),
    '2': hostTensor('float32', [2, 1], Float32Array.of(0.5, -0)),
    half: hostTensor('float16', [], Uint16Array.of(0x3c00)),
    empty: hostTensor('int64', [0, 4]),
  }

  test('what is written is read, bit for bit, with names that look like numbers in place', () => {
    using checkpoint = openMemory(writeSafetensors(tensors, { b: '2', a: '1' }))
    expect(checkpoint.metadata).toEqual({ a: '1', b: '2' })
    for (const [name, tensor] of Object.entries(tensors)) expect(checkpoint.tensors.get(name)!.read()).toEqual(tensor)
  })

  test('the order of the input does not change the bytes', () => {
    const reversed = new Map(Object.entries(tensors).reverse())
    expect(writeSafetensors(reversed, { a: '1', b: '2' })).toEqual(writeSafetensors(tensors, { b: '2', a: '1' }))
  })

  test('tensors are aligned to their element size', () => {
    const bytes = writeSafetensors(tensors)
    const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true))
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)))
    expect((8 + headerBytes) % 8).toBe(0)
    expect(
      Object.fromEntries(Object.entries<{ data_offsets: number[] }>(header).map(([name, e]) => [name, e.data_offsets])),
    ).toEqual({
      empty: [0, 0],
      '2': [0, 8],
      half: [8, 10],
      '10': [10, 13],
    })
  })

  test('the golden file written again has the same tensors', () => {
    using golden = openMemory(goldenBytes('loader-safetensors/model.safetensors'))
    const copy = writeSafetensors(new Map([...golden.tensors].map(([name, tensor]) => [name, tensor.read()])))
    using again = openMemory(copy)
    for (const [name, tensor] of golden.tensors) expect(again.tensors.get(name)!.bytes(), name).toEqual(tensor.bytes())
  })
})

describe('reader', () => {
  const four = new Uint8Array(4)
  test.each([
    ['a hole', file(`{"a":${entry('U8', [1], 0, 1)},"b":${entry('U8', [2], 2, 4)}}`, four), /hole/],
    ['an overlap', file(`{"a":${entry('U8', [3], 0, 3)},"b":${entry('U8', [2], 2, 4)}}`, four), /overlap/],
    ['bytes behind the last tensor', file(`{"a":${entry('U8', [3], 0, 3)}}`, four), /data has 4/],
    ['an end before the begin', file(`{"a":${entry('U8', [1], 4, 0)}}`, four), /takes -4 bytes/],
    ['a size that does not fit', file(`{"a":${entry('F32', [2], 0, 4)}}`, four), /need 8/],
    ['a shape beyond all numbers', file(`{"a":${entry('F32', [2 ** 40, 2 ** 40], 0, 4)}}`, four), /takes 4 bytes/],
    ['a negative dimension', file(`{"a":${entry('U8', [-4, -1], 0, 4)}}`, four), /no valid shape/],
    ['a fractional offset', file(`{"a":${entry('U8', [4], 0.5, 4.5)}}`, four), /data_offsets/],
    ['an unknown dtype', file(`{"a":${entry('F31', [1], 0, 4)}}`, four), /unknown dtype/],
    ['a dtype that is a property of objects', file(`{"a":${entry('toString', [1], 0, 4)}}`, four), /unknown dtype/],
    [
      'an unknown field',
      file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"strides":[1]}}'),
      /unknown fields strides/,
    ],
    [
      'a key twice',
      file(`{"a":${entry('U8', [0], 0, 0)},"\\u0061":${entry('U8', [4], 0, 4)}}`, four),
      /"a" stands twice/,
    ],
    ['metadata that are not strings', file('{"__metadata__":{"a":1}}'), /__metadata__/],
    ['no object', file('[]'), /not an object/],
    ['no JSON', file('{"a":'), /not JSON/],
    ['text that is not UTF-8', Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0xff), /UTF-8/],
    ['a file of seven bytes', new Uint8Array(7), /truncated/],
    ['a header of 2^63 bytes', Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b), /more than any file holds/],
    ['a header over the limit', Uint8Array.of(0, 0, 0, 0x10, 0, 0, 0, 0, 0x7b), /at most 100000000/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => openSafetensors(memorySource(bytes))).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID', message: expect.stringMatching(message) }),
    )
  })

  test('a long name full of escapes does not exhaust the stack', () => {
    const name = '\\\\'.repeat(3_000_000)
    using checkpoint = openMemory(file(`{"${name}":${entry('U8', [0], 0, 0)}, "${name}x" : ${entry('U8', [0], 0, 0)}}`))
    expect(checkpoint.tensors.size).toBe(2)
  })

  test('names the dtype that it has no use for', () => {
    expect(() => openMemory(file(`{"a":${entry('F4', [8], 0, 4)}}`, four))).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    )
  })

  test('wide and narrow types become the nearest dtype that holds them', () => {
    const data = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x38, 0x7e, 0xc0, 0x01)
    using checkpoint = openMemory(file(`{"u":${entry('U32', [1], 0, 4)},"f":${entry('F8_E4M3', [4], 4, 8)}}`, data))
    expect(checkpoint.tensors.get('u')!.read()).toMatchObject({ dtype: 'int64', data: BigInt64Array.of(4294967295n) })
    expect(checkpoint.tensors.get('f')!.read().dtype).toBe('float16')
    expect([...checkpoint.tensors.get('f')!.float32()]).toEqual([1, 448, -2, 2 ** -9])
  })

  test('a bool that is neither 0 nor 1 is refused when it is read', () => {
    using checkpoint = openMemory(file(`{"b":${entry('BOOL', [2], 0, 2)}}`, Uint8Array.of(1, 2)))
    expect(() => checkpoint.tensors.get('b')!.read()).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })

  test('rows outside of the tensor are refused', () => {
    using checkpoint = openMemory(file(`{"a":${entry('U8', [2, 2], 0, 4)}}`, Uint8Array.of(1, 2, 3, 4)))
    const tensor = checkpoint.tensors.get('a')!
    expect(tensor.float32({ from: 1, to: 2 })).toEqual(Float32Array.of(3, 4))
    expect(() => tensor.float32({ from: 1, to: 3 })).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }))
  })
})

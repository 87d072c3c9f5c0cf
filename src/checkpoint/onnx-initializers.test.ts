/** Initialisers of ONNX models: the ways in which a TensorProto may hold its data. */

import { BinaryWriter } from '@bufbuild/protobuf/wire'
import { describe, expect, test } from 'vitest'
import { floatBytes, floats, onnxFile, onnxTensor } from '../../test/helpers/checkpoint-files.js'
import { memorySource } from './byte-source.js'
import { openOnnx } from './onnx-initializers.js'

const open = (tensors: readonly Uint8Array[], external?: Readonly<Record<string, Uint8Array>>) =>
  openOnnx(memorySource(onnxFile(tensors)), external && ((path) => memorySource(external[path]!, path)))

const raw = (bytes: Uint8Array) => (writer: BinaryWriter) => void writer.tag(9, 2).bytes(bytes)
const packed = (field: number, values: readonly number[]) => (writer: BinaryWriter) => {
  const inner = new BinaryWriter()
  for (const value of values) inner.int64(value)
  writer.tag(field, 2).bytes(inner.finish())
}
const external = (pairs: Readonly<Record<string, string>>) => (writer: BinaryWriter) => {
  for (const [key, value] of Object.entries(pairs))
    writer.tag(13, 2).bytes(new BinaryWriter().tag(1, 2).string(key).tag(2, 2).string(value).finish())
  writer.tag(14, 0).int32(1)
}

describe('data', () => {
  test('raw, packed floats, packed integers, halves in int32_data, and none', () => {
    using checkpoint = open([
      onnxTensor('raw', [2, 3], 1, raw(floatBytes(floats(6)))),
      onnxTensor('floats', [3], 1, (writer) => void writer.tag(4, 2).bytes(floatBytes(floats(3)))),
      onnxTensor('ints', [3], 7, packed(7, [1, -2, 2 ** 40])),
      onnxTensor('halves', [2], 10, packed(5, [0x3c00, 0xc000])),
      onnxTensor('small', [2, 2], 3, packed(5, [-1, 2, 3, -4])),
      onnxTensor('scalar', [], 6, packed(5, [7])),
      onnxTensor('empty', [0, 4], 1, () => {}),
    ])
    const read = (name: string) => checkpoint.tensors.get(name)!.read()
    expect(read('raw')).toEqual({ dtype: 'float32', dims: [2, 3], data: floats(6) })
    expect(checkpoint.tensors.get('raw')!.float32({ from: 1, to: 2 })).toEqual(floats(6).slice(3))
    expect(read('floats').data).toEqual(floats(3))
    expect(read('ints').data).toEqual(BigInt64Array.of(1n, -2n, 2n ** 40n))
    expect(checkpoint.tensors.get('halves')!.float32()).toEqual(Float32Array.of(1, -2))
    expect(checkpoint.tensors.get('small')!.float32({ from: 1, to: 2 })).toEqual(Float32Array.of(3, -4))
    expect(read('scalar')).toEqual({ dtype: 'int32', dims: [], data: Int32Array.of(7) })
    expect(read('empty').data.length).toBe(0)
    expect(checkpoint.metadata).toEqual({ irVersion: 10, producerName: 'test', author: 'me' })
  })

  test('external data beside the model', () => {
    const bytes = new Uint8Array(64)
    bytes.set(floatBytes(floats(2)), 16)
    using checkpoint = open(
      [onnxTensor('w', [2], 1, external({ location: 'model.data', offset: '16', length: '8' }))],
      { 'model.data': bytes },
    )
    expect(checkpoint.tensors.get('w')!.float32()).toEqual(floats(2))
  })
})

test.each([
  '../secret',
  '/etc/passwd',
  'a/../../b',
  'C:\\x',
  '..\\x',
  '',
])('external data in %j is refused', (location) => {
  const tensor = onnxTensor('w', [1], 1, external({ location }))
  expect(() => open([tensor], { [location]: new Uint8Array(4) })).toThrow(
    expect.objectContaining({
      code: 'FORMAT_INVALID',
      message: expect.stringMatching(/outside of the model's folder/),
    }),
  )
})

test.each([
  ['too few bytes', onnxTensor('w', [3], 1, raw(new Uint8Array(8))), 'FORMAT_INVALID'],
  ['no data', onnxTensor('w', [3], 1, () => {}), 'FORMAT_INVALID'],
  ['strings', onnxTensor('w', [1], 8, () => {}), 'FORMAT_UNSUPPORTED'],
  ['a negative dimension', onnxTensor('w', [-1], 1, raw(new Uint8Array(4))), 'FORMAT_INVALID'],
  ['more values than bytes', onnxTensor('w', [1 << 30], 7, packed(7, [1])), 'FORMAT_INVALID'],
  ['external data without a folder', onnxTensor('w', [1], 1, external({ location: 'x' })), 'FORMAT_UNSUPPORTED'],
])('%s', (_, tensor, code) => {
  expect(() => open([tensor])).toThrow(expect.objectContaining({ code }))
})

test('a count of values that does not fit the shape is found when the tensor is read', () => {
  using checkpoint = open([onnxTensor('w', [2], 7, packed(7, [1, 2, 3]))])
  expect(() => checkpoint.tensors.get('w')!.read()).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
})

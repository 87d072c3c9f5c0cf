/** From paths to checkpoints: content decides, folders join, and nothing stays open. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  floatBytes,
  floats,
  ggmlWhisperFile,
  ggufFile,
  onnxFile,
  onnxTensor,
  type TorchTensor,
  tensorNames,
  torchFile,
} from '../../test/helpers/checkpoint-files.js'
import { liveHandles } from '../core/disposal.js'
import { hostTensor } from '../core/tensor.js'
import { openCheckpoint, writeSafetensors } from './index.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4fm-checkpoint-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

function put(files: Readonly<Record<string, Uint8Array | string>>): string {
  for (const [name, data] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), data)
  }
  return folder
}

const oneTensor = (name = 'w') => writeSafetensors({ [name]: hostTensor('float32', [3], floats(3)) })
const weight = { name: 'w', dims: [3], data: floats(3) }
const plain = { ...weight, type: 0, data: floatBytes(floats(3)) }

describe('one file', () => {
  test.each([
    ['safetensors', oneTensor()],
    ['torch', torchFile([weight])],
    ['gguf', ggufFile([plain])],
    ['ggml-whisper', ggmlWhisperFile([plain])],
    ['onnx', onnxFile([onnxTensor('w', [3], 1, (writer) => void writer.tag(9, 2).bytes(plain.data))])],
  ])('%s is known by its content, whatever its name', (format, bytes) => {
    put({ 'weights.xyz': bytes, 'readme.md': '# no checkpoint' })
    for (const path of [join(folder, 'weights.xyz'), folder]) {
      using checkpoint = openCheckpoint(path)
      expect(checkpoint.format).toBe(format)
      expect(checkpoint.tensors.get('w')!.float32()).toEqual(floats(3))
    }
  })

  test('external data of an ONNX file is found beside it', () => {
    const pair = (key: string, value: string) =>
      new TextEncoder().encode(
        `\n${String.fromCharCode(key.length)}${key}\x12${String.fromCharCode(value.length)}${value}`,
      )
    const model = onnxFile([
      onnxTensor('w', [3], 1, (writer) => void writer.tag(13, 2).bytes(pair('location', 'w.bin'))),
    ])
    using checkpoint = openCheckpoint(join(put({ 'm.onnx': model, 'w.bin': plain.data }), 'm.onnx'))
    expect(checkpoint.tensors.get('w')!.float32()).toEqual(floats(3))
  })

  test('a tensor cannot be read after dispose', () => {
    const checkpoint = openCheckpoint(put({ a: oneTensor() }))
    const tensor = checkpoint.tensors.get('w')!
    checkpoint.dispose()
    expect(() => tensor.bytes()).toThrow(expect.objectContaining({ code: 'DISPOSED' }))
  })

  test.each([
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\n', 'FORMAT_INVALID'],
    ['an empty file', '', 'FORMAT_INVALID'],
    ['a tokenizer', '{"model":{}}', 'FORMAT_INVALID'],
  ])('%s is no checkpoint', (_, text, code) => {
    put({ 'model.safetensors': text })
    expect(() => openCheckpoint(join(folder, 'model.safetensors'))).toThrow(expect.objectContaining({ code }))
  })

  test('what does not exist is said so', () => {
    expect(() => openCheckpoint(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }))
    expect(() => openCheckpoint(folder)).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }))
  })
})

describe('folders', () => {
  test('the same model in torch and safetensors: safetensors', () => {
    using checkpoint = openCheckpoint(
      put({ 'model.safetensors': oneTensor(), 'pytorch_model.bin': torchFile([weight]) }),
    )
    expect(checkpoint.format).toBe('safetensors')
  })

  test('several models are not guessed between', () => {
    put({ 'a.gguf': ggufFile([plain]), 'b.gguf': ggufFile([plain]) })
    expect(() => openCheckpoint(folder)).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(/a\.gguf, b\.gguf/) }),
    )
  })

  const index = (map: Readonly<Record<string, string>>) =>
    JSON.stringify({ metadata: { total_size: 24 }, weight_map: map })

  test.each(['model.safetensors.index.json', 'pytorch_model.bin.index.json'])('shards by %s', (name) => {
    put({ a: oneTensor('x'), b: torchFile([{ ...weight, name: 'y' }]), [name]: index({ x: 'a', y: 'b' }) })
    using checkpoint = openCheckpoint(folder)
    expect(tensorNames(checkpoint)).toEqual(['x', 'y'])
    expect(checkpoint.metadata).toEqual({ total_size: 24 })
  })

  test.each([
    ['a tensor that its shard lacks', { x: 'a', z: 'b' }, /"z" is not in b/],
    ['a tensor in the wrong shard', { x: 'b', y: 'b' }, /"x" is not in b/],
    ['a tensor that the index lacks', { y: 'b', x: 'a', q: 'c' }, /"extra" of c is not in the index/],
    ['a shard in another folder', { x: '../a', y: 'b' }, /not a file of the same folder/],
    ['nothing', {}, /no weight_map/],
  ])('refuses an index with %s', (_, map, message) => {
    const two = writeSafetensors({ q: hostTensor('float32', [1]), extra: hostTensor('float32', [1]) })
    put({
      a: oneTensor('x'),
      b: oneTensor('y'),
      c: two,
      'm.safetensors.index.json': index(map as Record<string, string>),
    })
    expect(() => openCheckpoint(folder)).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID', message: expect.stringMatching(message) }),
    )
  })
})

describe("Meta's folders", () => {
  const matrix = (name: string, dims: readonly number[], start: number): TorchTensor => ({
    name,
    dims,
    data: floats(
      dims.reduce((a, b) => a * b, 1),
      start,
    ),
  })
  /** Rank `rank` of two: the columns or rows of whole matrices whose element (r, c) is 100 r + c. */
  const rank = (index: number, embedding: readonly [rows: number, columns: number]) => {
    const window = (name: string, rows: readonly [number, number], columns: readonly [number, number]): TorchTensor => {
      const data: number[] = []
      for (let r = rows[0]; r < rows[1]; r++) for (let c = columns[0]; c < columns[1]; c++) data.push(100 * r + c)
      return { name, dims: [rows[1] - rows[0], columns[1] - columns[0]], data: Float32Array.from(data) }
    }
    const [rows, columns] = embedding
    const isWide = columns === 4
    return torchFile([
      window(
        'tok_embeddings.weight',
        isWide ? [index * rows, (index + 1) * rows] : [0, rows],
        isWide ? [0, 4] : [index * 2, index * 2 + 2],
      ),
      window('layers.0.attention.wq.weight', [index * 2, index * 2 + 2], [0, 4]),
      window('layers.0.attention.wo.weight', [0, 4], [index * 2, index * 2 + 2]),
      matrix('norm.weight', [4], 1),
    ])
  }
  const whole = (rows: number, columns: number) =>
    Float32Array.from({ length: rows * columns }, (_, i) => 100 * Math.floor(i / columns) + (i % columns))
  const params = JSON.stringify({ dim: 4, n_layers: 1 })

  test.each([
    ['LLaMA 1 and 2: embedding split by width', [6, 2]],
    ['LLaMA 3: embedding split by vocabulary', [3, 4]],
  ] as const)('%s', (_, embedding) => {
    put({ 'consolidated.00.pth': rank(0, embedding), 'consolidated.01.pth': rank(1, embedding), 'params.json': params })
    using checkpoint = openCheckpoint(folder)
    const values = (name: string) => checkpoint.tensors.get(name)!.float32()
    expect(checkpoint.tensors.get('tok_embeddings.weight')!.dims).toEqual([6, 4])
    expect(values('tok_embeddings.weight')).toEqual(whole(6, 4))
    expect(values('layers.0.attention.wq.weight')).toEqual(whole(4, 4))
    expect(values('layers.0.attention.wo.weight')).toEqual(whole(4, 4))
    expect(values('norm.weight')).toEqual(floats(4, 1))
    for (const name of ['layers.0.attention.wq.weight', 'layers.0.attention.wo.weight'])
      expect(checkpoint.tensors.get(name)!.float32({ from: 1, to: 3 })).toEqual(whole(4, 4).slice(4, 12))
    expect(checkpoint.metadata).toEqual({ dim: 4, n_layers: 1 })
  })

  test('a missing rank, a stray tensor and a wrong width are refused', () => {
    put({ 'consolidated.00.pth': rank(0, [6, 2]), 'consolidated.02.pth': rank(1, [6, 2]), 'params.json': params })
    expect(() => openCheckpoint(folder)).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }))
    rmSync(join(folder, 'consolidated.02.pth'))
    put({ 'consolidated.01.pth': torchFile([weight]) })
    expect(() => openCheckpoint(folder)).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID', message: expect.stringMatching(/not in every shard/) }),
    )
    put({ 'consolidated.01.pth': rank(1, [6, 2]), 'params.json': JSON.stringify({ dim: 5 }) })
    expect(() => openCheckpoint(folder)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
  })
})

/** Small valid checkpoints of every format, written byte by byte after the format's own document, and the goldens' comparison. */

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { BinaryWriter } from '@bufbuild/protobuf/wire'
import { memorySource } from '../../src/checkpoint/byte-source.js'
import { openSafetensors } from '../../src/checkpoint/safetensors.js'
import type { Checkpoint, CheckpointTensor } from '../../src/checkpoint/types.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** A golden case's file: from the repository, else from the shared folder; undefined where neither has it. */
export function goldenPath(name: string): string | undefined {
  return [`${ROOT}test/goldens/${name}`, `${ROOT}../shared/goldens/${name}`].find((path) => existsSync(path))
}

export const goldenBytes = (name: string) => new Uint8Array(readFileSync(goldenPath(name)!))
export const goldenJson = (name: string) => JSON.parse(readFileSync(goldenPath(name)!, 'utf8'))
export const openMemory = (bytes: Uint8Array) => openSafetensors(memorySource(bytes))

interface Expected {
  readonly name: string
  readonly tensor: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly atol: number
  readonly rtol: number
}

/** Outputs of a case that `got` does not meet, as messages. Exact cases are compared by their bytes. */
export function goldenDifferences(caseName: string, got: (name: string) => CheckpointTensor | undefined): string[] {
  const io = openMemory(goldenBytes(`${caseName}/io.safetensors`))
  const outputs: Expected[] = goldenJson(`${caseName}/case.json`).outputs
  return outputs.flatMap(({ name, tensor, dtype, shape, atol, rtol }) => {
    const expected = io.tensors.get(tensor)
    const actual = got(name)
    if (!expected || !actual) return [`${name}: ${expected ? 'not read' : 'not in io.safetensors'}`]
    if (`${actual.dims}` !== `${shape}`) return [`${name}: dims ${actual.dims}, expected ${shape}`]
    if (actual.storage !== dtype) return [`${name}: ${actual.storage}, expected ${dtype}`]
    if (atol === 0 && rtol === 0)
      return Buffer.compare(actual.bytes(), expected.bytes()) === 0 ? [] : [`${name}: bytes differ`]
    return farthest(name, actual.float32(), expected.float32(), atol, rtol)
  })
}

/** The first element that is out of tolerance, as a message. */
export function farthest(
  name: string,
  got: Float32Array,
  expected: Float32Array,
  atol: number,
  rtol: number,
): string[] {
  if (got.length !== expected.length) return [`${name}: ${got.length} elements, expected ${expected.length}`]
  for (let i = 0; i < got.length; i++) {
    const fine = Math.abs(got[i]! - expected[i]!) <= atol + rtol * Math.abs(expected[i]!)
    if (!fine) return [`${name}[${i}]: ${got[i]}, expected ${expected[i]}`]
  }
  return []
}

/** Little-endian bytes in order. */
export class ByteWriter {
  readonly #bytes: number[] = []

  get length(): number {
    return this.#bytes.length
  }

  raw(bytes: ArrayLike<number>): this {
    for (let i = 0; i < bytes.length; i++) this.#bytes.push(bytes[i]!)
    return this
  }

  text(text: string): this {
    return this.raw(new TextEncoder().encode(text))
  }

  u8(value: number): this {
    return this.raw([value & 255])
  }

  u16(value: number): this {
    return this.u8(value).u8(value >> 8)
  }

  u32(value: number): this {
    return this.u16(value).u16(value >>> 16)
  }

  u64(value: number | bigint): this {
    const wide = BigInt.asUintN(64, BigInt(value))
    return this.u32(Number(wide & 0xffffffffn)).u32(Number(wide >> 32n))
  }

  f32(value: number): this {
    return this.raw(new Uint8Array(Float32Array.of(value).buffer))
  }

  pad(alignment: number): this {
    while (this.length % alignment) this.u8(0)
    return this
  }

  done(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }
}

export const floats = (count: number, start = 0) => Float32Array.from({ length: count }, (_, i) => start + i / 4)
export const floatBytes = (data: Float32Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

export interface GgufTensor {
  readonly name: string
  /** Row-major. */
  readonly dims: readonly number[]
  readonly type: number
  readonly data: Uint8Array
}

/** `pairs` are written as given: key, type number, and the value's bytes. */
export function ggufFile(
  tensors: readonly GgufTensor[],
  pairs: readonly (readonly [key: string, type: number, value: Uint8Array])[] = [],
  { version = 3, alignment = 32 } = {},
): Uint8Array {
  const out = new ByteWriter().text('GGUF').u32(version).u64(tensors.length).u64(pairs.length)
  for (const [key, type, value] of pairs) out.u64(new TextEncoder().encode(key).length).text(key).u32(type).raw(value)
  let offset = 0
  for (const { name, dims, type, data } of tensors) {
    out.u64(name.length).text(name).u32(dims.length)
    for (const dim of [...dims].reverse()) out.u64(dim)
    out.u32(type).u64(offset)
    offset = Math.ceil((offset + data.length) / alignment) * alignment
  }
  for (const { data } of tensors) out.pad(alignment).raw(data)
  return out.done()
}

/** A GGUF string value. */
export const ggufText = (text: string) => new ByteWriter().u64(new TextEncoder().encode(text).length).text(text).done()

export interface ZipFile {
  readonly name: string
  readonly data: Uint8Array
  readonly method?: number
  readonly flags?: number
}

/** A zip archive of stored members; with `zip64` every size and offset stands in a ZIP64 record. Checksums are 0. */
export function zipFile(files: readonly ZipFile[], { zip64 = false } = {}): Uint8Array {
  const out = new ByteWriter()
  const directory = new ByteWriter()
  for (const { name, data, method = 0, flags = 0 } of files) {
    const local = out.length
    out.u32(0x04034b50).u16(20).u16(flags).u16(method).u32(0).u32(0).u32(data.length).u32(data.length)
    out.u16(name.length).u16(0).text(name).raw(data)
    const size = zip64 ? 0xffffffff : data.length
    directory.u32(0x02014b50).u16(20).u16(20).u16(flags).u16(method).u32(0).u32(0).u32(size).u32(size)
    directory
      .u16(name.length)
      .u16(zip64 ? 28 : 0)
      .u16(0)
      .u16(0)
      .u16(0)
      .u32(0)
      .u32(zip64 ? 0xffffffff : local)
      .text(name)
    if (zip64) directory.u16(1).u16(24).u64(data.length).u64(data.length).u64(local)
  }
  const offset = out.length
  const records = directory.done()
  out.raw(records)
  if (zip64) {
    const end64 = out.length
    out
      .u32(0x06064b50)
      .u64(44)
      .u16(45)
      .u16(45)
      .u32(0)
      .u32(0)
      .u64(files.length)
      .u64(files.length)
      .u64(records.length)
      .u64(offset)
    out.u32(0x07064b50).u32(0).u64(end64).u32(1)
  }
  const count = zip64 ? 0xffff : files.length
  out.u32(0x06054b50).u16(0).u16(0).u16(count).u16(count)
  return out
    .u32(zip64 ? 0xffffffff : records.length)
    .u32(zip64 ? 0xffffffff : offset)
    .u16(0)
    .done()
}

export interface TorchTensor {
  readonly name: string
  readonly dims: readonly number[]
  readonly data: Float32Array
}

/** A flat float32 state dict as torch.save writes it. */
export function torchFile(tensors: readonly TorchTensor[], options: { readonly zip64?: boolean } = {}): Uint8Array {
  const pickle = new ByteWriter().raw([0x80, 2]).text('}(')
  const word = (text: string) => pickle.text('X').u32(text.length).text(text)
  const tuple = (items: readonly number[]) => {
    pickle.text('(')
    for (const item of items) pickle.text('J').u32(item)
    pickle.text('t')
  }
  for (const [key, { name, dims, data }] of tensors.entries()) {
    word(name)
    pickle.text('ctorch._utils\n_rebuild_tensor_v2\n((')
    word('storage')
    pickle.text('ctorch\nFloatStorage\n')
    word(String(key))
    word('cpu')
    pickle.text('J').u32(data.length).text('tQK').u8(0)
    tuple(dims)
    tuple(dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1)))
    pickle.u8(0x89).text('ccollections\nOrderedDict\n)RtR')
  }
  pickle.text('u.')
  return torchArchive(
    pickle.done(),
    tensors.map(({ data }) => floatBytes(data)),
    options,
  )
}

/** A torch archive around any pickle. */
export function torchArchive(
  pickle: Uint8Array,
  storages: readonly Uint8Array[] = [],
  options: { readonly zip64?: boolean } = {},
): Uint8Array {
  return zipFile(
    [
      { name: 'archive/data.pkl', data: pickle },
      ...storages.map((data, key) => ({ name: `archive/data/${key}`, data })),
      { name: 'archive/version', data: new TextEncoder().encode('3\n') },
    ],
    options,
  )
}

/** A Whisper `.bin` with two mel bands of three bins, two tokens and the given tensors. */
export function ggmlWhisperFile(tensors: readonly GgufTensor[], { ftype = 1 } = {}): Uint8Array {
  const out = new ByteWriter().u32(0x67676d6c)
  for (const value of [4, 6, 8, 2, 1, 5, 8, 2, 1, 2, ftype]) out.u32(value)
  out.u32(2).u32(3)
  for (let i = 0; i < 6; i++) out.f32(i / 8)
  out.u32(2).u32(1).text('a').u32(2).raw([0xff, 0x20])
  for (const { name, dims, type, data } of tensors) {
    out.u32(dims.length).u32(name.length).u32(type)
    for (const dim of [...dims].reverse()) out.u32(dim)
    out.text(name).raw(data)
  }
  return out.done()
}

/** A ModelProto with these TensorProtos as initialisers. */
export function onnxFile(tensors: readonly Uint8Array[]): Uint8Array {
  const graph = new BinaryWriter().tag(2, 2).string('g')
  for (const tensor of tensors) graph.tag(5, 2).bytes(tensor)
  const property = new BinaryWriter().tag(1, 2).string('author').tag(2, 2).string('me').finish()
  return new BinaryWriter()
    .tag(1, 0)
    .int64(10)
    .tag(2, 2)
    .string('test')
    .tag(7, 2)
    .bytes(graph.finish())
    .tag(14, 2)
    .bytes(property)
    .finish()
}

/** A TensorProto: name, dims, type, then whatever `data` writes. */
export function onnxTensor(
  name: string,
  dims: readonly number[],
  type: number,
  data: (writer: BinaryWriter) => void,
): Uint8Array {
  const writer = new BinaryWriter()
  for (const dim of dims) writer.tag(1, 0).int64(dim)
  writer.tag(2, 0).int32(type)
  data(writer)
  return writer.tag(8, 2).string(name).finish()
}

export const tensorNames = (checkpoint: Checkpoint) => [...checkpoint.tensors.keys()]

/** `.onnx_adapter`: round trip, refusals, and ONNX Runtime itself as the reader that shares no line with the writer. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeModel } from '../../test/helpers/onnx-writer.js'
import type { Pointer } from '../engine/ffi/api.js'
import { keepForEver } from '../engine/ffi/keep.js'
import { findLibrary, loadLibrary, type OrtLibrary } from '../engine/ffi/library.js'
import { check, create, createRuntime, type Runtime } from '../engine/ffi/runtime.js'
import { readFlatBuffer, writeFlatBuffer } from './flatbuffers.js'
import { modelVersion, readOnnxAdapter, writeOnnxAdapter } from './onnx-adapter.js'
import { baseOf, random, trainedLora } from './testing/fixtures.js'
import { packTrained } from './trained.js'
import type { AdapterTensors } from './types.js'

const abi = baseOf(12, 16)
const adapter = packTrained(abi, 'news', trainedLora(abi))
const code = (name: string) => expect.objectContaining({ code: name })

describe('round trip', () => {
  test.each(['all', 'trained'] as const)('%s', (places) => {
    const file = writeOnnxAdapter(abi, adapter, { places })
    const read = readOnnxAdapter(file, abi, 'news')
    expect(read.findings).toEqual([])
    expect(read.adapter).toEqual(adapter)
    expect(read.total).toBe(places === 'all' ? 3 * 4 * 2 : 3 * 2)
    expect(read.matched).toBe(read.total)
  })

  test('places of one site get one rank; the product stays', () => {
    const lora = new Map(adapter.lora)
    const small = packTrained(abi, 'x', trainedLora(abi, 1)).lora.get('layers.1/attn/qkv')!
    lora.set('layers.1/attn/qkv', small)
    const read = readOnnxAdapter(writeOnnxAdapter(abi, { name: 'news', lora }), abi, 'news')
    const wide = read.adapter.lora.get('layers.1/attn/qkv')!
    expect([small.rank, wide.rank]).toEqual([2, 8])
    for (let row = 0; row < abi.width; row++)
      expect([...wide.a.subarray(row * 8, row * 8 + 8)]).toEqual([
        ...small.a.subarray(row * 2, row * 2 + 2),
        0,
        0,
        0,
        0,
        0,
        0,
      ])
    expect(wide.b.subarray(0, small.b.length)).toEqual(small.b)
    expect(wide.b.subarray(small.b.length).every((value) => value === 0)).toBe(true)
  })

  test('float16', () => {
    const file = writeOnnxAdapter(abi, adapter, { dtype: 'float16' })
    expect(file.length).toBeLessThan(0.6 * writeOnnxAdapter(abi, adapter).length)
    const { a } = readOnnxAdapter(file, abi, 'news').adapter.lora.get('layers.0/attn/qkv')!
    const full = adapter.lora.get('layers.0/attn/qkv')!.a
    expect(Math.max(...a.map((value, i) => Math.abs(value - full[i]!)))).toBeLessThan(2 ** -11)
  })
})

describe('refusals', () => {
  const parameter = (name: string, dims: number[], bytes: Uint8Array, type = 1) =>
    [{ string: name }, { int64s: dims }, { int32: type }, { bytes }] as const
  const file = (parameters: ReturnType<typeof parameter>[], version = 1, base = modelVersion(abi)) =>
    writeFlatBuffer('TORT', [{ int32: version }, { int32: 1 }, { int32: base }, { tables: parameters }])
  const bytes = (count: number) => new Uint8Array(random(1, count).buffer)
  const codes = (parameters: ReturnType<typeof parameter>[], base?: number) =>
    readOnnxAdapter(file(parameters, 1, base), abi, 'x').findings.map((found) => found.code)
  const name = 'lora/layers.0/attn/qkv'
  const out = 8 * 16
  const good = [parameter(`${name}/A`, [1, 24, 2], bytes(48)), parameter(`${name}/B`, [1, 2, out], bytes(2 * out))]

  test('what does not fit is told', () => {
    expect(codes(good)).toEqual([])
    expect(codes(good, 5)).toEqual(['other-base'])
    expect(codes([...good, parameter('bias', [1], bytes(1))])).toEqual(['unknown-tensor'])
    expect(codes([good[0]!])).toEqual(['incomplete-pair', 'no-effect'])
    expect(codes([good[0]!, parameter(`${name}/B`, [1, 3, out], bytes(3 * out))])).toEqual(['wrong-shape', 'no-effect'])
    const layer9 = good.map(([{ string }, , , { bytes: data }], i) =>
      parameter(string.replace('layers.0', 'layers.9'), i ? [1, 2, out] : [1, 24, 2], data),
    )
    expect(codes([...good, ...layer9])).toEqual(['unknown-site', 'unknown-site'])
    expect(codes([good[0]!, parameter(`${name}/B`, [1, 2, out], new Uint8Array(8 * out))])).toEqual(['no-effect'])
    const nan = Float32Array.from({ length: 48 }, () => Number.NaN)
    expect(codes([parameter(`${name}/A`, [1, 24, 2], new Uint8Array(nan.buffer)), good[1]!])).toEqual([
      'not-finite',
      'no-effect',
    ])
  })

  test('malformed files are errors', () => {
    const read = (bytes: Uint8Array) => () => readOnnxAdapter(bytes, abi, 'x')
    expect(read(file(good, 2))).toThrow(code('FORMAT_UNSUPPORTED'))
    expect(read(file([parameter('lora/x/A', [1, 2], bytes(2), 16)]))).toThrow(code('FORMAT_UNSUPPORTED'))
    expect(read(file([parameter(`${name}/A`, [1, 24, 3], bytes(48))]))).toThrow(code('FORMAT_INVALID'))
    expect(read(file([good[0]!, good[0]!]))).toThrow(/two parameters/)
    expect(read(file(good).slice(0, 700))).toThrow(code('FORMAT_INVALID'))
    expect(read(new Uint8Array(3))).toThrow(code('FORMAT_INVALID'))
  })

  test('what the format cannot hold is not written', () => {
    const prompt = { tokens: 1, embeddings: new Float32Array(24) }
    expect(() => writeOnnxAdapter(abi, { ...adapter, softPrompt: prompt })).toThrow(code('FORMAT_UNSUPPORTED'))
    expect(() =>
      writeOnnxAdapter(baseOf(16, 16), {
        name: 'x',
        lora: new Map([['layers.7/attn/o', { rank: 1, a: random(1, 2), b: random(1, 2) }]]),
      }),
    ).toThrow(code('SHAPE_MISMATCH'))
  })
})

/** Functions of the C API that the product does not need; indices of onnxruntime_c_api.h. */
const RUN = 9
const CREATE_LORA_ADAPTER_FROM_ARRAY = 281
const RELEASE_LORA_ADAPTER = 282
const RUN_OPTIONS_ADD_ACTIVE_LORA_ADAPTER = 283

describe('ONNX Runtime reads it', () => {
  let library: OrtLibrary
  let runtime: Runtime
  const functions: Record<string, (...parameters: unknown[]) => Pointer | null> = {}
  const release: (() => void)[] = []

  beforeAll(async () => {
    library = await loadLibrary()
    runtime = createRuntime(library, 1)
    const { koffi } = library
    const base = keepForEver(koffi.load(findLibrary())).func('OrtGetApiBase', 'void *', [])() as Pointer
    const at = (table: Pointer, index: number): Pointer => koffi.decode(table, index * 8, 'void *')
    const getApi = koffi.decode(at(base, 0), koffi.proto('void *', ['uint32_t'])) as (version: number) => Pointer
    const table = getApi(22)
    const bind = (name: string, index: number, parameters: string[], result = 'void *') => {
      functions[name] = koffi.decode(at(table, index), koffi.proto(result, parameters))
    }
    bind('load', CREATE_LORA_ADAPTER_FROM_ARRAY, ['void *', 'size_t', 'void *', 'void *'])
    bind('release', RELEASE_LORA_ADAPTER, ['void *'], 'void')
    bind('activate', RUN_OPTIONS_ADD_ACTIVE_LORA_ADAPTER, ['void *', 'void *'])
    bind('run', RUN, ['void *', 'void *', 'void *', 'void *', 'size_t', 'void *', 'size_t', 'void *'])
  })
  afterAll(() => {
    for (const free of release.reverse()) free()
  })

  function load(file: Uint8Array): Pointer {
    const out = new BigUint64Array(1)
    check(runtime.api, functions.load!(file, file.length, null, out), 'loading the adapter')
    release.push(() => functions.release!(out[0]))
    return out[0]!
  }

  /** y = x·A·B of one place, A and B from the active adapter alone. ONNX Runtime wants an input for each of its parameters. */
  function runWith(file: Uint8Array, path: string, x: Float32Array, out: number): Float32Array {
    const { api, cpuMemory } = runtime
    const { koffi } = library
    const parameters = readFlatBuffer(file, 'TORT', 'x').tables(3)
    const model = writeModel({
      inputs: [
        { name: 'x', dtype: 'float32', dims: [1, 1, x.length] },
        ...parameters.map((table) => ({ name: table.string(0)!, dtype: 'float32' as const, dims: table.int64s(1) })),
      ],
      outputs: [{ name: 'y', dtype: 'float32', dims: [1, 1, out] }],
      nodes: [
        { op: 'MatMul', inputs: ['x', `lora/${path}/A`], outputs: ['xa'] },
        { op: 'MatMul', inputs: ['xa', `lora/${path}/B`], outputs: ['y'] },
      ],
    })
    const sessionOptions = create(api, 'CreateSessionOptions')
    check(api, api.DisablePerSessionThreads(sessionOptions), 'sharing threads')
    const session = create(api, 'CreateSessionFromArray', runtime.env, model, model.length, sessionOptions)
    const runOptions = create(api, 'CreateRunOptions')
    const value = create(
      api,
      'CreateTensorWithDataAsOrtValue',
      cpuMemory,
      koffi.address(x),
      x.byteLength,
      BigInt64Array.of(1n, 1n, BigInt(x.length)),
      3,
      1,
    )
    check(api, functions.activate!(runOptions, load(file)), 'activating the adapter')
    const text = (name: string) => new TextEncoder().encode(`${name}\0`)
    const kept = [text('x'), text('y')]
    const [inputName, outputName] = kept.map((bytes) => BigUint64Array.of(koffi.address(bytes)))
    const outputs = new BigUint64Array(1)
    check(
      api,
      functions.run!(session, runOptions, inputName, BigUint64Array.of(value), 1, outputName, 1, outputs),
      'running',
    )
    const data = create(api, 'GetTensorMutableData', outputs[0]!)
    const y = Float32Array.from(koffi.decode(data, koffi.array('float', out)) as number[])
    api.ReleaseValue(outputs[0]!)
    api.ReleaseValue(value)
    api.ReleaseRunOptions(runOptions)
    api.ReleaseSession(session)
    api.ReleaseSessionOptions(sessionOptions)
    return y
  }

  function expected({ lora }: AdapterTensors, path: string, x: Float32Array, out: number): number[] {
    const { rank, a, b } = lora.get(path)!
    return Array.from({ length: out }, (_, column) => {
      let sum = 0
      for (let r = 0; r < rank; r++)
        for (let row = 0; row < x.length; row++) sum += x[row]! * a[row * rank + r]! * b[r * out + column]!
      return sum
    })
  }

  test.each(['all', 'trained'] as const)('and multiplies by what it says (%s)', (places) => {
    const path = 'layers.2/attn/qkv'
    const x = random(5, abi.width)
    const out = 8 * 16
    const y = runWith(writeOnnxAdapter(abi, adapter, { places }), path, x, out)
    for (const [column, value] of expected(adapter, path, x, out).entries()) expect(y[column]).toBeCloseTo(value, 5)
    expect(y.some((value) => Math.abs(value) > 0.1)).toBe(true)
  })

  test('and refuses what this reader refuses: a damaged file', () => {
    const broken = writeOnnxAdapter(abi, adapter)
    broken.fill(0xff, 8, 64)
    expect(() => load(broken)).toThrow(/adapter/i)
    expect(() => readOnnxAdapter(broken, abi, 'x')).toThrow(code('FORMAT_INVALID'))
  })
})

/** What the engine promises, the same on all three backends. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type TinyInitializer, writeModel } from '../../test/helpers/onnx-writer.js'
import { liveHandles } from '../core/disposal.js'
import { allocate, type DataOf, type DType } from '../core/dtypes.js'
import { normalSource } from '../core/random.js'
import { openEngine } from './index.js'
import type { BackendName, Engine, Session, Tensor } from './types.js'

const ADD = writeModel({
  inputs: [
    { name: 'a', dtype: 'float32', dims: ['T', 2] },
    { name: 'b', dtype: 'float32', dims: ['T', 2] },
  ],
  outputs: [{ name: 'sum', dtype: 'float32', dims: ['T', 2] }],
  nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] }],
})

const folder = mkdtempSync(join(tmpdir(), 'm4fm-engine-'))
afterAll(() => rmSync(folder, { recursive: true }))

// ffi first: once onnxruntime-node has made the environment of a library of the same file, its pool cannot be shared any more.
describe.each<BackendName>(['ffi', 'node', 'web'])('%s', (backend) => {
  let engine: Engine
  const owned: Disposable[] = []
  const own = <T extends Disposable>(thing: T): T => {
    owned.push(thing)
    return thing
  }
  const float = (dims: number[], values: ArrayLike<number>) =>
    own(engine.tensor('float32', dims, Float32Array.from(values)))
  const open = async (bytes: Uint8Array): Promise<Session> => own(await engine.createSession({ bytes }))
  const runs = async (...[session, feeds]: [Session, Record<string, Tensor>]) => {
    const results = await session.run(feeds)
    for (const tensor of Object.values(results)) own(tensor)
    return results
  }

  beforeAll(async () => {
    engine = await openEngine({ backend, threads: 2 })
  })
  afterEach(() => {
    for (const thing of owned.splice(0)) thing[Symbol.dispose]()
    expect(liveHandles()).toEqual({})
  })

  test('says what it is and what a graph takes', async () => {
    expect(engine.backend).toBe(backend)
    expect(engine.version).toMatch(/^1\.30\./)
    const session = await open(ADD)
    expect(session.inputs).toEqual([
      { name: 'a', dtype: 'float32', dims: ['T', 2] },
      { name: 'b', dtype: 'float32', dims: ['T', 2] },
    ])
    expect(session.outputs).toEqual([{ name: 'sum', dtype: 'float32', dims: ['T', 2] }])
  })

  test('runs a model from a file and from memory', async () => {
    const a = float([1, 2], [1, 2])
    const b = float([1, 2], [10, 20])
    const fromMemory = await runs(await open(ADD), { a, b })
    expect([...fromMemory.sum!.data]).toEqual([11, 22])
    expect(fromMemory.sum!.dims).toEqual([1, 2])
    const path = join(folder, 'añb.onnx')
    writeFileSync(path, ADD)
    const fromFile = await runs(own(await engine.createSession({ path })), { a, b })
    expect([...fromFile.sum!.data]).toEqual([11, 22])
  })

  test('sees what is written to a bound tensor, and follows changing sizes', async () => {
    const session = await open(ADD)
    const binding = own(session.bind())
    const a = float([1, 2], [1, 2])
    binding.bindInput('a', a)
    binding.bindInput('b', a)
    binding.bindOutput('sum')
    await binding.run()
    const first = own(binding.output('sum'))
    a.data[0] = 5
    await binding.run()
    const second = own(binding.output('sum'))
    expect([...first.data]).toEqual([2, 4])
    expect([...second.data]).toEqual([10, 4])
    for (const rows of [3, 1, 0, 40]) {
      const x = float(
        [rows, 2],
        Array.from({ length: rows * 2 }, (_, i) => i),
      )
      binding.bindInput('a', x)
      binding.bindInput('b', x)
      await binding.run()
      const sum = own(binding.output('sum'))
      expect(sum.dims).toEqual([rows, 2])
      expect([...sum.data]).toEqual([...x.data].map((value) => Number(value) * 2))
    }
  })

  test('writes to a given output, also when it is an input too', async () => {
    const session = await open(ADD)
    const binding = own(session.bind())
    const total = float([1, 2], [0, 100])
    binding.bindInput('a', total)
    binding.bindInput('b', float([1, 2], [1, 2]))
    binding.bindOutput('sum', total)
    for (let i = 0; i < 3; i++) await binding.run()
    expect([...total.data]).toEqual([3, 106])
    expect(binding.output('sum')).toBe(total)
  })

  test('a given output of another size is an error, not a partial result', async () => {
    const session = await open(ADD)
    const binding = own(session.bind())
    const x = float([2, 2], [1, 2, 3, 4])
    binding.bindInput('a', x)
    binding.bindInput('b', x)
    binding.bindOutput('sum', float([3, 2], new Float32Array(6)))
    await expect(binding.run()).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    expect(() => binding.output('sum')).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })

  test.each<[DType, readonly (number | bigint)[]]>([
    ['float32', [1.5, -2]],
    ['float64', [1.5, -2]],
    ['float16', [0x3c00, 0xc000]],
    ['int64', [5n, -(2n ** 40n)]],
    ['int32', [5, -6]],
    ['int8', [5, -6]],
    ['uint8', [5, 250]],
    ['bool', [1, 0]],
  ])('passes %s through', async (dtype, values) => {
    const session = await open(
      writeModel({
        inputs: [{ name: 'x', dtype, dims: ['N'] }],
        outputs: [{ name: 'y', dtype, dims: ['2*N'] }],
        nodes: [{ op: 'Concat', inputs: ['x', 'x'], outputs: ['y'], attributes: { axis: 0 } }],
      }),
    )
    const data = allocate(dtype, values.length)
    data.set(values as never)
    const { y } = await runs(session, { x: own(engine.tensor(dtype, [values.length], data as DataOf<typeof dtype>)) })
    expect(y!.dtype).toBe(dtype)
    expect([...y!.data]).toEqual([...values, ...values])
  })

  test('scalars', async () => {
    const session = await open(
      writeModel({
        inputs: [{ name: 'x', dtype: 'float32', dims: [] }],
        outputs: [{ name: 'y', dtype: 'float32', dims: [] }],
        nodes: [{ op: 'Neg', inputs: ['x'], outputs: ['y'] }],
      }),
    )
    const { y } = await runs(session, { x: float([], [3]) })
    expect(y!.dims).toEqual([])
    expect([...y!.data]).toEqual([-3])
  })

  test('adapters of rank 0: [2, 0] times [0, 3] is all zeros', async () => {
    const session = await open(
      writeModel({
        inputs: [
          { name: 'a', dtype: 'float32', dims: [2, 'R'] },
          { name: 'b', dtype: 'float32', dims: ['R', 3] },
        ],
        outputs: [{ name: 'y', dtype: 'float32', dims: [2, 3] }],
        nodes: [{ op: 'MatMul', inputs: ['a', 'b'], outputs: ['y'] }],
      }),
    )
    const { y } = await runs(session, { a: float([2, 0], []), b: float([0, 3], []) })
    expect([...y!.data]).toEqual([0, 0, 0, 0, 0, 0])
  })

  test('names and shapes that the graph does not have', async () => {
    const session = await open(ADD)
    const a = float([1, 2], [1, 2])
    const rejects = (feeds: Record<string, Tensor>, fetches: string[] | undefined, code: string, text: RegExp) =>
      expect(session.run(feeds, fetches)).rejects.toMatchObject({ code, message: expect.stringMatching(text) })
    await rejects({ a, bb: a }, undefined, 'UNKNOWN_NAME', /Did you mean b/)
    await rejects({ a, b: a }, ['summ'], 'UNKNOWN_NAME', /Did you mean sum/)
    await rejects({ a }, undefined, 'USAGE', /"b"/)
    await rejects({ a, b: float([2], [1, 2]) }, undefined, 'SHAPE_MISMATCH', /float32\[T, 2\], got float32\[2\]/)
    await rejects({ a, b: float([2, 2], [1, 2, 3, 4]) }, undefined, 'SHAPE_MISMATCH', /T = 1/)
    await rejects({ a, b: own(engine.tensor('int32', [1, 2])) }, undefined, 'SHAPE_MISMATCH', /int32/)
    expect(() => engine.tensor('float32', [2, 2], new Float32Array(3))).toThrow(/4 elements/)
    expect(() => engine.tensor('float32', [-1])).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
  })

  test('an error inside the graph carries the words of the runtime', async () => {
    const session = await open(
      writeModel({
        inputs: [
          { name: 'x', dtype: 'float32', dims: ['N'] },
          { name: 'i', dtype: 'int64', dims: ['I'] },
        ],
        outputs: [{ name: 'y', dtype: 'float32', dims: ['I'] }],
        nodes: [{ op: 'Gather', inputs: ['x', 'i'], outputs: ['y'] }],
      }),
    )
    const feeds = { x: float([2], [1, 2]), i: own(engine.tensor('int64', [1], BigInt64Array.of(7n))) }
    await expect(session.run(feeds)).rejects.toMatchObject({
      code: 'ENGINE',
      message: expect.stringMatching(/out of.*bounds/i),
    })
  })

  test('models that cannot be loaded', async () => {
    const garbage = new Uint8Array(200).fill(7)
    await expect(engine.createSession({ bytes: garbage })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const half = ADD.slice(0, ADD.length / 2)
    await expect(engine.createSession({ bytes: half })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const missing = join(folder, 'not-there.onnx')
    await expect(engine.createSession({ path: missing })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    const path = join(folder, 'garbage.onnx')
    writeFileSync(path, garbage)
    await expect(engine.createSession({ path })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('external data: beside the file, in memory, and missing', async () => {
    const weight: TinyInitializer = {
      name: 'w',
      dtype: 'float32',
      dims: [600],
      data: Float32Array.from({ length: 600 }, (_, i) => i),
      external: 'weights.bin',
    }
    const bytes = writeModel({
      inputs: [{ name: 'x', dtype: 'float32', dims: [600] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: [600] }],
      nodes: [{ op: 'Mul', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [weight],
    })
    const content = new Uint8Array(weight.data.buffer as ArrayBuffer)
    const x = float([600], new Float32Array(600).fill(2))
    const sources = [{ bytes, externalData: { 'weights.bin': content } }]
    for (const source of sources) {
      const { y } = await runs(own(await engine.createSession(source)), { x })
      expect(y!.data[599]).toBe(1198)
    }
    await expect(engine.createSession({ bytes })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    const path = join(folder, `external-${backend}.onnx`)
    writeFileSync(path, bytes)
    await expect(engine.createSession({ path })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    if (backend === 'web') return
    writeFileSync(join(folder, 'weights.bin'), content)
    const { y } = await runs(own(await engine.createSession({ path })), { x })
    expect(y!.data[599]).toBe(1198)
    rmSync(join(folder, 'weights.bin'))
  })

  test('nothing is usable after dispose', async () => {
    const session = await open(ADD)
    const binding = session.bind()
    const a = float([1, 2], [1, 2])
    binding.bindInput('a', a)
    binding.bindInput('b', a)
    binding.bindOutput('sum')
    const gone = expect.objectContaining({ code: 'DISPOSED' })
    a.dispose()
    a.dispose()
    expect(() => a.data).toThrow(gone)
    expect(() => binding.bindInput('a', a)).toThrow(gone)
    await expect(binding.run()).rejects.toEqual(gone)
    session.dispose()
    await expect(session.run({})).rejects.toEqual(gone)
    expect(() => session.bind()).toThrow(gone)
    await expect(binding.run()).rejects.toEqual(gone)
    binding.dispose()
    expect(() => binding.bindOutput('sum')).toThrow(gone)
  })

  test('a signal that is aborted already stops the run before it starts', async () => {
    const session = await open(ADD)
    const a = float([1, 2], [1, 2])
    await expect(session.run({ a, b: a }, undefined, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
  })

  test('100 runs of one session at once', async () => {
    const session = await open(ADD)
    const sums = await Promise.all(
      Array.from(
        { length: 100 },
        async (_, i) => (await runs(session, { a: float([1, 2], [i, i]), b: float([1, 2], [1, 2]) })).sum!,
      ),
    )
    expect(sums.map((sum) => [...sum.data])).toEqual(Array.from({ length: 100 }, (_, i) => [i + 1, i + 2]))
  })

  test('a KV cache that is too short is an error', async () => {
    const session = await open(attentionModel(1, 1, 16))
    const binding = own(session.bind())
    for (const cache of ['keys', 'values']) {
      const tensor = own(engine.tensor('float32', [1, 1, 4, 16]))
      binding.bindInput(cache, tensor)
      binding.bindOutput(`${cache}/next`, tensor)
    }
    binding.bindOutput('y')
    for (const name of ['q', 'k', 'v']) binding.bindInput(name, own(engine.tensor('float32', [1, 5, 16])))
    binding.bindInput('last', own(engine.tensor('int32', [1], Int32Array.of(4))))
    binding.bindInput('total', own(engine.tensor('int32', [], Int32Array.of(5))))
    await expect(binding.run()).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })

  test('a KV cache bound as input and output: five steps equal one prefill', async () => {
    const [heads, kvHeads, width, capacity, steps] = [4, 2, 16, 8, 5]
    const session = await open(attentionModel(heads, kvHeads, width))
    const random = normalSource(7)
    const rows = (columns: number) => Float32Array.from({ length: steps * columns }, random)
    const [q, k, v] = [rows(heads * width), rows(kvHeads * width), rows(kvHeads * width)]
    const int32 = (dims: number[], value: number) => own(engine.tensor('int32', dims, Int32Array.of(value)))
    const slice = (data: Float32Array, from: number, to: number) => {
      const columns = data.length / steps
      return float([1, to - from, columns], data.subarray(from * columns, to * columns))
    }
    const decode = async (boundaries: readonly number[]) => {
      const binding = own(session.bind())
      for (const cache of ['keys', 'values']) {
        const tensor = own(engine.tensor('float32', [1, kvHeads, capacity, width]))
        binding.bindInput(cache, tensor)
        binding.bindOutput(`${cache}/next`, tensor)
      }
      binding.bindOutput('y')
      const out: number[] = []
      for (const [i, from] of boundaries.slice(0, -1).entries()) {
        const to = boundaries[i + 1]!
        binding.bindInput('q', slice(q, from, to))
        binding.bindInput('k', slice(k, from, to))
        binding.bindInput('v', slice(v, from, to))
        binding.bindInput('last', int32([1], to - 1))
        binding.bindInput('total', int32([], to))
        await binding.run()
        out.push(...(own(binding.output('y')).data as Float32Array))
      }
      return out
    }
    const whole = await decode([0, 5])
    const stepwise = await decode([0, 1, 2, 3, 4, 5])
    expect(whole).toHaveLength(steps * heads * width)
    const difference = Math.max(...whole.map((value, i) => Math.abs(value - stepwise[i]!)))
    expect(difference).toBeLessThan(1e-6)
    // Attention over one token is that token's value: the first row is known.
    expect(whole.slice(0, width)).toEqual([...v.subarray(0, width)])
  })
})

function attentionModel(heads: number, kvHeads: number, width: number): Uint8Array {
  const positions = 16
  const angles = (turn: (angle: number) => number): Float32Array =>
    Float32Array.from({ length: (positions * width) / 2 }, (_, i) => {
      const [position, pair] = [Math.floor(i / (width / 2)), i % (width / 2)]
      return turn(position * 10000 ** ((-2 * pair) / width))
    })
  const table = (name: string, data: Float32Array): TinyInitializer => ({
    name,
    dtype: 'float32',
    dims: [positions, width / 2],
    data,
  })
  const cache = (name: string, length: string) =>
    ({ name, dtype: 'float32', dims: ['B', kvHeads, length, width] }) as const
  const stream = (name: string, columns: number) => ({ name, dtype: 'float32', dims: ['B', 'T', columns] }) as const
  return writeModel({
    inputs: [
      stream('q', heads * width),
      stream('k', kvHeads * width),
      stream('v', kvHeads * width),
      cache('keys', 'P'),
      cache('values', 'P'),
      { name: 'last', dtype: 'int32', dims: ['B'] },
      { name: 'total', dtype: 'int32', dims: [] },
    ],
    outputs: [stream('y', heads * width), cache('keys/next', 'S'), cache('values/next', 'S')],
    nodes: [
      {
        op: 'GroupQueryAttention',
        domain: 'com.microsoft',
        inputs: ['q', 'k', 'v', 'keys', 'values', 'last', 'total', 'cos', 'sin'],
        outputs: ['y', 'keys/next', 'values/next'],
        attributes: { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
      },
    ],
    initializers: [table('cos', angles(Math.cos)), table('sin', angles(Math.sin))],
  })
}

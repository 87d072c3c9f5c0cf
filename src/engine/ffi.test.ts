/** What only the ffi engine does: free event loop, abort, lifetimes of native memory, prepacked weights, profiles. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type TinyInitializer, type TinyNode, writeModel } from '../../test/helpers/onnx-writer.js'
import { liveHandles } from '../core/disposal.js'
import { normalSource } from '../core/random.js'
import { createGate } from './ffi/runtime.js'
import { openEngine } from './index.js'
import type { Engine, Tensor } from './types.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

let engine: Engine
const folder = mkdtempSync(join(tmpdir(), 'm4fm-ffi-'))
const owned: Disposable[] = []
const own = <T extends Disposable>(thing: T): T => {
  owned.push(thing)
  return thing
}

beforeAll(async () => {
  engine = await openEngine({ backend: 'ffi', threads: 2 })
})
afterEach(() => {
  for (const thing of owned.splice(0)) thing[Symbol.dispose]()
  expect(liveHandles()).toEqual({})
})
afterAll(() => rmSync(folder, { recursive: true }))

/** x[T, size] through `length` matrix products and a Tanh each; weights scaled so that values stay near 1. */
function chain(length: number, size: number, external?: string) {
  const random = normalSource(3)
  const initializers: TinyInitializer[] = Array.from({ length }, (_, i) => ({
    name: `w${i}`,
    dtype: 'float32',
    dims: [size, size],
    data: Float32Array.from({ length: size * size }, () => random() / Math.sqrt(size)),
    ...(external === undefined ? {} : { external }),
  }))
  const nodes: TinyNode[] = initializers.flatMap(({ name }, i) => [
    { op: 'MatMul', inputs: [i === 0 ? 'x' : `t${i - 1}`, name], outputs: [`m${i}`] },
    { op: 'Tanh', inputs: [`m${i}`], outputs: [i === length - 1 ? 'y' : `t${i}`] },
  ])
  return writeModel({
    inputs: [{ name: 'x', dtype: 'float32', dims: ['T', size] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['T', size] }],
    nodes,
    initializers,
  })
}

/** One weight used again and again: long to run, quick to make. */
function longRun(steps: number, size: number): Uint8Array {
  const random = normalSource(4)
  const data = Float32Array.from({ length: size * size }, () => random() / Math.sqrt(size))
  const nodes = Array.from(
    { length: steps },
    (_, i): TinyNode => ({
      op: 'MatMul',
      inputs: [i === 0 ? 'x' : `t${i - 1}`, 'w'],
      outputs: [i === steps - 1 ? 'y' : `t${i}`],
    }),
  )
  return writeModel({
    inputs: [{ name: 'x', dtype: 'float32', dims: ['T', size] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['T', size] }],
    nodes,
    initializers: [{ name: 'w', dtype: 'float32', dims: [size, size], data }],
  })
}

const ones = (dims: number[]) => {
  const tensor = own(engine.tensor('float32', dims))
  ;(tensor.data as Float32Array).fill(1)
  return tensor
}

describe('event loop and abort', () => {
  test('the event loop turns while a graph runs', async () => {
    const session = own(await engine.createSession({ bytes: longRun(60, 256) }))
    let ticks = 0
    let running = true
    const count = () => {
      ticks++
      if (running) setImmediate(count)
    }
    setImmediate(count)
    const { y } = await session.run({ x: ones([256, 256]) })
    running = false
    own(y!)
    expect(ticks).toBeGreaterThan(5)
  })

  test('an abort stops a run between two nodes; the session runs on', async () => {
    // Seconds of work, of which the abort comes after some milliseconds.
    const session = own(await engine.createSession({ bytes: longRun(4000, 512) }))
    const binding = own(session.bind())
    const x = ones([512, 512])
    binding.bindInput('x', x)
    binding.bindOutput('y')
    const controller = new AbortController()
    let ticks = 0
    const ticking = setInterval(() => {
      if (++ticks === 3) controller.abort(new Error('changed my mind'))
    }, 5)
    await expect(binding.run({ signal: controller.signal })).rejects.toMatchObject({
      code: 'ABORTED',
      details: { stopped: true },
      cause: expect.objectContaining({ message: 'changed my mind' }),
    })
    clearInterval(ticking)
    expect(ticks).toBeGreaterThanOrEqual(3)
    expect(() => binding.output('y')).toThrow(expect.objectContaining({ code: 'USAGE' }))
    binding.bindInput('x', ones([0, 512]))
    await binding.run({ signal: new AbortController().signal })
    expect(own(binding.output('y')).dims).toEqual([0, 512])
  })

  test('an abort while waiting for a place rejects at once and loses no place', async () => {
    const gate = createGate(1)
    let finish: () => void = () => undefined
    const first = gate.pass(() => new Promise<void>((resolve) => (finish = resolve)))
    const controller = new AbortController()
    const second = gate.pass(async () => 'second', controller.signal)
    const third = gate.pass(async () => 'third')
    controller.abort()
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' })
    finish()
    await first
    await expect(third).resolves.toBe('third')
    await expect(gate.pass(() => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
    await expect(gate.pass(async () => 'free')).resolves.toBe('free')
  })
})

describe('lifetimes', () => {
  test('a binding in flight refuses changes, and everything may be disposed under it', async () => {
    const session = await engine.createSession({ bytes: longRun(40, 256) })
    const binding = session.bind()
    const x = engine.tensor('float32', [256, 256])
    const y = engine.tensor('float32', [256, 256])
    binding.bindInput('x', x)
    binding.bindOutput('y', y)
    const run = binding.run()
    const busy = expect.objectContaining({ code: 'USAGE' })
    expect(() => binding.bindInput('x', x)).toThrow(busy)
    expect(() => binding.bindOutput('y')).toThrow(busy)
    expect(() => binding.output('y')).toThrow(busy)
    await expect(binding.run()).rejects.toEqual(busy)
    for (const thing of [x, y, session, binding]) thing.dispose()
    collectGarbage()
    await run
    await expect(binding.run()).rejects.toMatchObject({ code: 'DISPOSED' })
  })

  test('garbage collection never takes memory that native code uses', async () => {
    const session = own(await engine.createSession({ bytes: chain(2, 4) }))
    const expected = await firstRow([0.5, -0.25, 1, 2])
    const binding = own(session.bind())
    bindSmall()
    for (let round = 0; round < 40; round++) {
      // Small arrays start out on the JavaScript heap, which moves things; fresh garbage takes any freed place.
      const garbage = Array.from({ length: 200 }, (_, i) => new Float32Array(4).fill(i))
      if (round % 4 === 0) collectGarbage()
      await binding.run()
      const y = binding.output('y')
      expect([...y.data]).toEqual(expected)
      y.dispose()
      expect(garbage).toHaveLength(200)
    }

    /** The only references to tensor and array are the binding's and the list of owned things. */
    function bindSmall() {
      const x = own(engine.tensor('float32', [1, 4], Float32Array.of(0.5, -0.25, 1, 2)))
      binding.bindInput('x', x)
      binding.bindOutput('y')
    }
    async function firstRow(values: number[]) {
      const x = own(engine.tensor('float32', [1, 4], Float32Array.from(values)))
      const { y } = await session.run({ x })
      return [...own(y!).data]
    }
  })

  test('data is wrapped, not copied, where its address stays', async () => {
    const small = Float32Array.of(1, 2)
    const inside = new Float32Array(new ArrayBuffer(64), 16, 2)
    expect(own(engine.tensor('float32', [2], small)).data).toBe(small)
    expect(own(engine.tensor('float32', [2], inside)).data).toBe(inside)
    const Resizable = ArrayBuffer as unknown as new (bytes: number, options: object) => ArrayBuffer
    const shrinking = new Float32Array(new Resizable(8, { maxByteLength: 64 }))
    const copy = own(engine.tensor('float32', [2], shrinking)).data
    expect(copy).not.toBe(shrinking)
    expect([...copy]).toEqual([0, 0])
  })

  test('memory that was transferred away is refused, not read', async () => {
    const session = own(await engine.createSession({ bytes: chain(1, 4) }))
    const data = new Float32Array(4)
    const x = own(engine.tensor('float32', [1, 4], data))
    const binding = own(session.bind())
    binding.bindInput('x', x)
    binding.bindOutput('y')
    structuredClone(data.buffer, { transfer: [data.buffer] })
    await expect(binding.run()).rejects.toMatchObject({ code: 'DISPOSED', message: expect.stringMatching(/detached/) })
  })

  test('tensors of another engine are refused', async () => {
    const session = own(await engine.createSession({ bytes: chain(1, 4) }))
    const foreign = { dtype: 'float32', dims: [1, 4], data: new Float32Array(4), disposed: false } as unknown as Tensor
    await expect(session.run({ x: foreign })).rejects.toMatchObject({ code: 'USAGE' })
  })

  test('results of one run stay as they are when the next one comes', async () => {
    const session = own(await engine.createSession({ bytes: chain(1, 4) }))
    const binding = own(session.bind())
    const x = own(engine.tensor('float32', [1, 4], Float32Array.of(1, 0, 0, 0)))
    binding.bindInput('x', x)
    binding.bindOutput('y')
    await binding.run()
    const first = own(binding.output('y'))
    expect(binding.output('y')).toBe(first)
    const before = [...first.data]
    x.data.set([0, 1, 0, 0] as never)
    await binding.run()
    expect([...first.data]).toEqual(before)
    expect([...own(binding.output('y')).data]).not.toEqual(before)
  })
})

describe('prepacked weights', () => {
  test('a saved model gives the same numbers, and is never overwritten', async () => {
    const path = join(folder, 'model.onnx')
    const width = 520 // each matrix above 1 MiB: smaller ones stay inside the model file
    writeFileSync(path, chain(3, width))
    const x = own(engine.tensor('float32', [5, width], Float32Array.from({ length: 5 * width }, normalSource(9))))
    const outputs = async (source: string, savePrepacked?: { path: string; data: string }) => {
      const session = own(await engine.createSession({ path: source }, savePrepacked ? { savePrepacked } : {}))
      return [...(own((await session.run({ x })).y!).data as Float32Array)]
    }
    const save = { path: join(folder, 'packed.onnx'), data: join(folder, 'packed.onnx.data') }
    writeFileSync(save.data, 'left by a process that died')
    const original = await outputs(path)
    expect(await outputs(path, save)).toEqual(original)
    expect(readFileSync(save.data).length).toBeGreaterThan(3 * width * width * 4)
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
    expect(await outputs(save.path)).toEqual(original)
    await expect(outputs(path, save)).rejects.toMatchObject({ code: 'USAGE', message: expect.stringMatching(/exists/) })
    await expect(outputs(path, { path: join(folder, 'x.onnx'), data: '/elsewhere/x.data' })).rejects.toMatchObject({
      code: 'USAGE',
    })
  })

  test('a model that cannot be loaded leaves nothing behind', async () => {
    const path = join(folder, 'broken.onnx')
    writeFileSync(path, 'this is no model')
    const savePrepacked = { path: join(folder, 'half.onnx'), data: 'half.data' }
    await expect(engine.createSession({ path }, { savePrepacked })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    expect(readdirSync(folder).filter((name) => name.startsWith('half'))).toEqual([])
  })
})

test('a profile lists the nodes', async () => {
  const session = own(await engine.createSession({ bytes: chain(1, 4) }, { profilePrefix: join(folder, 'trace') }))
  own((await session.run({ x: ones([1, 4]) })).y!)
  const path = session.endProfiling()
  expect(existsSync(path)).toBe(true)
  expect(readFileSync(path, 'utf8')).toMatch(/MatMul/)
  const plain = own(await engine.createSession({ bytes: chain(1, 4) }))
  expect(() => plain.endProfiling()).toThrow(expect.objectContaining({ code: 'USAGE' }))
})

test.each([
  'none',
  'basic',
  'extended',
  'all',
] as const)('optimisation %s gives the same numbers', async (optimization) => {
  const bytes = chain(2, 8)
  const x = own(engine.tensor('float32', [2, 8], Float32Array.from({ length: 16 }, normalSource(1))))
  const reference = own(await engine.createSession({ bytes }))
  const session = own(await engine.createSession({ bytes }, { optimization, memoryPattern: false }))
  const expected = own((await reference.run({ x })).y!).data as Float32Array
  const got = own((await session.run({ x })).y!).data as Float32Array
  for (const [i, value] of expected.entries()) expect(got[i]).toBeCloseTo(value, 5)
})

test('weights that are not packed give the same numbers', async () => {
  const bytes = chain(3, 64)
  const input = own(
    engine.tensor('float32', [5, 64], Float32Array.from({ length: 320 }, (_, i) => Math.sin(i)) as never),
  )
  const run = async (prepacking: boolean) => {
    const session = own(await engine.createSession({ bytes }, { prepacking }))
    return Float32Array.from(own((await session.run({ x: input })).y!).data as Float32Array)
  }
  const [packed, plain] = [await run(true), await run(false)]
  packed.forEach((value, i) => {
    expect(plain[i]).toBeCloseTo(value, 5)
  })
})

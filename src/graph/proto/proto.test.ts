import { InferenceSession } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../../core/errors.js'
import {
  decodeModel,
  EXTERNAL_ALIGNMENT,
  encodeModel,
  type Graph,
  GraphBuilder,
  inferTypes,
  lazyTensor,
  printGraph,
  tensorFrom,
} from '../index.js'

const ramp = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i))

function sample(): Graph {
  const g = new GraphBuilder('sample')
  const x = g.input('x', 'float32', ['B', 'T', 64])
  const layer = g.scope('layers.0')
  const w = layer.initializer('w', tensorFrom('float32', [64, 30], ramp(64 * 30)))
  const bias = layer.initializer('bias', tensorFrom('float32', [30], ramp(30)))
  const deep = layer.initializer(
    'deep',
    lazyTensor('float32', [30, 64], () => new Uint8Array(ramp(30 * 64).buffer)),
  )
  const y = layer.op('QuickGelu', [layer.op('Add', [layer.op('MatMul', [x, w]), bias])], { alpha: 1 }, 'gelu')
  g.output('y', layer.op('Softmax', [layer.op('MatMul', [y, deep])], { axis: -1 }))
  g.output('flat', layer.op('Reshape', [y, g.int64([-1, 30])]))
  return g.build()
}

/** The external file as one array, with the writes that made it. */
async function encodeExternally(graph: Graph, minBytes?: number) {
  const chunks: Uint8Array[] = []
  const write = (chunk: Uint8Array) => void chunks.push(chunk.slice())
  const externalData = { location: 'weights.bin', write, ...(minBytes === undefined ? {} : { minBytes }) }
  const model = await encodeModel(graph, { externalData })
  return { model, data: new Uint8Array(Buffer.concat(chunks)) }
}

const plain = (graph: Graph) => ({
  ...graph,
  initializers: [...graph.initializers].map(([name, { dtype, dims, bytes }]) => [name, dtype, dims, [...bytes()]]),
})

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (isM4Error(error)) return error.code
    throw error
  }
  return 'none'
}

describe('encode and decode', () => {
  test('a graph comes back as it went', async () => {
    const graph = sample()
    const back = inferTypes(decodeModel(await encodeModel(graph)))
    expect(plain(back)).toEqual(plain(graph))
    expect(plain(decodeModel(await encodeModel(graph, { valueInfo: true }))).values).toEqual(graph.values)
  })

  test('the same graph gives the same bytes', async () => {
    const [a, b] = [await encodeExternally(sample()), await encodeExternally(sample())]
    expect(Buffer.compare(a.model, b.model)).toBe(0)
    expect(Buffer.compare(a.data, b.data)).toBe(0)
    expect(Buffer.from(await encodeModel(sample(), { producer: 'other' })).includes('other')).toBe(true)
  })

  test('large weights lie aligned in the external file, small ones inline, and the runtime finds both', async () => {
    const { model, data } = await encodeExternally(sample())
    const places: [number, number][] = []
    const graph = decodeModel(model, {
      readExternal: (location, offset, length) => {
        expect(location).toBe('weights.bin')
        places.push([offset, length])
        return data.subarray(offset, offset + length)
      },
    })
    expect(plain(graph).initializers).toEqual(plain(sample()).initializers)
    // 30 floats are 120 bytes, under the limit; the two matrices follow each other.
    expect(places).toEqual([
      [0, 7680],
      [7680, 7680],
    ])
    const inline = decodeModel(model).initializers
    expect(inline.get('layers.0/bias')!.bytes().length).toBe(120)
    expect(codeOf(() => inline.get('layers.0/w')!.bytes())).toBe('NOT_AVAILABLE')
    const session = await InferenceSession.create(model, { externalData: [{ path: 'weights.bin', data }] })
    expect(session.outputNames).toEqual(['y', 'flat'])
    await session.release()
  })

  test('every external tensor starts at a multiple of 64', async () => {
    const { model, data } = await encodeExternally(sample(), 1)
    const offsets: number[] = []
    const graph = decodeModel(model, {
      readExternal: (_, offset, length) => {
        offsets.push(offset)
        return data.subarray(offset, offset + length)
      },
    })
    for (const tensor of graph.initializers.values()) tensor.bytes()
    expect(offsets.length).toBe(4)
    expect(offsets.map((offset) => offset % EXTERNAL_ALIGNMENT)).toEqual([0, 0, 0, 0])
    expect(data.length).toBe(offsets.at(-1)! + 16)
  })

  test('offsets beyond 4 GB are exact', async () => {
    const g = new GraphBuilder('huge')
    // The sink only counts, so the bytes need not exist: each tensor claims a gigabyte.
    const block = new Uint8Array(1 << 20)
    let y = g.input('x', 'uint8', [1 << 20])
    for (let i = 0; i < 5; i++)
      y = g.op('Max', [
        y,
        g.initializer(
          `w${i}`,
          lazyTensor('uint8', [1 << 20], () => block),
        ),
      ])
    g.output('y', y)
    const graph = g.build()
    const claimed = new Map(
      [...graph.initializers].map(([name, tensor]) => [
        name,
        {
          ...tensor,
          dims: [1 << 30, 1],
          byteLength: 1 << 30,
          bytes: () => ({ byteLength: 1 << 30 }) as Uint8Array,
        },
      ]),
    )
    let written = 0
    const write = (chunk: Uint8Array) => {
      written += chunk.byteLength
    }
    const model = await encodeModel({ ...graph, initializers: claimed }, { externalData: { location: 'w', write } })
    expect(written).toBe(5 * 2 ** 30)
    const offsets: number[] = []
    const back = decodeModel(model, { readExternal: (_, offset) => new Uint8Array(Math.min(0, offsets.push(offset))) })
    for (const tensor of back.initializers.values()) expect(codeOf(() => tensor.bytes())).toBe('FORMAT_INVALID')
    expect(offsets).toEqual([0, 1, 2, 3, 4].map((i) => i * 2 ** 30))
  })

  test('one tensor is held at a time, progress is told, and a signal stops the writing', async () => {
    const done: number[] = []
    await encodeModel(sample(), { onProgress: ({ done: bytes, total }) => done.push(bytes / total!) })
    expect(done).toHaveLength(4)
    expect(done.at(-1)).toBe(1)
    const controller = new AbortController()
    const seen: string[] = []
    const write = () => {
      seen.push('write')
      controller.abort()
    }
    const writing = encodeModel(sample(), { externalData: { location: 'w', write }, signal: controller.signal })
    await expect(writing).rejects.toMatchObject({ code: 'ABORTED' })
    expect(seen).toHaveLength(1)
  })

  test('a lazy tensor of the wrong size is refused', async () => {
    const graph = sample()
    const tensor = lazyTensor('float32', [30, 64], () => new Uint8Array(4))
    const broken = { ...graph, initializers: new Map([...graph.initializers, ['layers.0/deep', tensor] as const]) }
    await expect(encodeModel(broken)).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })

  test('a graph prints one line a node', () => {
    expect(printGraph(sample())).toContain(
      '  layers.0/gelu float32[B, T, 30] = com.microsoft.QuickGelu(layers.0/add1, alpha=1)\n',
    )
  })
})

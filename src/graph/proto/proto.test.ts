import { create, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { InferenceSession } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../../core/errors.js'
import {
  censusOf,
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
import {
  TensorProto_DataType as ElementType,
  type GraphProto,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
} from './generated/onnx_pb.js'

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
    // Written through a sink that only counts: the bytes are one shared megabyte, claimed 5000 times.
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
          bytes: () => Object.assign(Object.create(block), { byteLength: 1 << 30 }),
        },
      ]),
    )
    let written = 0
    const write = (chunk: Uint8Array) => void (written += chunk.byteLength)
    const model = await encodeModel({ ...graph, initializers: claimed }, { externalData: { location: 'w', write } })
    expect(written).toBe(5 * 2 ** 30)
    const offsets: number[] = []
    const back = decodeModel(model, { readExternal: (_, offset) => (offsets.push(offset), new Uint8Array()) })
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
})

const tensorType = (elemType: number, ...dims: (string | number)[]) => ({
  value: {
    case: 'tensorType' as const,
    value: {
      elemType,
      shape: {
        dim: dims.map((dim) =>
          typeof dim === 'string'
            ? { value: { case: 'dimParam' as const, value: dim } }
            : { value: { case: 'dimValue' as const, value: BigInt(dim) } },
        ),
      },
    },
  },
})

/** A file as other exporters write it: If inside a Loop, unknown operators, typed number fields, sub-graph outputs without types. */
function foreignModel(change: (graph: GraphProto) => void = () => {}): Uint8Array {
  const branch = (op: string) => ({
    name: op,
    node: [{ opType: op, input: ['state'], output: ['branch'] }],
    output: [{ name: 'branch' }],
  })
  const body = {
    name: 'body',
    input: [
      { name: 'i', type: tensorType(ElementType.INT64) },
      { name: 'go', type: tensorType(ElementType.BOOL) },
      { name: 'state', type: tensorType(ElementType.FLOAT, 2) },
    ],
    node: [
      { opType: 'Identity', input: ['go'], output: ['go_on'] },
      {
        opType: 'If',
        input: ['go'],
        output: ['next'],
        attribute: [
          { name: 'then_branch', type: Kind.GRAPH, g: branch('Neg') },
          { name: 'else_branch', type: Kind.GRAPH, g: branch('Abs') },
        ],
      },
    ],
    output: [
      { name: 'go_on', type: tensorType(ElementType.BOOL) },
      { name: 'next', type: tensorType(ElementType.FLOAT, 2) },
    ],
  }
  const model = create(ModelProtoSchema, {
    irVersion: 8n,
    opsetImport: [{ domain: 'ai.onnx', version: 17n }],
    graph: {
      name: 'foreign',
      input: [
        { name: 'x', type: tensorType(ElementType.FLOAT, 'batch size', -1) },
        { name: 'words', type: tensorType(ElementType.STRING, 3) },
        { name: 'count', type: tensorType(ElementType.INT64) },
      ],
      initializer: [
        { name: 'packed', dims: [2n], dataType: ElementType.FLOAT, floatData: [1, 2] },
        { name: 'half', dims: [1n], dataType: ElementType.FLOAT16, int32Data: [0x3c00] },
        { name: 'true', dims: [], dataType: ElementType.BOOL, int32Data: [1] },
      ],
      node: [
        {
          opType: 'Loop',
          input: ['count', 'true', 'packed'],
          output: ['looped'],
          attribute: [{ name: 'body', type: Kind.GRAPH, g: body }],
        },
        {
          opType: 'Mystery',
          domain: 'example.org',
          input: ['words', 'half'],
          output: ['m'],
          attribute: [{ name: 'w', type: Kind.FLOATS, floats: [1, 2.5] }],
        },
        { opType: 'Neg', input: ['looped'], output: ['negated'] },
        { opType: 'Neg', input: ['packed'], output: ['known'] },
      ],
      output: [{ name: 'negated', type: tensorType(ElementType.FLOAT, 2) }, { name: 'm' }, { name: 'known' }],
    },
  })
  change(model.graph!)
  return toBinary(ModelProtoSchema, model)
}

describe('foreign files', () => {
  test('are decoded with sub-graphs, and are valid for the runtime where we made them so', async () => {
    const graph = decodeModel(foreignModel())
    expect(graph.opsets).toEqual({ '': 17 })
    expect(graph.inputs.map(({ dims, foreignType }) => foreignType ?? dims)).toEqual([
      ['batch size', '?'],
      'tensor(string)',
      [],
    ])
    expect(new Float32Array(graph.initializers.get('packed')!.bytes().slice().buffer)).toEqual(Float32Array.of(1, 2))
    expect([...graph.initializers.get('half')!.bytes()]).toEqual([0, 0x3c])
    expect([...graph.initializers.get('true')!.bytes()]).toEqual([1])
    expect(graph.nodes[1]!.attributes).toEqual({ w: { floats: [1, 2.5] } })
    const loop = graph.nodes[0]!.attributes.body as Graph
    const branch = loop.nodes[1]!.attributes.then_branch as Graph
    expect(branch.outputs[0]!.foreignType).toBe('unknown')
    const whole = foreignModel((g) => {
      g.node.splice(1, 1)
      g.input.splice(1, 1)
      g.output.splice(1, 2)
      g.initializer.splice(1, 1)
    })
    const session = await InferenceSession.create(await encodeModel(decodeModel(whole)))
    expect(session.outputNames).toEqual(['negated'])
    await session.release()
  })

  test('are counted, sub-graphs apart', () => {
    const census = censusOf(foreignModel())
    expect(census.counts).toEqual({ Abs: 1, Identity: 1, If: 1, Loop: 1, Neg: 3, 'example.org.Mystery': 1 })
    expect(census.withoutSubgraphs).toEqual({ Loop: 1, Neg: 2, 'example.org.Mystery': 1 })
    expect(census.total).toBe(8)
    expect(censusOf([decodeModel(foreignModel()), foreignModel()]).total).toBe(16)
    expect(census.types).toEqual(['Abs', 'Identity', 'If', 'Loop', 'Neg', 'example.org.Mystery'])
  })

  test('types are inferred as far as operators are known', () => {
    const graph = inferTypes(decodeModel(foreignModel()))
    expect(graph.outputs.map(({ foreignType }) => foreignType)).toEqual([undefined, 'unknown', undefined])
    expect(graph.outputs[2]).toMatchObject({ name: 'known', dtype: 'float32', dims: [2] })
    const bad = decodeModel(
      foreignModel((g) => g.node.push({ ...g.node[2]!, opType: 'MatMul', input: ['packed', 'half'], output: ['z'] })),
    )
    expect(codeOf(() => inferTypes(bad))).toBe('SHAPE_MISMATCH')
    const problems: string[] = []
    inferTypes(bad, { onProblem: (node) => problems.push(node.op) })
    expect(problems).toEqual(['MatMul'])
  })

  test('are printed', () => {
    expect(
      printGraph(decodeModel(foreignModel()), { weights: true }),
    ).toBe(`graph foreign (ai.onnx 17; 4 nodes, 3 weights, 11 bytes)
  input  x float32[batch size, ?]
  input  words tensor(string)
  input  count int64[]
  weight packed float32[2]
  weight half float16[1]
  weight true bool[]
  looped = Loop(count, true, packed, body=graph body)
    body: graph body
      input  i int64[]
      input  go bool[]
      input  state float32[2]
      go_on bool[] = Identity(go)
      next float32[2] = If(go, then_branch=graph Neg, else_branch=graph Abs)
        then_branch: graph Neg
          branch = Neg(state)
          output branch unknown
        else_branch: graph Abs
          branch = Abs(state)
          output branch unknown
      output go_on bool[]
      output next float32[2]
  m = example.org.Mystery(words, half, w=[1,2.5])
  negated float32[2] = Neg(looped)
  known = Neg(packed)
  output negated float32[2]
  output m unknown
  output known unknown
`)
    expect(printGraph(sample())).toContain(
      '  layers.0/gelu float32[B, T, 30] = com.microsoft.QuickGelu(layers.0/add1, alpha=1)\n',
    )
  })
})

describe('malformed files', () => {
  const tensor = (change: Partial<GraphProto['initializer'][number]>) => () =>
    decodeModel(foreignModel((g) => void Object.assign(g.initializer[0]!, change)))

  test.each([
    ['nothing', () => decodeModel(new Uint8Array())],
    ['text', () => decodeModel(new TextEncoder().encode('{"not": "a model"}'))],
    ['a model cut short', () => decodeModel(foreignModel().subarray(0, 200))],
    ['a huge claim', tensor({ dims: [1n << 40n, 1n << 40n] })],
    ['a large claim without data', tensor({ dims: [1n << 40n] })],
    ['a negative size', tensor({ dims: [-2n] })],
    ['too little data', tensor({ dims: [3n] })],
    ['too much raw data', tensor({ rawData: new Uint8Array(9) })],
    ['external data without a place', tensor({ dataLocation: 1 })],
    [
      'external data with a bad offset',
      tensor({
        dataLocation: 1,
        externalData: [
          ['location', 'w'],
          ['offset', '-1'],
        ].map(([key, value]) => ({ $typeName: 'onnx.StringStringEntryProto', key: key!, value: value! })),
      }),
    ],
    ['a nameless weight', tensor({ name: '' })],
    ['a node without operator', () => decodeModel(foreignModel((g) => void (g.node[2]!.opType = '')))],
    ['a graph attribute without graph', () => decodeModel(foreignModel((g) => void delete g.node[0]!.attribute[0]!.g))],
  ])('%s is FORMAT_INVALID', (_, run) => {
    expect(codeOf(run)).toBe('FORMAT_INVALID')
  })

  test('element types that M4 has no array for are told apart', () => {
    expect(codeOf(tensor({ dataType: ElementType.STRING }))).toBe('FORMAT_UNSUPPORTED')
  })

  test('graphs nested without end are refused, not recursed into', () => {
    let bytes = new Uint8Array()
    const wrap = (tag: number, inner: Uint8Array) => {
      const length: number[] = []
      for (let rest = inner.length; ; rest >>>= 7) {
        length.push(rest > 127 ? (rest & 127) | 128 : rest)
        if (rest <= 127) break
      }
      return new Uint8Array(Buffer.concat([Uint8Array.of(tag, ...length), inner]))
    }
    // GraphProto.node = 1, NodeProto.attribute = 5, AttributeProto.g = 6; ModelProto.ir_version = 1, .graph = 7
    for (let depth = 0; depth < 3000; depth++) bytes = wrap(0x0a, wrap(0x2a, wrap(0x32, bytes)))
    const model = new Uint8Array(Buffer.concat([Uint8Array.of(0x08, 8), wrap(0x3a, bytes)]))
    expect(codeOf(() => decodeModel(model))).toBe('FORMAT_INVALID')
    expect(codeOf(() => censusOf(model))).toBe('FORMAT_INVALID')
  })

  test('damaged bytes give a graph or a typed error, never anything else', async () => {
    const files = [foreignModel(), await encodeModel(sample())]
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(fc.constantFrom(...files), damage, fc.option(fc.nat()), (file, changes, cut) => {
        const bytes = file.slice(0, cut === null ? undefined : cut % file.length)
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        try {
          const graph = decodeModel(bytes)
          for (const weight of graph.initializers.values()) if (weight.byteLength < 1e6) weight.bytes()
          inferTypes(graph, { onProblem: () => {} })
          printGraph(graph)
        } catch (error) {
          if (!isM4Error(error)) throw error
        }
      }),
      { numRuns: 1500, seed: 11 },
    )
  })
})

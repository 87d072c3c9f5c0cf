import { create, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { InferenceSession } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../../core/errors.js'
import { censusOf, decodeModel, encodeModel, type Graph, inferTypes, printGraph } from '../index.js'
import {
  TensorProto_DataType as ElementType,
  type GraphProto,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
} from './generated/onnx_pb.js'

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (isM4Error(error)) return error.code
    throw error
  }
  return 'none'
}

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

/** Leaves what ONNX Runtime can run: no unknown operator, no strings. */
function runnable(graph: GraphProto): void {
  graph.node.splice(1, 1)
  graph.input.splice(1, 1)
  graph.output.splice(1, 2)
  graph.initializer.splice(1, 1)
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
    const whole = foreignModel(runnable)
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
    ['a node without operator', () => decodeModel(foreignModel((g) => void Object.assign(g.node[2]!, { opType: '' })))],
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
    const files = [foreignModel(), await encodeModel(inferTypes(decodeModel(foreignModel(runnable))))]
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

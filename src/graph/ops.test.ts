/** Every shape rule against ONNX Runtime itself: one-node models, inferred types and expected values against what comes out. */

import { InferenceSession, Tensor } from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { halfToFloat } from '../core/dtypes.js'
import { isOpen, OPS, type OpName, type OpSignature } from './index.js'
import { encodeModel } from './proto/encode.js'
import { graphAttributes } from './shapes.js'
import { caseFeeds, caseGraph } from './testing/case-model.js'
import { ALL_OP_CASES, type CaseTensor, OP_CASES, type OpCase } from './testing/op-cases.js'

/** Output name → what ONNX Runtime gave. */
async function runCase(op: OpName, opCase: OpCase, graph = caseGraph(op, opCase)) {
  const session = await InferenceSession.create(await encodeModel(graph), { logSeverityLevel: 3, intraOpNumThreads: 1 })
  const feeds = Object.entries(caseFeeds(opCase)).map(([name, { dtype, data, dims }]) => {
    const bytes = dtype === 'bool' ? Uint8Array.from(data as Uint8Array) : data
    return [name, new Tensor(dtype as Tensor.Type, bytes as Tensor.DataType, dims)] as const
  })
  const results = await session.run(Object.fromEntries(feeds))
  await session.release()
  return { graph, results }
}

const numbersOf = (tensor: Tensor): number[] =>
  Array.from(tensor.data as ArrayLike<number | bigint>, (value) =>
    tensor.type === 'float16' && tensor.data instanceof Uint16Array ? halfToFloat(Number(value)) : Number(value),
  )

function expectValues(got: Tensor, expected: CaseTensor, tolerance: number): void {
  expect([got.type, got.dims]).toEqual([expected.dtype, expected.dims])
  const values = numbersOf(got)
  expected.values.forEach((want, i) => {
    const error = Math.abs(values[i]! - want) / Math.max(1, Math.abs(want))
    expect(error, `element ${i}: expected ${want}, got ${values[i]}`).toBeLessThanOrEqual(tolerance)
  })
}

describe('operators against ONNX Runtime', () => {
  test.each(
    ALL_OP_CASES.map(({ op, case: opCase }) => [`${op}: ${opCase.name}`, op, opCase] as const),
  )('%s', async (_, op, opCase) => {
    const { graph, results } = await runCase(op, opCase)
    for (const { name, dtype, dims } of graph.outputs) {
      const got = results[name]!
      expect(got.type).toBe(dtype)
      // A size that only the run can tell is a symbol of its own; all others must be right.
      expect(got.dims.map((size, i) => (isOpen(dims[i]!) ? dims[i] : size))).toEqual(dims)
      const expected = opCase.expected?.[Number(name.slice(1))]
      if (expected) expectValues(got, expected, opCase.tolerance ?? 1e-5)
    }
  })

  test.each(Object.keys(OPS) as OpName[])('%s: attributes and defaults are those of the runtime', async (op) => {
    const opCase = (OP_CASES[op] as readonly OpCase[])[0]!
    const graph = caseGraph(op, opCase)
    const [node] = graph.nodes
    const specs: OpSignature['attributes'] = OPS[op].attributes
    const defaults = Object.fromEntries(
      Object.entries(specs).flatMap(([name, spec]) => (spec.default === undefined ? [] : [[name, spec.default]])),
    )
    const explicit = { ...graphAttributes(op, defaults), ...node!.attributes }
    const { results } = await runCase(op, opCase)
    // The runtime refuses attributes that it does not know.
    const again = await runCase(op, opCase, { ...graph, nodes: [{ ...node!, attributes: explicit }] })
    for (const [name, tensor] of Object.entries(results))
      expect(numbersOf(again.results[name]!)).toEqual(numbersOf(tensor))
  })

  test('an attribute that the runtime does not know is refused', async () => {
    const [opCase] = OP_CASES.Add
    const graph = caseGraph('Add', opCase!)
    const foreign = { ...graph, nodes: [{ ...graph.nodes[0]!, attributes: { nonsense: 1 } }] }
    await expect(runCase('Add', opCase!, foreign)).rejects.toThrow(/nonsense/)
  })

  test('every operator has cases, and nearly every case has expected values', () => {
    expect(Object.keys(OP_CASES).sort()).toEqual(Object.keys(OPS).sort())
    // Those of gradients are checked by finite differences in src/train, and here for types and shapes.
    const own = Object.values(OP_CASES).flatMap((cases) => [...(cases as readonly OpCase[])])
    expect(own.filter(({ expected }) => !expected).length).toBeLessThan(10)
    const names = ALL_OP_CASES.map(({ op, case: { name } }) => `${op}/${name}`)
    expect(new Set(names).size).toBe(names.length)
  })
})

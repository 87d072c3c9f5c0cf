/** Every operator of the graph table, on every backend of the engine: the expected numbers, and the same numbers everywhere. */

import { beforeAll, describe, expect, test } from 'vitest'
import { type HostTensor, liveHandles, toFloat32 } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import type { BackendName, Engine } from '../src/engine/types.js'
import { encodeModel } from '../src/graph/proto/encode.js'
import { caseFeeds, caseGraph } from '../src/graph/testing/case-model.js'
import { ALL_OP_CASES, type OpCase, outputMask, toHostTensor } from '../src/graph/testing/op-cases.js'

/** Largest |a - b| / max(1, |b|) where a case names none. */
const TOLERANCE = 1e-5

const results = new Map<string, readonly (HostTensor | undefined)[]>()

// ffi first: see src/engine/backends.test.ts.
describe.each<BackendName>(['ffi', 'node', 'web'])('%s', (backend) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await openEngine({ backend, threads: 2 })
  })

  test.each(ALL_OP_CASES.map((each) => [`${each.op}: ${each.case.name}`, each] as const))('%s', async (name, each) => {
    const outputs = await runCase(engine, each.op, each.case)
    each.case.expected?.forEach((expected, i) => {
      if (expected) expectClose(outputs[i]!, toHostTensor(expected), each.case.tolerance ?? TOLERANCE)
    })
    const elsewhere = results.get(name)
    if (elsewhere)
      for (const [i, output] of outputs.entries())
        if (output) expectClose(output, elsewhere[i]!, each.case.tolerance ?? TOLERANCE)
        else results.set(name, outputs)
    expect(liveHandles()).toEqual({})
  })
})

async function runCase(
  engine: Engine,
  op: (typeof ALL_OP_CASES)[number]['op'],
  opCase: OpCase,
): Promise<(HostTensor | undefined)[]> {
  const session = await engine.createSession({ bytes: await encodeModel(caseGraph(op, opCase)) })
  const feeds = Object.fromEntries(
    Object.entries(caseFeeds(opCase)).map(([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data)]),
  )
  try {
    const outputs = await session.run(feeds)
    return outputMask(opCase).map((_, i) => {
      const output = outputs[`y${i}`]
      if (!output) return undefined
      const { dtype, dims, data } = output
      output.dispose()
      return { dtype, dims, data }
    })
  } finally {
    for (const tensor of Object.values(feeds)) tensor.dispose()
    session.dispose()
  }
}

function expectClose(got: HostTensor, expected: HostTensor, tolerance: number): void {
  expect(got.dtype).toBe(expected.dtype)
  expect(got.dims).toEqual(expected.dims)
  const [a, b] = [toFloat32(got.dtype, got.data), toFloat32(expected.dtype, expected.data)]
  for (let i = 0; i < b.length; i++)
    if (!(Math.abs(a[i]! - b[i]!) <= tolerance * Math.max(1, Math.abs(b[i]!))))
      expect.fail(`element ${i}: expected ${b[i]} ± ${tolerance}, got ${a[i]}`)
}

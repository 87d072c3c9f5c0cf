/** Six bits in the file: the graph expands them to exactly the 8-bit blocks that are meant, with no new operator. */

import { expect, test } from 'vitest'
import { bytesOf, normalSource } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import { censusOf, GraphBuilder, tensorFrom } from '../src/graph/index.js'
import { linear, quantiseBlocks6 } from '../src/models/index.js'
import { openGraph } from '../src/parity/graphs.js'

const OUT = 48

test.each([64, 100, 256])('%i inputs: bit for bit the product with unpacked codes', async (inner) => {
  const data = Float32Array.from({ length: OUT * inner }, normalSource(inner))
  const weight = {
    name: 'w',
    dims: [OUT, inner],
    float32: (rows = { from: 0, to: OUT }) => data.slice(rows.from * inner, rows.to * inner),
  }
  const blocks = Math.ceil(inner / 32)
  const { codes, scales } = quantiseBlocks6(weight)
  const unpacked = Uint8Array.from({ length: OUT * blocks * 32 }, (_, i) => {
    const [at, j] = [(i >> 5) * 24, i & 31]
    const part = (k: number) => codes[at + (j & 7) + 8 * k]! >> 6
    return 4 * (j < 24 ? codes[at + j]! & 63 : part(0) + 4 * part(1) + 16 * part(2))
  })
  const packed = new GraphBuilder('packed')
  const x = packed.input('x', 'float32', ['B', inner])
  packed.output('y', linear(packed, x, weight, 'int6-b32', 'product'))
  const plain = new GraphBuilder('plain')
  const inputs = [
    plain.input('x', 'float32', ['B', inner]),
    plain.initializer('w', tensorFrom('uint8', [OUT, blocks, 32], unpacked)),
    plain.initializer('s', tensorFrom('float32', [scales.length], Float32Array.from(scales))),
  ]
  plain.output(
    'y',
    plain.op('MatMulNBits', inputs, { K: inner, N: OUT, bits: 8, block_size: 32, accuracy_level: 4 }, 'y0'),
  )

  const engine = await openEngine()
  using rows = engine.tensor('float32', [3, inner], Float32Array.from({ length: 3 * inner }, normalSource(1)))
  const results: Uint8Array[] = []
  for (const graph of [packed.build(), plain.build()]) {
    using session = await openGraph(engine, graph)
    using y = (await session.run({ x: rows })).y!
    results.push(bytesOf(y.data).slice())
  }
  expect(results[0]).toEqual(results[1])
  expect(Object.keys(censusOf([packed.build()]).counts).sort()).toEqual([
    'Add',
    'Concat',
    'Div',
    'Mul',
    'Split',
    'com.microsoft.MatMulNBits',
  ])
})

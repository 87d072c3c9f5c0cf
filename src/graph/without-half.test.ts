/** Half precision stored, float32 computed. */

import { expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { DTYPES, toHalf } from '../core/dtypes.js'
import { bytesOf } from '../core/tensor.js'
import { openEngine } from '../engine/index.js'
import { GraphBuilder } from './builder.js'
import { encodeModel } from './proto/encode.js'
import { tensorFrom } from './tensors.js'
import { withoutHalf } from './without-half.js'

/** x · 1024 · 1024 / 1024 in halves: beyond 65504 on the way. */
function halves() {
  const g = new GraphBuilder('halves')
  const x = g.op('Cast', [g.input('x', 'float32', ['N'])], { to: DTYPES.float16.onnx }, 'x16')
  const factor = g.initializer('factor', tensorFrom('float16', [1], toHalf(Float32Array.of(1024))))
  const large = g.op('Mul', [g.op('Mul', [x, factor]), factor])
  g.output('y', g.op('Cast', [g.op('Div', [large, factor])], { to: DTYPES.float32.onnx }, 'y32'))
  return g.build()
}

test('weights stay halves, everything else is float32, and nothing is infinite on the way', async () => {
  const graph = withoutHalf(halves())
  expect([...graph.initializers.values()].map(({ dtype }) => dtype)).toEqual(['float16'])
  const other = [...graph.values.values()].filter(
    ({ name, dtype }) => dtype === 'float16' && graph.initializers.has(name),
  )
  expect(other).toEqual([])
  const engine = await openEngine()
  {
    using session = await engine.createSession({ bytes: await encodeModel(graph) })
    using x = engine.tensor('float32', [2], Float32Array.of(100, 0.5))
    const { y } = await session.run({ x })
    using found = y!
    expect([...(found.data as Float32Array)]).toEqual([102400, 512])
  }
  expect(liveHandles()).toEqual({})
})

test('tensors in attributes are widened, a graph without halves is as it was', () => {
  const half = tensorFrom('float16', [1], toHalf(Float32Array.of(1.5)))
  const graph = halves()
  const node = { ...graph.nodes[0]!, attributes: { value: half, to: DTYPES.float16.onnx, axis: DTYPES.float16.onnx } }
  const [, wide] = withoutHalf({ ...graph, nodes: [node] }).nodes
  const { value, to, axis } = wide!.attributes as { value: typeof half; to: number; axis: number }
  expect(value).toMatchObject({ dtype: 'float32', dims: [1], byteLength: 4 })
  expect(value.bytes()).toEqual(bytesOf(Float32Array.of(1.5)))
  expect([to, axis]).toEqual([DTYPES.float32.onnx, DTYPES.float16.onnx])
  const g = new GraphBuilder('plain')
  g.output('y', g.op('Abs', [g.input('x', 'float32', [1])]))
  expect(withoutHalf(g.build())).toEqual(g.build())
})

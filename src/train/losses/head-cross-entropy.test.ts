/** The composite against a product and a loss of their own, on the same numbers; a tied table too. */

import { expect, test } from 'vitest'
import { randomSource } from '../../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import { encodeModel } from '../../graph/index.js'
import { type Program, stepGraph } from '../step-graph.js'
import { crossEntropy } from './cross-entropy.js'
import { headCrossEntropy } from './head-cross-entropy.js'

const [N, C, V] = [7, 5, 11]
const random = randomSource(3)
const numbers = (count: number, scale = 1) => Float32Array.from({ length: count }, () => (2 * random() - 1) * scale)
const feeds: Record<string, HostTensor> = {
  'p/x': hostTensor('float32', [N, C], numbers(N * C) as never),
  'p/head': hostTensor('float32', [V, C], numbers(V * C, 3) as never),
  targets: int64Tensor([N], [3, 0, 10, 3, 3, 7, 0]),
  weights: hostTensor('float32', [N], Float32Array.of(0.3, 0.1, 0, 0.2, 0.1, 0.2, 0.1) as never),
}
const SHAPES = [
  { name: 'x', dims: [N, C] },
  { name: 'head', dims: [V, C] },
]

async function run(program: Program): Promise<Record<string, Float32Array>> {
  const engine = await openEngine()
  using session = await engine.createSession({
    bytes: await encodeModel(stepGraph('loss', SHAPES, program, 'gradients')),
  })
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data)]),
  )
  const outputs = await session.run(inputs)
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data }]) => [name, Float32Array.from(data as Float32Array)]),
  )
}

/** `tied`: the loss also depends on rows of the head that are looked up, as embeddings are. */
const program =
  (composite: boolean, tied: boolean): Program =>
  (tape, parameter) => {
    const { g } = tape
    const [x, head] = [parameter('x'), parameter('head')]
    const [targets, weights] = [g.input('targets', 'int64', [N]), g.input('weights', 'float32', [N])]
    const rows = tied ? g.op('Add', [x, g.op('Gather', [head, targets], { axis: 0 })]) : x
    const scope = g.scope('loss')
    const plain = () => crossEntropy(tape, scope, g.op('FusedMatMul', [rows, head], { transB: 1 }), targets, weights)
    return { loss: composite ? headCrossEntropy(tape, scope, rows, head, targets, weights) : plain() }
  }

test.each([false, true])('loss and gradients are those of its parts (tied: %s)', async (tied) => {
  const [whole, parts] = [await run(program(true, tied)), await run(program(false, tied))]
  for (const [name, expected] of Object.entries(parts)) {
    const most = Math.max(...expected.map(Math.abs))
    expected.forEach((value, i) => {
      expect(Math.abs(whole[name]![i]! - value), `${name}[${i}]`).toBeLessThan(2e-6 * most)
    })
  }
})

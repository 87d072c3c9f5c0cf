/** How long a step will take, told from its products and from how fast this machine multiplies right now. */

import { hostTensor } from '../core/tensor.js'
import type { Engine } from '../engine/types.js'
import { encodeModel, type Graph, GraphBuilder, tensorFrom } from '../graph/index.js'
import { sizeEvaluator } from './memory.js'

/** Kinds of products that cost differently. */
type ProductKind = 'float' | 'int8' | 'blocks'

const KINDS: Readonly<Record<string, ProductKind>> = Object.freeze({
  MatMul: 'float',
  FusedMatMul: 'float',
  Conv: 'float',
  DynamicQuantizeMatMul: 'int8',
  MatMulNBits: 'blocks',
})

/** Everything that is no product, as a share on top: measured on TinyLlama (bench/results). */
const OVERHEAD = 1.25

/** Multiply-accumulates of a run, by kind. */
export function productMacs(graph: Graph, sizes: Readonly<Record<string, number>>): Record<ProductKind, number> {
  const evaluate = sizeEvaluator(sizes)
  const macs = { float: 0, int8: 0, blocks: 0 }
  for (const { op, inputs, outputs, attributes } of graph.nodes) {
    const kind = KINDS[op]
    const [x, y] = [graph.values.get(inputs[0]!), graph.values.get(outputs[0]!)]
    if (!kind || !x || !y) continue
    const count = y.dims.reduce<number>((product, dim) => product * evaluate(dim), 1)
    const turned = attributes.transA === 1
    const inner = op === 'Conv' ? convolutionInner(graph, inputs[1]!) : evaluate(x.dims.at(turned ? -2 : -1)!)
    macs[kind] += count * inner
  }
  return macs
}

const convolutionInner = (graph: Graph, weight: string): number =>
  (graph.values.get(weight)?.dims.slice(1) ?? []).reduce<number>((product, dim) => product * Number(dim), 1)

const [ROWS, SIDE] = [256, 1024]

/** Multiply-accumulates a second of a product of this kind; blocks count as half of int8. */
async function measure(engine: Engine, kind: 'float' | 'int8'): Promise<number> {
  const g = new GraphBuilder('speed')
  const x = g.input('x', 'float32', [ROWS, SIDE])
  const weight = (dtype: 'float32' | 'int8') => {
    const data = dtype === 'int8' ? new Int8Array(SIDE * SIDE).fill(3) : new Float32Array(SIDE * SIDE).fill(0.01)
    return g.initializer('weight', tensorFrom(dtype, [SIDE, SIDE], data as never))
  }
  const scales = () => g.initializer('scales', tensorFrom('float32', [SIDE], new Float32Array(SIDE).fill(1) as never))
  const y =
    kind === 'float'
      ? g.op('MatMul', [x, weight('float32')])
      : g.op('DynamicQuantizeMatMul', [x, weight('int8'), scales(), undefined, undefined])
  g.output('y', y)
  using session = await engine.createSession({ bytes: await encodeModel(g.build()) })
  const { data } = hostTensor(
    'float32',
    [ROWS, SIDE],
    new Float32Array(ROWS * SIDE).map((_, i) => (i % 7) - 3) as never,
  )
  using input = engine.tensor('float32', [ROWS, SIDE], data)
  const times: number[] = []
  for (let i = 0; i < 9; i++) {
    const started = performance.now()
    const { y: out } = await session.run({ x: input })
    times.push(performance.now() - started)
    out!.dispose()
  }
  times.sort((a, b) => a - b)
  return (ROWS * SIDE * SIDE) / (times[4]! / 1000)
}

/** Seconds of one run of `graph` at these sizes, on this machine under its present load. */
export async function estimateSeconds(
  engine: Engine,
  graph: Graph,
  sizes: Readonly<Record<string, number>>,
): Promise<number> {
  const macs = productMacs(graph, sizes)
  const float = macs.float ? macs.float / (await measure(engine, 'float')) : 0
  const quantised = macs.int8 + 2 * macs.blocks
  const int8 = quantised ? quantised / (await measure(engine, 'int8')) : 0
  return (float + int8) * OVERHEAD
}

/** The machine's own peak: plain fp32 MatMul with constant weights through the same engine, the best of a few shapes. */

import { normalSource } from '../../dist/core/random.js'
import { encodeModel, GraphBuilder, tensorFrom } from '../../dist/graph/index.js'
import { timed } from './timed.mjs'

/** [rows, inner, columns]: the square one of the issue, smaller ones, and those of ViT-H. */
export const PEAK_SHAPES = Object.freeze([
  [2048, 2048, 2048],
  [1024, 1024, 1024],
  [512, 2048, 2048],
  [257, 1280, 5120],
  [257, 5120, 1280],
])

/** @param shapes [rows, inner, columns] each. @returns `measure(macs)`: GFLOP/s of each shape, each repeated until it has done about `macs`; `best`, the largest; `dispose` */
export async function openPeak(engine, shapes = PEAK_SHAPES) {
  const products = []
  for (const [rows, inner, columns] of shapes) {
    const g = new GraphBuilder('peak')
    const w = g.initializer('w', tensorFrom('float32', [inner, columns], normal(inner * columns)))
    g.output('y', g.op('MatMul', [g.input('x', 'float32', [rows, inner]), w], {}, 'product'))
    const session = await engine.createSession({ bytes: await encodeModel(g.build()) })
    // Bound, as inside a graph: fresh memory for each result would cost up to a third of the time.
    const binding = session.bind()
    const tensors = [
      engine.tensor('float32', [rows, inner], normal(rows * inner)),
      engine.tensor('float32', [rows, columns]),
    ]
    binding.bindInput('x', tensors[0])
    binding.bindOutput('y', tensors[1])
    products.push({
      name: `${rows}×${inner}×${columns}`,
      macs: rows * inner * columns,
      binding,
      owned: [binding, session, ...tensors],
    })
  }
  return {
    async measure(macs) {
      const measured = {}
      for (const { name, macs: each, binding } of products) {
        const count = Math.max(1, Math.round(macs / each))
        const { ms, cpuMs } = await timed(async () => {
          for (let i = 0; i < count; i++) await binding.run()
        })
        measured[name] = { gflops: rate(count * each, ms), cpuGflops: rate(count * each, cpuMs) }
      }
      const largest = (key) => Math.max(...Object.values(measured).map((shape) => shape[key]))
      return { shapes: measured, gflops: largest('gflops'), cpuGflops: largest('cpuGflops') }
    },
    dispose() {
      for (const { owned } of products) for (const each of owned) each.dispose()
    },
  }
}

/** 2 floating-point operations each. */
export const rate = (macs, ms) => (2 * macs) / ms / 1e6

function normal(count) {
  const next = normalSource(count)
  return Float32Array.from({ length: count }, next)
}

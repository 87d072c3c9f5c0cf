/** The 15 M LLaMA in our trainer, one process. `node full-worker.mjs <threads> [profile prefix]` */

import { performance } from 'node:perf_hooks'
import { openEngine } from '../../dist/engine/index.js'
import { encodeModel } from '../../dist/graph/index.js'
import { scalarsAt } from '../../dist/train/schedule.js'
import { StepSession, TrainingState } from '../../dist/train/state.js'
import { openPeak } from '../lib/peak.mjs'
import { peakMb, serve } from './child.mjs'
import { OPTIMISER, storiesBatch, storiesStep } from './stories.mjs'

const [threads, profilePrefix] = process.argv.slice(2)
let open
let step = 0

await serve({
  async load() {
    const started = performance.now()
    const engine = await openEngine({ backend: 'ffi', threads: Number(threads) })
    const { graph, parameters, abi } = storiesStep('adamw')
    const initial = new Map(parameters.map(({ name, initial: first }) => [name, first()]))
    const state = new TrainingState(engine, parameters, initial)
    const options = { memoryPattern: false, ...(profilePrefix ? { profilePrefix } : {}) }
    const session = await engine.createSession({ bytes: await encodeModel(graph) }, options)
    open = { engine, abi, session, steps: new StepSession(engine, session, state) }
    return {
      version: `ONNX Runtime ${engine.version}`,
      loadMs: performance.now() - started,
      nodes: graph.nodes.length,
      operatorTypes: new Set(graph.nodes.map(({ op }) => op)).size,
      parameters: state.parameterCount,
    }
  },
  async train({ count, rows, length }) {
    const [ms, losses] = [[], []]
    for (let i = 0; i < count; i++, step++) {
      const batch = storiesBatch(open.abi, step, rows, length)
      const started = performance.now()
      const { loss } = await open.steps.run(batch, scalarsAt(OPTIMISER, step, Number.POSITIVE_INFINITY))
      ms.push(performance.now() - started)
      losses.push(loss)
    }
    return { ms, losses, peakMb: peakMb() }
  },
  /** GFLOP/s of plain products through the same engine, each repeated to about `macs`. */
  async peak({ shapes, macs }) {
    if (!open.peak) {
      open.peak = await openPeak(open.engine, shapes)
      // Once, so that the memory of the results is there.
      await open.peak.measure(0)
    }
    const { shapes: measured } = await open.peak.measure(macs)
    return Object.fromEntries(Object.entries(measured).map(([name, { gflops }]) => [name, gflops]))
  },
  profile: () => open.session.endProfiling(),
})

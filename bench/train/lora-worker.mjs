/** A LoRA on the backbone of `lite`, one process: `node lora-worker.mjs <threads> <{ form, kind, recompute, movedB }>` */

import { rmSync, writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { randomSource } from '../../dist/core/random.js'
import { openEngine } from '../../dist/engine/index.js'
import { backboneBatch } from '../../dist/train/backbone/batch.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from '../../dist/train/schedule.js'
import { StepSession, TrainingState } from '../../dist/train/state.js'
import { memoryMb } from '../lib/memory.mjs'
import { peakMb, serve } from './child.mjs'
import { loraStep } from './lora-forms.mjs'

const [threads, words] = process.argv.slice(2)
const { form, kind, ...options } = JSON.parse(words)
let open
let step = 0

const batchOf = (rows) =>
  backboneBatch(
    rows.map((ids) => ({ ids, labels: ids })),
    { promptTokens: 0, prefixTokens: 0, kvHeads: open.abi.kvHeads, headWidth: open.abi.headWidth },
  )

await serve({
  async load() {
    const started = performance.now()
    const engine = await openEngine({ backend: 'ffi', threads: Number(threads) })
    const { path, shapes, initial, abi, nodes, digest } = await loraStep(form, kind, options)
    const session = await engine.createSession(
      { path },
      { memoryPattern: false, prepacking: form !== 'fp32' && form !== 'source' },
    )
    // It is mapped by now, and its name is not needed.
    rmSync(path)
    const state = new TrainingState(engine, shapes, initial)
    open = { engine, session, state, shapes, abi }
    if (kind === 'adamw') open.steps = new StepSession(engine, session, state)
    const loadMs = performance.now() - started
    return { loadMs, nodes, digest, parameters: state.parameterCount, ...(memoryMb() ?? {}), peakMb: peakMb() }
  },

  /** Steps on seeded tokens. */
  async train({ count, rows, length }) {
    const [ms, losses] = [[], []]
    for (let i = 0; i < count; i++, step++) {
      const next = randomSource(1000 + step)
      const ids = Array.from({ length: rows }, () => Array.from({ length }, () => 3 + Math.floor(30_000 * next())))
      const batch = batchOf(ids)
      const started = performance.now()
      losses.push((await open.steps.run(batch, scalarsAt(OPTIMISER_DEFAULTS, step, 1000))).loss)
      ms.push(performance.now() - started)
    }
    return { ms, losses, peakMb: peakMb() }
  },

  /** Loss and all gradients of these rows; the gradients, one after the other, in a file of float32. */
  async gradients({ rows, path }) {
    const { engine, session, state, shapes } = open
    const feeds = { ...Object.fromEntries(shapes.map(({ name }) => [`p/${name}`, state.tensors.get(`p/${name}`)])) }
    for (const [name, { dtype, dims, data }] of Object.entries(batchOf(rows)))
      feeds[name] = engine.tensor(dtype, dims, data)
    const results = await session.run(feeds)
    const chunks = shapes.map(({ name }) => Buffer.from(results[`gradient/${name}`].data.slice().buffer))
    writeFileSync(path, Buffer.concat(chunks))
    const tensors = shapes.map(({ name }, i) => ({ name, count: chunks[i].length / 4 }))
    return { loss: results.loss.data[0], tensors, peakMb: peakMb() }
  },
})

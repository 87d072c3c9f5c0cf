/**
 * Training where the engine is onnxruntime-web: the bytes of one graph of gradients run there and natively, and AdamW on the host
 * gives the curve of AdamW in the graph.
 */

import { afterAll, expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { randomSource } from '../core/random.js'
import { type BackendName, openEngine } from '../engine/index.js'
import { abiOf } from '../firmware/describe.js'
import { encodeModel, type Graph } from '../graph/index.js'
import { ARCHITECTURES, type ModuleOptions } from '../models/index.js'
import { initialValues, trainedOf } from './backbone/adapter.js'
import { backboneBatch } from './backbone/batch.js'
import { backboneProgram, trainedShapes } from './backbone/program.js'
import { HostStepSession } from './host-optimiser.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from './schedule.js'
import { StepSession, TrainingState } from './state.js'
import { stepGraph } from './step-graph.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

const CONFIG = {
  vocabulary: 96,
  width: 48,
  feedForward: 80,
  layers: 2,
  heads: 3,
  kvHeads: 3,
  headWidth: 16,
  contextLength: 32,
  normEpsilon: 1e-5,
  ropeTheta: 1e4,
}
const OPTIONS: ModuleOptions = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: ['qkv', 'o'] }
const STEPS = 10
const OPTIMISER = { ...OPTIMISER_DEFAULTS, lr: 2e-2 }

const { llama } = ARCHITECTURES
const abi = abiOf(llama.adapters!(CONFIG, OPTIONS))
const trained = trainedOf(abi, { kind: 'lora', parts: ['q', 'v', 'o'], rank: 4, rsLora: false, tokens: 0 })
const shapes = trainedShapes(abi, trained)
const initial = initialValues(abi, trained, 1)
const graphs = llama.graphs(CONFIG, llama.random(CONFIG, 1), OPTIONS) as Record<'embed' | 'decode', () => Graph>
const program = backboneProgram({ embed: graphs.embed(), decode: graphs.decode() }, abi, trained)

/** Rows of unequal length: the shorter ones are padded. */
function batchAt(step: number) {
  const next = randomSource(step)
  const rows = [9, 12, 5].map((length) => {
    const ids = Array.from({ length }, () => Math.floor(next() * CONFIG.vocabulary))
    return { ids, labels: ids }
  })
  return backboneBatch(rows, { promptTokens: 0, prefixTokens: 0, kvHeads: abi.kvHeads, headWidth: abi.headWidth })
}

interface Curve {
  readonly losses: readonly number[]
  readonly norms: readonly number[]
}

type Stepper = typeof StepSession | typeof HostStepSession

async function curveOf(backend: BackendName, bytes: Uint8Array, Session: Stepper): Promise<Curve> {
  const engine = await openEngine({ backend })
  using state = new TrainingState(engine, shapes, initial)
  using session = new Session(engine, await engine.createSession({ bytes }, { memoryPattern: false }), state)
  const [losses, norms]: [number[], number[]] = [[], []]
  for (let step = 0; step < STEPS; step++) {
    const { loss, gradientNorm } = await session.run(batchAt(step % 2), scalarsAt(OPTIMISER, step, STEPS))
    losses.push(loss)
    norms.push(gradientNorm!)
  }
  return { losses, norms }
}

const apart = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))

test('a LoRA of a small LLaMA learns alike: AdamW in the native graph, on the host natively, on the host with wasm', async () => {
  const whole = await encodeModel(stepGraph('step', shapes, program, 'adamw'))
  const gradients = await encodeModel(stepGraph('step', shapes, program, 'gradients'))
  const inGraph = await curveOf('ffi', whole, StepSession)
  const onHost = await curveOf('ffi', gradients, HostStepSession)
  const onWeb = await curveOf('web', gradients, HostStepSession)
  // It learns, and clipping takes part.
  expect(inGraph.losses.at(-1)).toBeLessThan(inGraph.losses[1]! - 0.1)
  expect(Math.max(...inGraph.norms)).toBeGreaterThan(OPTIMISER.clip)
  for (const other of [onHost, onWeb]) {
    expect(apart(other.losses, inGraph.losses)).toBeLessThan(1e-4)
    expect(apart(other.norms, inGraph.norms)).toBeLessThan(1e-3)
  }
  // Not the same engine twice.
  expect(onWeb.losses).not.toEqual(onHost.losses)
})

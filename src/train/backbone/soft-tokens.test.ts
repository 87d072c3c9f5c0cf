/** A projection is learned through a frozen backbone: items of two kinds, told apart by their features alone. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { normalSource } from '../../core/random.js'
import { hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import { buildFirmware } from '../../firmware/build.js'
import { type Image, openImage } from '../../firmware/image.js'
import { findRecipe } from '../../firmware/recipes.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from '../schedule.js'
import { StepSession, TrainingState } from '../state.js'
import { stepGraph } from '../step-graph.js'
import { backboneBatch, IGNORED } from './batch.js'
import { backboneProgram } from './program.js'
import { type SoftTokens, softTokenShapes } from './soft-tokens.js'
import { openWorkspace } from './workspace.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-soft-'))
let image: Image
beforeAll(async () => {
  await buildFirmware(findRecipe('tiny-random'), { out: join(folder, 'image') })
  image = await openImage(join(folder, 'image'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const FEATURES = 6

test.each<[string, SoftTokens]>([
  ['one layer, one token', { features: FEATURES, tokens: 1 }],
  ['two layers, three tokens', { features: FEATURES, tokens: 3, hidden: 8 }],
])('%s', async (_, soft) => {
  const { abi } = image.manifest
  const engine = await openEngine()
  const workspace = await openWorkspace(image, { home: folder })
  const trained = { kind: 'full' } as const
  const shapes = softTokenShapes(abi, soft)
  const frozen = workspace.frozen ? { frozen: workspace.frozen } : {}
  const graph = stepGraph('soft', shapes, backboneProgram(workspace.graphs, abi, trained, { ...frozen, soft }), 'adamw')
  const normal = normalSource(1)
  const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
  const initial = new Map(
    shapes.map(({ name, dims }) => [name, Float32Array.from({ length: size(dims) }, () => normal() * 0.1)]),
  )
  using state = new TrainingState(engine, shapes, initial)
  const session = await engine.createSession({ path: await workspace.write('soft', graph) }, { memoryPattern: false })
  using step = new StepSession(engine, session, state)
  // Row: begin, soft tokens (any id stands for them), a word; the answer is told by the features alone.
  const [T, n] = [soft.tokens + 3, soft.tokens]
  const kinds = [0, 1, 0, 1]
  const rows = kinds.map((kind) => {
    const ids = [1, ...new Array<number>(n).fill(0), 9, 20 + kind]
    return { ids, labels: ids.map((id, t) => (t === T - 1 ? id : IGNORED)) }
  })
  const features = kinds.flatMap((kind, i) =>
    Array.from({ length: FEATURES }, (__, e) => (kind ? 1 : -1) * (e % 2 ? 1 : -1) + 0.1 * Math.sin(i + e)),
  )
  const slots = kinds.flatMap((__, b) => Array.from({ length: n }, (___, i) => b * T + 1 + i))
  const batch = {
    ...backboneBatch(rows, { promptTokens: 0, prefixTokens: 0, kvHeads: abi.kvHeads, headWidth: abi.headWidth }),
    features: hostTensor('float32', [kinds.length, FEATURES], Float32Array.from(features) as never),
    slots: int64Tensor([slots.length], slots),
  }
  const losses: number[] = []
  for (let i = 0; i < 150; i++) {
    const scalars = scalarsAt({ ...OPTIMISER_DEFAULTS, lr: 0.05, schedule: 'constant' }, i, 150)
    losses.push((await step.run(batch, scalars)).loss)
  }
  // Below ln 2 the two answers are told apart, which only the features can do.
  expect(losses[0]).toBeGreaterThan(3)
  expect(losses.at(-1)).toBeLessThan(0.5)
})

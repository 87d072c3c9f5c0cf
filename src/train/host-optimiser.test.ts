/** AdamW on the host against the graph's, on the same gradients. */

import { afterAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { normalSource } from '../core/random.js'
import { openEngine } from '../engine/index.js'
import { encodeModel } from '../graph/index.js'
import { updateOnHost } from './host-optimiser.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from './schedule.js'
import { StepSession, TrainingState } from './state.js'
import { optimiserGraph } from './step-graph.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

const SHAPES = [
  { name: 'a', dims: [7, 5] },
  { name: 'b/c', dims: [11] },
]
const STEPS = 12

const normals = (count: number, seed: number, scale = 1): Float32Array => {
  const next = normalSource(seed)
  return Float32Array.from({ length: count }, () => scale * next())
}
const countOf = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
const initial = () => new Map(SHAPES.map(({ name, dims }, i) => [name, normals(countOf(dims), i + 1)]))
/** Of one step; every third is so large that it is clipped. */
const gradientsAt = (step: number) =>
  new Map(
    SHAPES.map(
      ({ name, dims }, i) => [name, normals(countOf(dims), 100 * step + i, step % 3 === 0 ? 5 : 0.05)] as const,
    ),
  )

describe.each([
  ['plain', { lr: 1e-2 }],
  ['decay, warm-up, other betas', { lr: 3e-2, decay: 0.3, warmupSteps: 4, beta1: 0.8, beta2: 0.999, epsilon: 1e-6 }],
  ['never clipped', { lr: 1e-2, clip: 1e9 }],
])('%s', (_, given) => {
  const options = { ...OPTIMISER_DEFAULTS, ...given }

  test('parameters, moments and norms are the graph’s', async () => {
    const engine = await openEngine()
    const model = await engine.createSession({ bytes: await encodeModel(optimiserGraph('update', SHAPES)) })
    using native = new TrainingState(engine, SHAPES, initial(), { sums: true })
    using update = new StepSession(engine, model, native)
    using host = new TrainingState(engine, SHAPES, initial())
    let clipped = 0
    for (let step = 0; step < STEPS; step++) {
      const gradients = gradientsAt(step)
      for (const [name, gradient] of gradients)
        (native.sums.get(`state/sum/${name}`)!.data as Float32Array).set(gradient)
      const scalars = scalarsAt(options, step, STEPS)
      const { gradientNorm } = await update.run({}, scalars)
      const norm = updateOnHost(host, gradients, scalars)
      expect(Math.abs(norm / gradientNorm! - 1)).toBeLessThan(1e-6)
      if (norm > options.clip) clipped++
    }
    expect(clipped).toBe(options.clip > 1 ? 0 : 4)
    for (const [name, { data }] of host.tensors) {
      const theirs = native.tensors.get(name)!.data as Float32Array
      const largest = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
      ;(data as Float32Array).forEach((x, i) => {
        expect(Math.abs(x - theirs[i]!), `${name} ${i}`).toBeLessThan(2e-6 * largest)
      })
    }
    expect(host.parameter('a')).not.toEqual(initial().get('a'))
  })
})

test('a gradient that is missing or of another size is refused before anything is written', async () => {
  using state = new TrainingState(await openEngine(), SHAPES, initial())
  const scalars = scalarsAt(OPTIMISER_DEFAULTS, 0, 10)
  for (const wrong of [
    new Map([...gradientsAt(1)].slice(0, 1)),
    new Map(gradientsAt(1)).set('b/c', new Float32Array(3)),
  ]) {
    expect(() => updateOnHost(state, wrong, scalars)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    for (const [name, data] of initial()) expect(state.parameter(name)).toEqual(data)
  }
})

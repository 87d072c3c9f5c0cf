/** ImageBind's vision tower (ViT-H, 632 M weights): fp32 beside int8 plans and the machine's peak, and how far they agree. */

import { normalSource } from '../../dist/core/random.js'
import { openPeak, rate } from './peak.mjs'
import { randomModel } from './random-models.mjs'
import { say } from './say.mjs'
import { timed } from './timed.mjs'

/** The first is what the others are compared with. */
const PLANS = Object.freeze({
  fp32: { default: 'fp32' },
  w8a8: { default: 'w8a8' },
  'int8-b128': { default: 'int8-b128' },
})

export const VIT_PROTOCOL = Object.freeze({
  model: 'ImageBind vision, 32 layers of 1280, a picture of 224 dots as one clip; RANDOM weights',
  plans: PLANS,
  peak: 'fp32 MatMul with constant weights in the same process and round, results in bound memory, repeated to a quarter of the model’s work each; the shape that is best over all rounds is the peak; CPU time counts both threads, also waiting ones',
  gflops: 'two operations a multiply-accumulate, counted from the graph (frames of a still picture twice, as it runs)',
  pictures: 8,
})

const SIZES = { B: 1, Q: 1, '?': 1 }
const DIMS = [1, 1, 3, 1, 224, 224]

export async function vit({ engine, rounds, data, save }) {
  const peak = await openPeak(engine)
  const models = []
  try {
    for (const [name, plan] of Object.entries(PLANS)) {
      const { path, bytes, weights, macs } = await randomModel('imagebind-vision', 'encode', plan, SIZES)
      const { result: session, ms } = await timed(() => engine.createSession({ path }))
      models.push({ name, macs, session })
      data.models ??= {}
      data.models[name] = { bytes, weights, macs, loadMs: ms }
      say(`vit: loaded ${name}`)
    }
    data.agreement ??= await agreement(engine, models)
    data.rounds ??= []
    while (data.rounds.length < rounds) {
      const { macs } = models[0]
      const taken = { peak: await peak.measure(macs / 4) }
      for (const { name, session } of models) {
        const pixels = picture(engine, data.rounds.length)
        const { ms, cpuMs } = await timed(() => embed(session, pixels))
        taken[name] = { ms, gflops: rate(macs, ms), cpuGflops: rate(macs, cpuMs) }
      }
      data.rounds.push(taken)
      save()
      const shown = models.map(({ name }) => `${name} ${taken[name].ms.toFixed(0)} ms`).join(' · ')
      say(`vit: round ${data.rounds.length} of ${rounds}: peak ${taken.peak.gflops.toFixed(0)} GFLOP/s · ${shown}`)
    }
  } finally {
    peak.dispose()
    for (const { session } of models) session.dispose()
  }
}

/** Cosine of each plan's embedding to fp32's, by picture. Warms the sessions up too. */
async function agreement(engine, [exact, ...others]) {
  const cosines = Object.fromEntries(others.map(({ name }) => [name, []]))
  for (let i = 0; i < VIT_PROTOCOL.pictures; i++) {
    const pixels = picture(engine, i)
    const expected = await embed(exact.session, pixels)
    for (const { name, session } of others) cosines[name].push(cosine(expected, await embed(session, pixels)))
  }
  return cosines
}

async function embed(session, pixels) {
  const { embedding } = await session.run({ pixels }, ['embedding'])
  const values = embedding.data.slice()
  embedding.dispose()
  return values
}

/** Even pictures are noise, odd ones waves of random directions under a little noise; normalised as CLIP's are. */
function picture(engine, seed) {
  const next = normalSource(1000 + seed)
  const smooth = seed % 2
  const waves = Array.from({ length: 3 }, () => [next() / 12, next() / 12, next()])
  const values = new Float32Array(3 * 224 * 224)
  for (let c = 0, i = 0; c < 3; c++)
    for (let y = 0; y < 224; y++)
      for (let x = 0; x < 224; x++, i++) {
        const wave = waves.reduce((sum, [dy, dx, phase]) => sum + Math.sin(dy * y + dx * x + phase * (c + 1)), 0)
        values[i] = smooth ? 0.6 * wave + 0.1 * next() : next()
      }
  return engine.tensor('float32', DIMS, values)
}

function cosine(a, b) {
  let dot = 0
  let aa = 0
  let bb = 0
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i]
    aa += a[i] * a[i]
    bb += b[i] * b[i]
  }
  return dot / Math.sqrt(aa * bb)
}

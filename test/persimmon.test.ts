/** The Persimmon decoder and Fuyu's pictures against a plain implementation in float64, at toy size. No public golden exists. */

import { expect, test } from 'vitest'
import { randomSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { architecture, type PersimmonConfig, type Weights } from '../src/models/index.js'
import { EXACT, openGraph } from '../src/parity/graphs.js'
import { Context } from '../src/runtime/context.js'
import { cacheShape } from '../src/runtime/kv-cache.js'
import { FUYU_TOY, FUYU_TOY_CONFIG, fuyuCheckpoint, fuyuReference } from './helpers/fuyu-reference.js'

const VOCABULARY = 40
const { layers: LAYERS, feedForward: FEED, headWidth: HEAD } = FUYU_TOY
const METADATA = { config: { ...FUYU_TOY_CONFIG, max_position_embeddings: 64 } }

const TENSORS = fuyuCheckpoint(VOCABULARY)
const REFERENCE = fuyuReference(TENSORS)
const WEIGHTS: Weights = new Map(
  [...TENSORS].map(([name, { dims, data }]) => {
    const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
    const float32 = (rows?: { from: number; to: number }) =>
      rows ? data.subarray(rows.from * perRow, rows.to * perRow) : data
    return [name, { name, dims, float32 }] as const
  }),
)

const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

async function openModel() {
  const model = architecture('persimmon')
  const config = model.configure({ format: 'safetensors', metadata: METADATA, weights: WEIGHTS }) as PersimmonConfig
  const graphs = model.graphs(config as never, model.weights(config as never, WEIGHTS), EXACT)
  const engine = await openEngine()
  const [embed, decode, patches] = await Promise.all(
    ['embed', 'decode', 'patches'].map((purpose) => openGraph(engine, graphs[purpose]!())),
  )
  const { width, vocabulary, contextLength } = config
  const context = new Context({
    engine,
    embed: embed!,
    decode: decode!,
    width,
    vocabulary,
    contextLength,
    cache: cacheShape(decode!.inputs),
    places: [],
  })
  const dispose = () => {
    context.dispose()
    for (const session of [embed!, decode!, patches!]) session.dispose()
  }
  return { config, engine, context, patches: patches!, [Symbol.dispose]: dispose }
}

test('logits of a prompt and of the steps behind it', async () => {
  using model = await openModel()
  expect(model.config).toMatchObject({
    layers: LAYERS,
    rotaryWidth: 8,
    patchWidth: 27,
    feedForward: FEED,
    headWidth: HEAD,
  })
  const ids = [3, 17, 0, 39, 8, 8, 21, 5]
  const wanted = REFERENCE.logits(REFERENCE.embeddings(ids))
  const got: number[][] = []
  await model.context.evaluateAll(ids.slice(0, 5), (logits, from) => {
    for (let row = 0; row * VOCABULARY < logits.length; row++)
      got[from + row] = Array.from(logits.subarray(row * VOCABULARY, (row + 1) * VOCABULARY))
  })
  for (const id of ids.slice(5)) got.push(Array.from(await model.context.step(id)))
  for (const [t, row] of got.entries()) expect(distance(row, wanted[t]!)).toBeLessThan(2e-4)
  // The same heads turned as a whole are another model.
  expect(distance(got.at(-1)!, REFERENCE.logits(REFERENCE.embeddings(ids), HEAD).at(-1)!)).toBeGreaterThan(0.01)
})

test('a picture: padded to whole patches, cut row by row, normalised', async () => {
  using model = await openModel()
  const [height, width] = [5, 7]
  const uniform = randomSource(9)
  const dots = Uint8Array.from({ length: height * width * 3 }, () => Math.floor(uniform() * 256))
  using picture = model.engine.tensor('uint8', [height, width, 3], dots)
  const { embeddings, grid } = await model.patches.run({ picture })
  using rows = embeddings!
  using sizes = grid!
  expect(Array.from(sizes.data as BigInt64Array, Number)).toEqual([2, 3])
  const wanted = REFERENCE.patches({ data: dots, width, height })
  expect(distance(rows.data as Float32Array, wanted.flat())).toBeLessThan(1e-5)
})

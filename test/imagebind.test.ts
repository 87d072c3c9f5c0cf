/** ImageBind's graphs on the engine: adapters, clips, frames, lengths, tuned heads; and that typical mistakes are found. */

import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readImageBindLora, usableAdapter } from '../src/adapters/index.js'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { normalSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import type { Engine, Tensor } from '../src/engine/types.js'
import { weightsOf } from '../src/firmware/build.js'
import type { Graph } from '../src/graph/index.js'
import {
  type ImageBindConfig,
  imagebindConfig,
  imagebindGraph,
  imagebindHeadGraph,
  imagebindRandom,
  imagebindWeights,
  type WeightTensor,
} from '../src/models/index.js'
import { openCase } from '../src/parity/case.js'
import { EXACT, openGraph } from '../src/parity/graphs.js'
import { bindLora, loraPlaces } from '../src/runtime/adapter-binding.js'

const TINY = {
  width: 16,
  heads: 2,
  layers: 2,
  feedForward: 64,
  joint: 8,
  maxScale: 100,
  normEpsilon: 1e-6,
  stemNormEpsilon: 1e-5,
}
const VISION: ImageBindConfig = {
  ...TINY,
  modality: 'vision',
  positions: 5,
  stem: { kind: 'patches', channels: 3, frames: 2, kernel: 4, stride: 4, height: 8, width: 8 },
}
const TEXT: ImageBindConfig = { ...TINY, modality: 'text', positions: 12, stem: { kind: 'tokens', vocabulary: 40 } }
const IMU: ImageBindConfig = {
  ...TINY,
  modality: 'imu',
  positions: 6,
  stem: { kind: 'windows', channels: 6, kernel: 8, step: 8, samples: 40 },
}

let engine: Engine
beforeAll(async () => {
  engine = await openEngine()
})

type Feed = readonly [dims: readonly number[], values: readonly number[] | Float32Array]
type Weights = ReadonlyMap<string, WeightTensor>

const owned: Tensor[] = []
afterAll(() => {
  for (const tensor of owned) tensor.dispose()
})

async function run(graph: Graph, feeds: Readonly<Record<string, Feed>>): Promise<Record<string, Float32Array>> {
  using session = await openGraph(engine, graph)
  const tensors = Object.entries(feeds).map(([name, [dims, values]]) => {
    const int = session.inputs.find((input) => input.name === name)!.dtype === 'int64'
    const tensor = int
      ? engine.tensor('int64', dims, BigInt64Array.from(values as number[], BigInt))
      : engine.tensor('float32', dims, Float32Array.from(values))
    owned.push(tensor)
    return [name, tensor] as const
  })
  const outputs = await session.run(Object.fromEntries(tensors))
  return Object.fromEntries(
    Object.entries(outputs).map(([name, output]) => {
      using held = output
      return [name, Float32Array.from(held.data as Float32Array)]
    }),
  )
}

const normal = (seed: number, count: number) => {
  const next = normalSource(seed)
  return Float32Array.from({ length: count }, next)
}

const graphOf = (config: ImageBindConfig, weights: Weights = imagebindRandom(config, 7), adapters = false) =>
  imagebindGraph(config, weights, { ...EXACT, adapters })

/** An adapter of each layer, as the graph takes it. [B, C, R], [B, R, C] */
const loraFeeds = (config: ImageBindConfig, rows: number, rank: number, seed = 1): Record<string, Feed> =>
  Object.fromEntries(
    Array.from({ length: config.layers }, (_, l) => [
      [`lora/layers.${l}/attn/A`, [[rows, config.width, rank], normal(seed + l, rows * config.width * rank)]],
      [`lora/layers.${l}/attn/B`, [[rows, rank, config.width], normal(seed + l + 50, rows * config.width * rank)]],
    ]).flat() as [string, Feed][],
  )

const pixels = (items: number, clips: number, frames: number, seed = 3): Feed => [
  [items, clips, 3, frames, 8, 8],
  normal(seed, items * clips * 3 * frames * 64),
]
const ids = [
  [39, 4, 9, 12, 1, 0],
  [5, 8, 39, 2, 0, 0],
]
const text = (length: number): Record<string, Feed> => ({
  ids: [[2, length], ids.flatMap((row) => [...row, ...new Array(length - row.length).fill(0)])],
  causal: [[2], [1, 1]],
})

const close = (a: Float32Array, b: Float32Array, digits = 5) => {
  expect(a.length).toBe(b.length)
  for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i]!, digits)
}

describe('adapters as inputs', () => {
  test.each([
    ['vision', VISION, { pixels: pixels(2, 3, 2) }],
    ['text', TEXT, text(12)],
  ] as const)('%s: rank 0 is the base, bit for bit', async (_, config, feeds) => {
    const base = await run(graphOf(config), feeds)
    const adapted = await run(graphOf(config, undefined, true), { ...feeds, ...loraFeeds(config, 1, 0) })
    expect(adapted).toEqual(base)
  })

  test('each item of a batch may have its own', async () => {
    const graph = graphOf(VISION, undefined, true)
    const [dims, data] = pixels(2, 3, 2)
    const lora = loraFeeds(VISION, 2, 2)
    const both = await run(graph, { pixels: [dims, data], ...lora })
    for (const item of [0, 1]) {
      const half = (values: Feed[1]) => values.slice((item * values.length) / 2, ((item + 1) * values.length) / 2)
      const own = Object.entries(lora).map(([name, [shape, values]]): [string, Feed] => [
        name,
        [[1, ...shape.slice(1)], half(values)],
      ])
      const alone = await run(graph, { pixels: [[1, ...dims.slice(1)], half(data)], ...Object.fromEntries(own) })
      close(half(both.embedding!) as Float32Array, alone.embedding!)
    }
  })
})

describe('inputs', () => {
  test('a picture is two equal frames', async () => {
    const [, one] = pixels(1, 1, 1) as [unknown, Float32Array]
    const twice = new Float32Array(2 * one.length)
    for (let c = 0; c < 3; c++) for (const f of [0, 1]) twice.set(one.subarray(c * 64, (c + 1) * 64), (2 * c + f) * 64)
    const graph = graphOf(VISION)
    const picture = await run(graph, { pixels: [[1, 1, 3, 1, 8, 8], one] })
    expect(picture).toEqual(await run(graph, { pixels: [[1, 1, 3, 2, 8, 8], twice] }))
  })

  test('clips are averaged behind the normalisation', async () => {
    const { embedding, head } = await run(graphOf(VISION), { pixels: pixels(2, 3, 2) })
    const expected = Float32Array.from({ length: 16 }, (_, i) => {
      const [item, e] = [Math.floor(i / 8), i % 8]
      const clips = [0, 1, 2].map((q) => head!.slice((item * 3 + q) * 8, (item * 3 + q + 1) * 8))
      return clips.reduce((sum, clip) => sum + clip[e]! / Math.hypot(...clip) / 3, 0)
    })
    close(embedding!, expected)
  })

  test('text needs no padding', async () => {
    const graph = graphOf(TEXT)
    close((await run(graph, text(6))).embedding!, (await run(graph, text(12))).embedding!, 4)
  })

  test('windows may overlap, those that are missing are zero', async () => {
    const overlapping: ImageBindConfig = {
      ...IMU,
      positions: 9,
      stem: { ...IMU.stem, step: 2, samples: 16 } as ImageBindConfig['stem'],
    }
    const { embedding } = await run(graphOf(overlapping), { motion: [[1, 6, 16], normal(4, 96)] })
    expect(embedding!.every(Number.isFinite)).toBe(true)
  })
})

test('a head of its own needs no build', async () => {
  const weights = imagebindRandom(IMU, 7)
  const tuned = imagebindRandom(IMU, 8)
  const motion: Record<string, Feed> = { motion: [[2, 6, 40], normal(4, 480)] }
  const { token } = await run(graphOf(IMU, weights), motion)
  const part = (name: string): Feed => [tuned.get(name)!.dims, tuned.get(name)!.float32()]
  const scale = Math.min(Math.exp(tuned.get('logScale')!.float32()[0]!), 100)
  const got = await run(imagebindHeadGraph(IMU), {
    token: [[2, 1, 16], token!],
    norm: part('norm'),
    'norm/bias': part('norm/bias'),
    'head/weight': part('head'),
    scale: [[], [scale]],
  })
  const rebuilt = new Map(weights)
  for (const name of ['norm', 'norm/bias', 'head', 'logScale']) rebuilt.set(name, tuned.get(name)!)
  const expected = await run(graphOf(IMU, rebuilt), motion)
  close(got.embedding!, expected.embedding!)
  close(got.head!, expected.head!)
})

describe('mistakes are found in the golden', () => {
  const folder = fileURLToPath(new URL('goldens/imagebind-lora-text', import.meta.url))

  /** Largest difference of the adapted embedding, in tolerances. */
  async function distance(change: {
    config?: Partial<ImageBindConfig>
    weights?: (weights: Weights) => Weights
    causal?: number
    adapter?: boolean
  }): Promise<number> {
    using golden = openCase(folder)
    using checkpoint = openCheckpoint(golden.checkpointPath())
    const all = weightsOf(checkpoint)
    const facts = { format: checkpoint.format, metadata: { config: golden.config }, weights: all }
    const found = { ...imagebindConfig('text', facts), ...change.config }
    const own = imagebindWeights(found, all)
    using session = await openGraph(engine, graphOf(found, change.weights?.(own) ?? own, true))
    const file = golden.files.find((entry) => entry.file.includes('lora'))!.file
    const adapter = usableAdapter(readImageBindLora(golden.path(file), found, golden.config.layers as number[]))
    using lora = bindLora(engine, loraPlaces(session.inputs), change.adapter === false ? undefined : adapter)
    const tokens = golden.input('tokens')
    using fed = engine.tensor('int64', tokens.dims, tokens.data as BigInt64Array<ArrayBuffer>)
    using causal = engine.tensor(
      'float32',
      [tokens.dims[0]!],
      new Float32Array(tokens.dims[0]!).fill(change.causal ?? 0),
    )
    const outputs = await session.run({ ids: fed, causal, ...Object.fromEntries(lora.tensors) }, ['embedding'])
    using embedding = outputs.embedding!
    const spec = golden.outputs.find(({ name }) => name === 'embedding')!
    const expected = golden.expected(spec).data as Float32Array
    return Math.max(
      ...Array.from(
        embedding.data as Float32Array,
        (got, i) => Math.abs(got - expected[i]!) / (spec.atol + spec.rtol * Math.abs(expected[i]!)),
      ),
    )
  }

  const swapped = (one: string, other: string) => (weights: Weights) =>
    new Map(
      [...weights.keys()].map((name) => {
        const source = name.includes(`attn/${one}`)
          ? name.replace(`attn/${one}`, `attn/${other}`)
          : name.replace(`attn/${other}`, `attn/${one}`)
        return [name, weights.get(source)!]
      }),
    )

  test('none: within tolerance', async () => expect(await distance({})).toBeLessThan(1))
  test.each([
    ['q and k swapped', { weights: swapped('q', 'k') }],
    ['other heads', { config: { heads: 2 } }],
    ['the mask kept', { causal: 1 }],
    ['the adapter ignored', { adapter: false }],
    ['the scale not cut', { config: { maxScale: 1e6 } }],
    ['another epsilon, ten times beyond the reference', { config: { normEpsilon: 1e-3 } }],
  ])('%s', async (_, change) => expect(await distance(change)).toBeGreaterThan(5))
})

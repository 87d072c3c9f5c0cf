/** Each head learns a small task that it can solve, the same way each time, and refuses what does not fit. */

import { afterAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../../core/disposal.js'
import { M4Error } from '../../core/errors.js'
import { normalSource, randomSource } from '../../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { GraphBuilder } from '../../graph/index.js'
import { mlpHeadConfig, mlpHeadGraph, mlpHeadWeights, type WeightTensor } from '../../models/index.js'
import { type Box, type LabelledBox, overlap } from '../../runtime/patch-heads/index.js'
import { Tape } from '../autodiff/tape.js'
import {
  attachHead,
  boxHead,
  boxTargets,
  classifierHead,
  classifierTensors,
  countingHead,
  HEADS,
  initialValues,
  keyPointHead,
  mattingHead,
  openHead,
  retrievalHead,
  segmentationHead,
  type TaskHead,
} from './index.js'
import { answer, type LearnOptions, learn, made, openTestGraph } from './testing/learn.js'

afterAll(() => {
  expect(liveHandles()).toEqual({})
})

/** Trains twice; the runs are equal bit for bit, another seed is another run. */
async function learnTwice(head: TaskHead, batch: Record<string, HostTensor>, options: LearnOptions) {
  const first = await learn(head, batch, options)
  const second = await learn(head, batch, options)
  expect(second.losses).toEqual(first.losses)
  for (const [name, data] of first.parameters) expect(second.parameters.get(name)).toEqual(data)
  const other = await learn(head, batch, { ...options, seed: 2, steps: 1 })
  expect(other.losses[0]).not.toBe(first.losses[0])
  return { ...first, last: first.losses.at(-1)! }
}

describe('classifier', () => {
  // Exclusive or of two signs: no single layer can.
  const next = normalSource(7)
  const count = 64
  const features = made([count, 4], next)
  const labels = int64Tensor(
    [count],
    Array.from({ length: count }, (_, i) => Number(features.data[4 * i]! * features.data[4 * i + 1]! > 0)),
  )
  const config = { in: 4, hidden: [16], classes: 2, activation: 'gelu' } as const

  test('learns exclusive or with a layer between, and not without', async () => {
    const head = classifierHead(config)
    const { last, parameters } = await learnTwice(head as TaskHead, { features, labels }, { steps: 200, lr: 0.03 })
    expect(last).toBeLessThan(0.05)
    const answers = await answer(head, parameters, features)
    expect(answers.map(({ label }) => label)).toEqual(Array.from(labels.data, Number))
    const flat = classifierHead({ ...config, hidden: [] })
    const linear = await learn(flat as TaskHead, { features, labels }, { steps: 200, lr: 0.03 })
    expect(linear.losses.at(-1)).toBeGreaterThan(0.5)
  })

  test("its file is a device's own head", async () => {
    const head = classifierHead(config)
    const parameters = initialValues(head.parameters, 3)
    const tensors = classifierTensors(config, parameters)
    expect(Object.keys(tensors)).toEqual(['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias'])
    const weights = new Map<string, WeightTensor>(
      Object.entries(tensors).map(([name, { dims, data }]) => [name, { name, dims, float32: () => data }]),
    )
    const facts = { format: 'safetensors', metadata: { config: { activation: 'gelu' } }, weights } as const
    const found = mlpHeadConfig(facts)
    const graph = mlpHeadGraph(found, mlpHeadWeights(found, weights), { default: 'fp32' })
    const { engine, session } = await openTestGraph(graph)
    using _ = session
    using fed = engine.tensor('float32', features.dims, features.data)
    const { probabilities } = await session.run({ features: fed })
    using result = probabilities!
    const own = (await answer(head, parameters, features)).flatMap((each) => [...each.probabilities])
    own.forEach((p, i) => {
      expect(p).toBeCloseTo((result.data as Float32Array)[i]!, 5)
    })
  })

  test('class weights, smoothing and labels that do not count', async () => {
    const marked = int64Tensor(
      [count],
      Array.from(labels.data, (label, i) => (i % 2 ? -100 : Number(label))),
    )
    const head = classifierHead({ ...config, classWeights: [1, 3], smoothing: 0.1 })
    const { last } = await learnTwice(head as TaskHead, { features, labels: marked }, { steps: 150, lr: 0.03 })
    expect(last).toBeLessThan(0.25) // a tenth of each label is elsewhere: 0.199 at best
  })
})

/** Pictures of 4 x 4 patches whose features say a class, in a code of 8 numbers, with noise. */
const GRID = { rows: 4, columns: 4 }
const PATCHES = 16
const WIDTH = 8
const codes = made([6, WIDTH], normalSource(11))
const coded = (classes: readonly number[][], noise = 0.05, seed = 5) => {
  const next = normalSource(seed)
  return made([classes.length, PATCHES, WIDTH], (i) => {
    const [item, patch, c] = [Math.floor(i / (PATCHES * WIDTH)), Math.floor(i / WIDTH) % PATCHES, i % WIDTH]
    return codes.data[classes[item]![patch]! * WIDTH + c]! + noise * next()
  })
}
const chosen = (items: number, classes: number, seed = 3) => {
  const next = randomSource(seed)
  return Array.from({ length: items }, () => Array.from({ length: PATCHES }, () => Math.floor(next() * classes)))
}

describe('pixels', () => {
  const size = 8
  /** Left halves of pictures are of one class, right halves of another. */
  const halves = Array.from({ length: 8 }, (_, item) =>
    Array.from({ length: PATCHES }, (_, patch) => (patch % 4 < 2 ? item % 3 : (item + 1) % 3)),
  )
  const pixelClass = (item: number, pixel: number) =>
    halves[item]![Math.floor(pixel / size / 2) * 4 + Math.floor((pixel % size) / 2)]!

  test('segmentation: classes with a border between', async () => {
    const head = segmentationHead({ ...GRID, in: WIDTH, height: size, width: size, classes: 3 })
    const truth = Array.from({ length: 8 * size * size }, (_, i) =>
      pixelClass(Math.floor(i / (size * size)), i % (size * size)),
    )
    const labels = int64Tensor(
      [8, size, size],
      truth.map((label, i) => (i % 17 ? label : -100)),
    )
    const features = coded(halves)
    const { last, parameters } = await learnTwice(head as TaskHead, { features, labels }, { steps: 200, lr: 0.05 })
    expect(last).toBeLessThan(0.1)
    const answers = await answer(head, parameters, features)
    const wrong = truth.filter((label, i) => answers[Math.floor(i / 64)]!.labels[i % 64] !== label)
    expect(wrong).toEqual([])
  })

  test('matting: shares between patches', async () => {
    const head = mattingHead({ ...GRID, in: WIDTH, height: size, width: size })
    const classes = chosen(8, 2)
    // What a perfect layer would give: logits of ±3, linear between patches.
    const ideal = await answer(head, idealMatte(), coded(classes, 0))
    const alpha = made([8, 1, size, size], (i) => ideal[Math.floor(i / 64)]!.alpha[i % 64]!)
    const features = coded(classes, 0.01)
    const { losses, last, parameters } = await learnTwice(
      head as TaskHead,
      { features, alpha },
      { steps: 200, lr: 0.05 },
    )
    expect(losses[0]).toBeGreaterThan(0.8)
    const answers = await answer(head, parameters, features)
    const errors = answers.flatMap((each, i) => Array.from(each.alpha, (a, p) => Math.abs(a - ideal[i]!.alpha[p]!)))
    expect(Math.max(...errors)).toBeLessThan(0.05)
    // The entropy of the soft edges is left.
    const entropy = (a: number) => -a * Math.log(a) - (1 - a) * Math.log(1 - a)
    const least = alpha.data.reduce((sum, a) => sum + entropy(a), 0) / alpha.data.length
    expect(last).toBeLessThan(least + 0.02)
  })

  /** w·code₀ = −3, w·code₁ = 3. */
  function idealMatte() {
    const dot = (a: number, b: number) =>
      Array.from({ length: WIDTH }, (_, c) => codes.data[a * WIDTH + c]! * codes.data[b * WIDTH + c]!).reduce(
        (x, y) => x + y,
      )
    const [aa, ab, bb] = [dot(0, 0), dot(0, 1), dot(1, 1)]
    const determinant = aa * bb - ab * ab
    const [u, v] = [(-3 * bb - 3 * ab) / determinant, (3 * aa + 3 * ab) / determinant]
    const weight = Float32Array.from({ length: WIDTH }, (_, c) => u * codes.data[c]! + v * codes.data[WIDTH + c]!)
    return new Map([
      ['pixels', weight],
      ['pixels/bias', new Float32Array(1)],
    ])
  }
})

test('key points: where a code lies, hidden points not counted', async () => {
  const head = keyPointHead({ ...GRID, in: WIDTH, points: 2, sigma: 0.3 })
  const places = Array.from({ length: 12 }, (_, item) => [(item * 5) % 16, (item * 7 + 3) % 16] as const)
  const features = coded(
    places.map(([a, b]) => Array.from({ length: PATCHES }, (_, patch) => (patch === a ? 1 : patch === b ? 2 : 0))),
    0.01,
  )
  const centre = (patch: number) => [((patch % 4) + 0.5) / 4, (Math.floor(patch / 4) + 0.5) / 4]
  const clash = places.map(([a, b]) => a === b)
  const points = made([12, 2, 2], (i) => centre(places[Math.floor(i / 4)]![Math.floor(i / 2) % 2]!)[i % 2]!)
  const visible = made([12, 2], (i) => (clash[Math.floor(i / 2)] ? 0 : 1))
  const { last, parameters } = await learnTwice(
    head as TaskHead,
    { features, points, visible },
    { steps: 300, lr: 0.05 },
  )
  expect(last).toBeLessThan(0.1)
  const answers = await answer(head, parameters, features)
  answers.forEach((found, item) => {
    if (clash[item]) return
    found.forEach(({ x, y, confidence }, k) => {
      const [wantedX, wantedY] = centre(places[item]![k]!)
      expect(Math.hypot(x - wantedX!, y - wantedY!)).toBeLessThan(0.03) // a patch is 0.25 wide
      expect(confidence).toBeGreaterThan(0.8)
    })
  })
})

test('counting: none, one or three a patch', async () => {
  const head = countingHead({ ...GRID, in: WIDTH })
  const classes = chosen(16, 3)
  const objects = [0, 1, 3]
  const density = made([16, PATCHES], (i) => objects[classes[Math.floor(i / PATCHES)]![i % PATCHES]!]!)
  const features = coded(classes, 0.01)
  const { last, parameters } = await learnTwice(head as TaskHead, { features, density }, { steps: 300, lr: 0.05 })
  expect(last).toBeLessThan(0.1)
  const answers = await answer(head, parameters, features)
  answers.forEach(({ count, density: found }, item) => {
    const truth = classes[item]!.reduce((sum, each) => sum + objects[each]!, 0)
    expect(Math.abs(count - truth)).toBeLessThan(0.5)
    expect(found.reduce((a, b) => a + b)).toBeCloseTo(count, 3)
  })
})

describe('boxes', () => {
  const config = {
    ...GRID,
    in: WIDTH,
    classes: 2,
    anchors: [
      [0.3, 0.3],
      [0.5, 0.25],
    ],
  } as const
  const head = boxHead(config)
  /** Codes 1 to 4 stand for a class and a size. */
  const KINDS: readonly { label: number; size: readonly [number, number] }[] = [
    { label: 0, size: [0.25, 0.25] },
    { label: 0, size: [0.35, 0.3] },
    { label: 1, size: [0.5, 0.2] },
    { label: 1, size: [0.25, 0.25] },
  ]
  const layout = Array.from({ length: 12 }, (_, item) =>
    Array.from({ length: PATCHES }, (_, patch) => {
      if (patch === [5, 6, 9][item % 3]) return 1 + (item % 4)
      return patch === 15 && item % 2 ? 4 : 0
    }),
  )
  const objects = layout.map((patches) =>
    patches.flatMap((kind, patch): LabelledBox[] => {
      if (!kind) return []
      const { label, size } = KINDS[kind - 1]!
      const [x, y] = [((patch % 4) + 0.5) / 4 - size[0] / 2, (Math.floor(patch / 4) + 0.5) / 4 - size[1] / 2]
      return [{ label, box: [x, y, ...size] as const }]
    }),
  )

  test('finds every object, of the right class and size, once', async () => {
    const features = coded(layout, 0.01)
    const batch = { features, ...boxTargets(config, objects) }
    const { losses, last, parameters } = await learnTwice(head as TaskHead, batch, { steps: 400, lr: 0.05 })
    expect(losses[0]).toBeGreaterThan(1)
    expect(last).toBeLessThan(0.1)
    const answers = await answer(head, parameters, features)
    answers.forEach((found, item) => {
      expect(found).toHaveLength(objects[item]!.length)
      for (const { label, box } of objects[item]!)
        expect(found.some((each) => each.label === label && overlap(each.box, box) > 0.8)).toBe(true)
    })
  })

  test('anchors: the best finds its object, near ones are left out, the rest find nothing', () => {
    const small: LabelledBox = { label: 1, box: [0.4, 0.4, 0.02, 0.02] }
    const { labels, offsets } = boxTargets(config, [[small], []])
    const found = Array.from(labels.data as BigInt64Array, Number)
    expect(found.filter((label) => label === 1)).toHaveLength(1)
    expect(found.slice(32).every((label) => label === -1)).toBe(true)
    const at = found.indexOf(1)
    expect(offsets.data[at * 4 + 2]).toBeCloseTo(5 * Math.log(0.02 / 0.3), 4)
    const near = boxTargets({ ...config, positiveFrom: 0.9, negativeBelow: 0.1 }, [
      [{ label: 0, box: [0.3, 0.3, 0.3, 0.3] }],
    ])
    expect(Array.from(near.labels.data as BigInt64Array, Number)).toContain(-100)
  })

  test.each([
    [{ label: 0, box: [0.9, 0.1, 0.2, 0.1] as Box }, /shares of the picture/],
    [{ label: 0, box: [0.1, 0.1, 0, 0.1] as Box }, /with an area/],
    [{ label: 2, box: [0.1, 0.1, 0.1, 0.1] as Box }, /0 to 1/],
  ])('%j is refused', (object, message) => {
    expect(() => boxTargets(config, [[object]])).toThrow(message)
  })
})

test('retrieval: finds the pair of each of 32 items, with a learned and with a fixed scale', async () => {
  const next = normalSource(13)
  const pair = made([32, 6], next)
  const mix = made([6, 10], next)
  const features = made([32, 10], (i) => {
    const [item, c] = [Math.floor(i / 10), i % 10]
    return Array.from({ length: 6 }, (_, e) => pair.data[item * 6 + e]! * mix.data[e * 10 + c]!).reduce((a, b) => a + b)
  })
  for (const fixed of [{}, { temperature: 0.07 }]) {
    const head = retrievalHead({ in: 10, out: 6, ...fixed })
    const { last, parameters } = await learnTwice(head as TaskHead, { features, pair }, { steps: 300, lr: 0.03 })
    expect(last).toBeLessThan(0.1)
    const embeddings = await answer(head, parameters, features)
    const unit = (row: ArrayLike<number>) => {
      const list = Array.from(row)
      const length = Math.hypot(...list)
      return list.map((x) => x / length)
    }
    const gallery = Array.from({ length: 32 }, (_, i) => unit(pair.data.subarray(i * 6, i * 6 + 6)))
    embeddings.forEach((embedding, i) => {
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5)
      const scores = gallery.map((each) => each.reduce((sum, x, e) => sum + x * embedding[e]!, 0))
      expect(scores.indexOf(Math.max(...scores))).toBe(i)
    })
  }
})

describe('what does not fit', () => {
  const head = classifierHead({ in: 4, hidden: [], classes: 2, activation: 'relu' }) as TaskHead
  const patches = countingHead({ ...GRID, in: 4 }) as TaskHead
  const attach = (to: TaskHead, dims: readonly (number | string)[]) => () => {
    const g = new GraphBuilder('test')
    const parameter = (name: string) =>
      g.input(`p/${name}`, 'float32', to.parameters.find((each) => each.name === name)!.dims)
    return attachHead(to, new Tape(g), g.input('features', 'float32', dims), parameter)
  }

  test('features', () => {
    expect(attach(head, ['B', 4])).not.toThrow()
    expect(attach(patches, ['B', 'T', 4])).not.toThrow()
    for (const wrong of [
      attach(head, ['B', 5]),
      attach(head, ['B', 16, 4]),
      attach(patches, ['B', 17, 4]),
      attach(patches, ['B', 4]),
    ])
      expect(wrong).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
  })

  test('outputs of another head', () => {
    const logits = hostTensor('float32', [3, 5])
    expect(() => head.decode({ logits })).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    expect(() => head.decode({})).toThrow(/got nothing/)
  })

  test('configurations', () => {
    const wrong = [
      () => classifierHead({ in: 0, hidden: [], classes: 2, activation: 'relu' }),
      () => classifierHead({ in: 4, hidden: [2.5], classes: 2, activation: 'relu' }),
      () => classifierHead({ in: 4, hidden: [], classes: 2, activation: 'relu', classWeights: [1] }),
      () => boxHead({ ...GRID, in: 4, classes: 1, anchors: [] }),
      () => retrievalHead({ in: 4, out: -1 }),
    ]
    for (const make of wrong) expect(make).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => openHead('clasifier' as never, {} as never)).toThrow(/classifier/)
    expect(Object.keys(HEADS)).toHaveLength(7)
    expect(() => openHead('counting', { ...GRID, in: 4 })).not.toThrow(M4Error)
  })
})

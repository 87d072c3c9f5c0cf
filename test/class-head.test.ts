/** Classes beside an encoder: the graph against plain float64, a state dict into a module, and `match` without labels. */

import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { hostTensor, liveHandles, normalSource } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import { buildFirmware, findRecipe, type Recipe } from '../src/firmware/index.js'
import { encodePng } from '../src/media/index.js'
import { architecture, type MlpHeadConfig, type Weights } from '../src/models/index.js'
import { EXACT, openGraph } from '../src/parity/graphs.js'
import { openFirmware } from '../src/runtime/index.js'

const LABELS = ['cat', 'dog', 'car']
const noise = (count: number, seed: number) => Float32Array.from({ length: count }, normalSource(seed))

/** Layers 32 → 24 → 16 → 3, numbered as a Sequential numbers them. */
const SIZES = [
  [24, 32],
  [16, 24],
  [3, 16],
] as const
const TENSORS = SIZES.flatMap(([out, inner], i) => [
  [
    `layers.${2 * i}.weight`,
    hostTensor(
      'float32',
      [out, inner],
      noise(out * inner, 2 * i + 1).map((v) => v / 3),
    ),
  ] as const,
  [
    `layers.${2 * i}.bias`,
    hostTensor(
      'float32',
      [out],
      noise(out, 2 * i + 2).map((v) => v / 5),
    ),
  ] as const,
])
const weightsOf = (tensors: typeof TENSORS): Weights =>
  new Map(tensors.map(([name, { dims, data }]) => [name, { name, dims, float32: () => data as Float32Array }]))
const configure = (tensors: typeof TENSORS, config: object) =>
  architecture('mlp-head').configure({
    format: 'safetensors',
    metadata: { config },
    weights: weightsOf(tensors),
  }) as MlpHeadConfig

/** Abramowitz and Stegun 7.1.26: error below 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x))
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  return Math.sign(x) * (1 - series * Math.exp(-x * x))
}
const ACTIVATIONS = {
  gelu: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  relu: (x: number) => Math.max(x, 0),
}

function reference(features: ArrayLike<number>, activation: keyof typeof ACTIVATIONS): number[] {
  let x = Array.from(features)
  for (const [i, [out, inner]] of SIZES.entries()) {
    const [weight, bias] = [TENSORS[2 * i]![1].data as Float32Array, TENSORS[2 * i + 1]![1].data as Float32Array]
    const y = Array.from({ length: out }, (_, o) => x.reduce((sum, v, c) => sum + v * weight[o * inner + c]!, bias[o]!))
    x = i < SIZES.length - 1 ? y.map(ACTIVATIONS[activation]) : y
  }
  const raised = x.map((v) => Math.exp(v - Math.max(...x)))
  const sum = raised.reduce((a, b) => a + b, 0)
  return raised.map((v) => v / sum)
}

describe('the graph', () => {
  test.each(['gelu', 'relu'] as const)('%s: probabilities as plain float64 gives them', async (activation) => {
    const model = architecture('mlp-head')
    const config = configure(TENSORS, { activation })
    expect(config).toEqual({ in: 32, hidden: [24, 16], classes: 3, activation })
    const weights = model.weights(config as never, weightsOf(TENSORS))
    const engine = await openEngine()
    using session = await openGraph(engine, model.graphs(config as never, weights, EXACT).head!())
    const rows = noise(4 * 32, 9)
    using features = engine.tensor('float32', [4, 32], rows)
    const { probabilities } = await session.run({ features })
    const got = [...(probabilities!.data as Float32Array)]
    probabilities!.dispose()
    const expected = Array.from({ length: 4 }, (_, b) => reference(rows.subarray(32 * b, 32 * b + 32), activation))
    expect(Math.max(...got.map((p, i) => Math.abs(p - expected.flat()[i]!)))).toBeLessThan(1e-6)
  })

  test('what the file does not say, or says wrongly', () => {
    expect(() => configure(TENSORS, {})).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    expect(configure(TENSORS.slice(0, 2), {})).toMatchObject({ in: 32, hidden: [], classes: 24 })
    const gap = [...TENSORS.slice(0, 2), ...TENSORS.slice(4)]
    expect(() => configure(gap, { activation: 'relu' })).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    expect(() => configure([], {})).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
  })
})

describe('beside an encoder', () => {
  let folder: string
  const source = (name: string, bytes: Uint8Array | string) => {
    const path = join(folder, name)
    writeFileSync(path, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { uris: [`file:${path}`], sha256, bytes: Buffer.byteLength(bytes), licence: 'CC0-1.0' }
  }
  const recipe = (name: string, labels: unknown): Recipe => {
    const toy = findRecipe('tiny-random')
    const head = {
      architecture: 'mlp-head',
      title: 'three classes',
      weights: source('head.safetensors', writeSafetensors(new Map(TENSORS))),
      config: { activation: 'gelu' },
      quantisation: { default: 'fp32' },
    } as const
    const files = { labels: source(`${name}.json`, JSON.stringify(labels)) }
    return {
      ...toy,
      name,
      modules: { ...toy.modules, IMG: { ...toy.modules.IMG!, graphs: { classify: head }, files } },
    }
  }
  const build = async (name: string, labels: unknown) =>
    (await buildFirmware(recipe(name, labels), { home: folder, offline: true })).path
  const picture = async (seed: number) => {
    const data = Uint8Array.from(noise(30 * 20 * 3, seed), (value) => 128 + 60 * value)
    return { picture: { file: await encodePng({ data, width: 30, height: 20 }) } }
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'm4-head-'))
  })
  afterAll(async () => {
    expect(liveHandles()).toEqual({})
    await rm(folder, { recursive: true, force: true })
  })

  test('match without labels is the head over the vectors of embed; with labels nothing changes', async () => {
    using firmware = await openFirmware(await build('heads', LABELS))
    const items = [await picture(1), await picture(2)]
    const { output, report } = await firmware.ask({ task: 'match', items })
    expect(report.modules.map(({ role }) => role)).toEqual(['IMG'])
    expect(report.stages.map(({ name }) => name)).toEqual(expect.arrayContaining(['encode', 'classify']))
    const { embeddings } = (await firmware.ask({ task: 'embed', items })).output
    for (const [i, { label, scores }] of output.matches.entries()) {
      const expected = reference(embeddings[i]!, 'gelu')
      for (const score of scores) expect(score.probability).toBeCloseTo(expected[LABELS.indexOf(score.label)]!, 5)
      expect(label).toBe(LABELS[expected.indexOf(Math.max(...expected))])
      expect(scores.map(({ probability }) => probability)).toEqual(
        scores.map(({ probability }) => probability!).sort((a, b) => b - a),
      )
    }
    const zeroShot = await firmware.ask({ task: 'match', items, labels: ['tree', 'boat'] })
    expect(zeroShot.report.modules.map(({ role }) => role)).toEqual(['IMG', 'TXT'])
    expect(zeroShot.output.matches[0]!.scores.every(({ similarity }) => similarity !== undefined)).toBe(true)
    for (const item of ['a text', { motion: { rows: [[1, 2, 3, 4, 5, 6]], sampleRateHz: 400 } }])
      await expect(firmware.ask({ task: 'match', items: [item] })).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
  })

  test('a part must not take the name of a graph that the encoder has', async () => {
    const { modules, ...rest } = recipe('taken', LABELS)
    const graphs = { head: modules.IMG!.graphs!.classify! }
    const taken = { ...rest, modules: { ...modules, IMG: { ...modules.IMG!, graphs } } }
    await expect(buildFirmware(taken, { home: folder, offline: true })).rejects.toMatchObject({ code: 'USAGE' })
  })

  test('labels that do not belong to the head', async () => {
    using firmware = await openFirmware(await build('few', LABELS.slice(1)))
    const asked = firmware.ask({ task: 'match', items: [await picture(1)] })
    await expect(asked).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    using other = await openFirmware(await build('odd', { cat: 0 }))
    await expect(other.ask({ task: 'match', items: [await picture(1)] })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
  })
})

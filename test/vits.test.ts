/** VITS of unusual shapes against a plain reference, on the engine; layouts that no golden has. */

import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint, writeSafetensors } from '../src/checkpoint/index.js'
import { normalSource } from '../src/core/random.js'
import { type HostTensor, int64Tensor } from '../src/core/tensor.js'
import { type Engine, openEngine } from '../src/engine/index.js'
import {
  type VitsConfig,
  vitsConfig,
  vitsEncodeGraph,
  vitsNames,
  vitsRandom,
  vitsSynthesiseGraph,
  vitsWeights,
  type Weights,
  type WeightTensor,
} from '../src/models/index.js'
import { openGraph } from '../src/parity/graphs.js'
import { runParity } from '../src/parity/index.js'
import { vitsReference } from './helpers/vits-reference.js'

const BASE: VitsConfig = {
  vocabulary: 12,
  width: 8,
  layers: 1,
  heads: 2,
  window: 3,
  sharedPositions: true,
  feedForward: 12,
  feedForwardKernel: 3,
  latentWidth: 6,
  durations: { kind: 'stochastic', width: 8, kernel: 3, separableLayers: 2, flows: 4, bins: 5, tailBound: 2 },
  coupling: { flows: 2, width: 6, layers: 2, kernel: 3, dilationRate: 1 },
  decoder: {
    width: 8,
    rates: [4, 2],
    kernels: [8, 4],
    blockKernels: [3, 5],
    dilations: [
      [1, 3],
      [1, 2],
    ],
    edgeKernels: [7, 7],
    slope: 0.1,
    outputBias: false,
  },
  speakers: 1,
  speakerWidth: 0,
  normEpsilon: 1e-5,
  sampleRateHz: 16_000,
  noiseScale: 0.667,
  durationNoiseScale: 0.8,
  speakingRate: 1,
}
const VOICES = { speakers: 5, speakerWidth: 7 }
const PLAIN = { kind: 'plain', width: 10, kernel: 3 } as const

const CASES: readonly (readonly [name: string, change: Partial<VitsConfig>, length: number])[] = [
  ['one symbol', {}, 1],
  ['fewer symbols than the window', {}, 3],
  ['as many as the window', {}, 7],
  ['no relative positions, one head', { window: 0, heads: 1 }, 5],
  ['positions of each head, even filters', { sharedPositions: false, feedForwardKernel: 4 }, 9],
  ['several voices, drawn durations', VOICES, 6],
  ['several voices, plain durations', { ...VOICES, durations: PLAIN }, 6],
  ['plain durations', { durations: PLAIN }, 6],
  ['an odd number of flips', { coupling: { flows: 3, width: 6, layers: 3, kernel: 5, dilationRate: 2 } }, 6],
  ['odd rates and filters', { decoder: { ...BASE.decoder, rates: [5, 3], kernels: [11, 6], outputBias: true } }, 4],
  ['filters as long as the stride', { decoder: { ...BASE.decoder, rates: [4, 2], kernels: [4, 2] } }, 4],
  ['three splines, four bins', { durations: { ...BASE.durations, flows: 3, bins: 4, tailBound: 0.7 } as never }, 8],
]

describe('against the plain reference', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await openEngine()
  })

  test.each(CASES)('%s', async (_, change, length) => {
    const config = { ...BASE, ...change }
    const weights = shaken(vitsRandom(config, 11))
    const normal = normalSource(5)
    const rows = (channels: number, columns: number) =>
      Array.from({ length: channels }, () => Float64Array.from({ length: columns }, () => Math.fround(normal())))
    const ids = Array.from({ length }, (_, i) => (i * 5 + 3) % config.vocabulary)
    const noise = rows(2, length)
    let priorNoise = rows(0, 0)
    const speaker = config.speakerWidth ? 3 : undefined
    const expected = vitsReference(config, weights, {
      ids,
      speaker,
      lengthScale: 1.5,
      noise,
      priorNoise: (frames) => {
        priorNoise = rows(config.latentWidth, frames)
        return priorNoise
      },
    })
    const plan = { default: 'fp32' } as const
    using encode = await openGraph(engine, vitsEncodeGraph(config, weights, plan))
    using synthesise = await openGraph(engine, vitsSynthesiseGraph(config, weights, plan))
    const flat = (signal: readonly Float64Array[]) =>
      engine.tensor(
        'float32',
        [1, signal.length, signal[0]!.length],
        Float32Array.from(signal.flatMap((row) => [...row])),
      )
    const integers = (dims: number[], values: number[]) => engine.tensor('int64', dims, int64Tensor(dims, values).data)
    const who = speaker === undefined ? {} : { speaker: integers([1], [speaker]) }
    const drawn = config.durations.kind === 'stochastic' ? { noise: flat(noise) } : {}
    const lengthScale = engine.tensor('float32', [], Float32Array.of(1.5))
    const { log_durations: log, ...encoded } = await encode.run({
      ids: integers([1, length], ids),
      length_scale: lengthScale,
      ...drawn,
      ...who,
    })
    expectNear(log!.data as Float32Array, expected.logDurations)
    expect(Array.from(encoded.durations!.data as BigInt64Array, Number)).toEqual(expected.durations)
    const spoken = await synthesise.run({ ...encoded, noise: flat(priorNoise), ...who })
    expectNear(
      spoken.latents!.data as Float32Array,
      expected.latents.flatMap((row) => [...row]),
    )
    expectNear(spoken.waveform!.data as Float32Array, expected.waveform)
  })
})

/** Every bias and norm away from its neutral value, so that none can be forgotten. */
function shaken(weights: Map<string, WeightTensor>): Map<string, WeightTensor> {
  let seed = 100
  for (const [name, tensor] of weights) {
    const normal = normalSource(seed++)
    if (name.endsWith('/bias') || name.endsWith('norm') || name.includes('affine')) {
      const data = tensor.float32().map((value) => value + 0.2 * normal())
      weights.set(name, { ...tensor, float32: ({ from, to } = { from: 0, to: data.length }) => data.slice(from, to) })
    }
  }
  return weights
}

function expectNear(got: Float32Array, expected: readonly number[]): void {
  expect(got.length).toBe(expected.length)
  const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i]!)), 0)
  expect(worst).toBeLessThan(2e-5)
}

describe('layouts', () => {
  const zeros = (dims: readonly number[]): WeightTensor => ({
    name: '',
    dims,
    float32: ({ from, to } = { from: 0, to: dims[0]! }) =>
      new Float32Array((to - from) * dims.slice(1).reduce((a, b) => a * b, 1)),
  })
  const checkpoint = (config: VitsConfig, layout: 'hf' | 'original', prefix = ''): Map<string, WeightTensor> =>
    new Map([...vitsNames(config, layout)].map(([, { name, dims }]) => [`${prefix}${name}`, zeros(dims)] as const))
  const facts = (weights: Weights, config: unknown) => ({ format: 'torch', metadata: { config }, weights })
  const many: VitsConfig = { ...BASE, ...VOICES }
  const json = {
    upsample_rates: many.decoder.rates,
    resblock_dilation_sizes: many.decoder.dilations,
    duration_predictor_tail_bound: 2,
  }

  test('VCTK: several voices in the original layout, the configuration below `model`', () => {
    const weights = checkpoint(many, 'original', 'model/')
    for (const name of ['emb_g.weight', 'dp.cond.weight', 'flow.flows.2.enc.cond_layer.weight', 'dec.cond.bias'])
      expect([...weights.keys()]).toContain(`model/${name}`)
    weights.set('optimizer/state/0/exp_avg', zeros([3]))
    weights.set('model/enc_q.pre.weight', zeros([3]))
    const config = vitsConfig(facts(weights, { model: { ...json, tail_bound: 2 }, data: { sampling_rate: 22_050 } }))
    expect(config).toEqual({ ...many, sampleRateHz: 22_050 })
    expect(vitsWeights(config, weights).size).toBe(weights.size - 2)
  })

  test('Hugging Face: voices and plain durations', () => {
    const plain: VitsConfig = { ...many, durations: PLAIN }
    const weights = checkpoint(plain, 'hf')
    for (const name of ['embed_speaker.weight', 'duration_predictor.cond.bias', 'decoder.cond.weight'])
      expect([...weights.keys()]).toContain(name)
    expect(vitsConfig(facts(weights, { ...json, sampling_rate: 16_000 }))).toEqual(plain)
    expect(vitsWeights(plain, weights).size).toBe(weights.size)
  })

  test('weight normalisation under both spellings', () => {
    const weights = checkpoint(BASE, 'hf')
    const name = 'flow.flows.0.wavenet.in_layers.1'
    const { dims } = weights.get(`${name}.weight`)!
    weights.delete(`${name}.weight`)
    const ones = (shape: readonly number[], value: number): WeightTensor => ({
      ...zeros(shape),
      float32: ({ from, to } = { from: 0, to: shape[0]! }) =>
        new Float32Array((to - from) * shape.slice(1).reduce((a, b) => a * b, 1)).fill(value),
    })
    weights.set(`${name}.parametrizations.weight.original0`, ones([dims[0]!, 1, 1], 3))
    weights.set(`${name}.parametrizations.weight.original1`, ones(dims, -2))
    const folded = vitsWeights(BASE, weights).get('flow/couplings.0/layers.1/in')!
    const perRow = dims[1]! * dims[2]!
    expect(folded.float32({ from: 1, to: 3 })).toEqual(new Float32Array(2 * perRow).fill(-3 / Math.sqrt(perRow)))
    weights.delete(`${name}.parametrizations.weight.original1`)
    expect(() => vitsWeights(BASE, weights)).toThrow(expect.objectContaining({ code: 'TENSOR_MISSING' }))
  })

  test('conditioning without a table of voices is left out', () => {
    const weights = checkpoint(BASE, 'original')
    weights.set('dec.cond.weight', zeros([8, 4, 1]))
    weights.set('flow.flows.0.enc.cond_layer.weight_g', zeros([8, 1, 1]))
    expect(vitsWeights(BASE, weights).size).toBe(weights.size - 2)
  })

  test('what is missing, unknown or of another shape is refused', () => {
    const weights = checkpoint(BASE, 'original')
    const config = { ...json }
    expect(() => vitsConfig(facts(weights, { ...config, upsample_rates: [4] }))).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID' }),
    )
    expect(() => vitsConfig(facts(weights, {}))).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    const extra = new Map(weights).set('dec.unknown', zeros([1]))
    expect(() => vitsWeights(BASE, extra)).toThrow(expect.objectContaining({ code: 'TENSOR_UNUSED' }))
    const bent = new Map(weights).set('dec.conv_pre.weight', zeros([8, 6, 5]))
    expect(() => vitsWeights(BASE, bent)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
    expect(() => vitsConfig(facts(new Map([['a', zeros([1])]]), {}))).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    )
  })
})

const GOLDEN = fileURLToPath(new URL('../../shared/goldens/vits-hf', import.meta.url))

describe.runIf(existsSync(GOLDEN))('the golden', () => {
  test.each(['node', 'web'] as const)('passes on %s, too', async (backend) => {
    expect(await runParity(GOLDEN, { engine: await openEngine({ backend }) })).toMatchObject({ pass: true })
  })

  const editJson = (folder: string, name: string, edit: (json: Record<string, unknown>) => unknown) => {
    const path = join(folder, name)
    writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8')))))
  }
  const editTensor = (
    folder: string,
    wanted: RegExp,
    edit: (data: Float32Array, dims: readonly number[]) => number[],
  ) => {
    const path = join(folder, 'model.safetensors')
    const tensors: Record<string, HostTensor> = {}
    {
      using checkpoint = openCheckpoint(path)
      for (const [name, tensor] of checkpoint.tensors) {
        const { dtype, dims, data } = tensor.read()
        const changed = wanted.test(name) ? Float32Array.from(edit(data as Float32Array, dims)) : data
        tensors[name] = { dtype, dims, data: changed } as HostTensor
      }
    }
    writeFileSync(path, writeSafetensors(tensors))
  }
  const config = (change: object) => (folder: string) =>
    editJson(folder, 'case.json', (json) => ({ ...json, config: { ...(json.config as object), ...change } }))

  const MISTAKES: readonly (readonly [name: string, output: string, change: (folder: string) => void])[] = [
    ['relative values ignored', 'prior_mean', (folder) => editTensor(folder, /emb_rel_v/, (data) => [...data].fill(0))],
    [
      'another slope',
      'waveform',
      (folder) => editJson(folder, 'config.json', (json) => ({ ...json, leaky_relu_slope: 0.2 })),
    ],
    [
      'another bound of the splines',
      'log_durations',
      (folder) => editJson(folder, 'config.json', (json) => ({ ...json, duration_predictor_tail_bound: 4.5 })),
    ],
    ['another deviation of the noise', 'latents', config({ noise_scale: 0.7 })],
    ['another rate', 'durations', config({ speaking_rate: 1.4 })],
    ['a flip left out', 'latents', (folder) => editTensor(folder, /flows\.0\.conv_pre\.weight/, turned)],
    ['a gain ignored', 'latents', (folder) => editTensor(folder, /flows\.1\..*weight_g/, (data) => [...data].fill(1))],
    ['blocks of another dilation', 'waveform', config({ resblock_dilation_sizes: [3, 7, 11].map(() => [1, 3, 4]) })],
  ]
  /** Input channels of a filter [C', C, 1] in reverse. */
  function turned(data: Float32Array, dims: readonly number[]): number[] {
    const inputs = dims[1]!
    return [...data].map((_, i) => data[i - (i % inputs) + (inputs - 1 - (i % inputs))]!)
  }

  test.each(MISTAKES)('%s is found', async (_, output, change) => {
    const folder = join(mkdtempSync(join(tmpdir(), 'm4-vits-')), 'case')
    try {
      cpSync(GOLDEN, folder, { recursive: true })
      for (const name of readdirSync(folder)) chmodSync(join(folder, name), 0o600)
      chmodSync(folder, 0o700)
      change(folder)
      const report = await runParity(folder)
      expect(report.outputs.find(({ name }) => name === output)).toMatchObject({ pass: false })
      expect(report).toMatchObject({ pass: false })
    } finally {
      rmSync(dirname(folder), { recursive: true, force: true })
    }
  })
})

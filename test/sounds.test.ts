/** One set of weights, two views: sounds through the middle layers of the Whisper that writes down speech. */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles, normalSource } from '../src/core/index.js'
import { openEngine } from '../src/engine/index.js'
import { openImage } from '../src/firmware/image.js'
import { buildFirmware, findRecipe, type ModuleRecipe, type Recipe, verifyImage } from '../src/firmware/index.js'
import { graphsToPrepack } from '../src/firmware/prepack.js'
import { randomRecipe } from '../src/firmware/recipes/random.js'
import { encodeModel } from '../src/graph/index.js'
import { encodeWav16 } from '../src/media/index.js'
import { type Firmware, openFirmware, type Sound } from '../src/runtime/index.js'
import { readGraph } from '../src/train/backbone/read-graph.js'

const RATE = 16_000
const noise = (count: number, seed = 1) => Float32Array.from({ length: count }, normalSource(seed)).map((x) => 0.1 * x)

const toy = findRecipe('tiny-random').modules
/** Four layers, of which the view reads three. */
const SPEECH = { ...toy['AUD-I']!, weights: deeper(toy['AUD-I']!.weights) }
function deeper(weights: ModuleRecipe['weights']): ModuleRecipe['weights'] {
  if (!('random' in weights)) throw new Error('The toy has random weights.')
  return { random: { ...weights.random, config: { ...weights.random.config, encoderLayers: 4 } } }
}
const VIEW: ModuleRecipe = {
  architecture: 'whisper-features',
  view: 'AUD-I',
  title: 'the middle of random Whisper',
  weights: SPEECH.weights,
  quantisations: SPEECH.quantisations,
  space: 'toy',
  confidence: { logitScale: 1, threshold: 0, leastCosine: -1 },
  graphs: {
    join: {
      architecture: 'join',
      title: 'random join',
      weights: { random: { seed: 3, config: { in: 128, joint: 32 } } },
      quantisation: { default: 'fp32' },
    },
  },
}
const recipe = (modules: Recipe['modules'], name = 'sounds'): Recipe => ({
  ...findRecipe('tiny-random'),
  name,
  modules,
})
const both = { 'AUD-I': SPEECH, 'AUD-B': VIEW, TXT: { ...toy.TXT!, space: 'toy' } }

let folder: string
let path: string
let firmware: Firmware

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-sounds-'))
  path = (await buildFirmware(recipe(both), { out: join(folder, 'both') })).path
  firmware = await openFirmware(path)
})
afterAll(async () => {
  firmware.dispose()
  expect(liveHandles()).toEqual({})
  await rm(folder, { recursive: true, force: true })
})

const featuresOf = async (sound: Sound) =>
  (await firmware.ask({ task: 'embed', items: [{ sound }], of: 'features' })).output.embeddings[0]!
const samples = (data: Float32Array): Sound => ({ samples: data, sampleRateHz: RATE })

describe('the view', () => {
  test('names the tensors where they lie: nothing is written twice', async () => {
    const { manifest } = await openImage(path)
    const { 'AUD-I': speech, 'AUD-B': sounds } = manifest.modules
    expect(sounds!.view).toBe('AUD-I')
    expect(sounds!.graphs.encode!.data).toEqual(speech!.graphs.encode!.data)
    expect(sounds!.graphs.frontEnd!.data).toEqual(speech!.graphs.logMel!.data)
    expect(sounds!.weightBytes).toBeLessThan(speech!.weightBytes)

    const { join: _, ...graphs } = VIEW.graphs!
    const bytesOf = async (modules: Recipe['modules'], name: string) => {
      const { manifest } = await buildFirmware(recipe(modules, name), { out: join(folder, name) })
      return Object.values(manifest.blobs).reduce((sum, { bytes }) => sum + bytes, 0)
    }
    const [without, seen, copied] = [
      await bytesOf({ 'AUD-I': both['AUD-I'] }, 'without'),
      await bytesOf({ 'AUD-I': both['AUD-I'], 'AUD-B': { ...VIEW, graphs } }, 'seen'),
      await bytesOf({ 'AUD-I': both['AUD-I'], 'AUD-B': { ...omitView(VIEW), graphs } }, 'copied'),
    ]
    // The models alone: nodes, and constants too small for a file of their own.
    expect(seen - without).toBeLessThan(50_000)
    expect(copied - seen).toBeGreaterThan(50_000)
  })

  test('pools exactly what the layers of AUD-I give', async () => {
    const image = await openImage(path)
    const engine = await openEngine()
    const graph = await readGraph(image.graphPath('AUD-I', 'encode'))
    const layers = ['enc/layers.1/out', 'enc/layers.2/out']
    const outputs = layers.map((name) => ({ name, dtype: 'float32', dims: ['B', 'P', 32] }) as const)
    const whole = await engine.createSession({ bytes: await encodeModel({ ...graph, outputs }) })
    const encode = await engine.createSession({ path: image.graphPath('AUD-B', 'encode') })
    const mel = engine.tensor('float32', [1, 80, 100], noise(8000) as never)
    const inside = await whole.run({ mel })
    const pooled = await encode.run({ mel })
    expect(Object.keys(pooled).sort()).toEqual(['pooled/l2', 'pooled/l2.sd', 'pooled/l3', 'pooled/l3.sd'])
    for (const [l, name] of layers.entries()) {
      const data = inside[name]!.data as Float32Array // [1, 50, 32]
      for (let c = 0; c < 32; c++) {
        const column = Array.from({ length: 50 }, (_, p) => data[p * 32 + c]!)
        const mean = column.reduce((a, b) => a + b) / 50
        const sd = Math.sqrt(column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 50)
        expect((pooled[`pooled/l${l + 2}`]!.data as Float32Array)[c]).toBeCloseTo(mean, 5)
        expect((pooled[`pooled/l${l + 2}.sd`]!.data as Float32Array)[c]).toBeCloseTo(sd, 5)
      }
    }
    for (const tensor of [mel, ...Object.values(inside), ...Object.values(pooled)]) tensor.dispose()
    for (const session of [whole, encode]) session.dispose()
  })

  test('verify hashes the shared blob once and finds damage; prepacking leaves the view alone', async () => {
    const { manifest } = await openImage(path)
    expect(await verifyImage(path)).toMatchObject({ ok: true, files: Object.keys(manifest.blobs).length })
    const roles = graphsToPrepack(manifest, { minBytes: 1 }).map(({ role }) => role)
    expect(roles).toContain('AUD-I')
    expect(roles).not.toContain('AUD-B')
    const damaged = (await buildFirmware(recipe(both, 'damaged'), { out: join(folder, 'damaged') })).path
    const [blob] = manifest.modules['AUD-B']!.graphs.encode!.data
    const file = join(damaged, 'blobs', blob!)
    const bytes = await readFile(file)
    bytes[100]! ^= 1
    await rm(file)
    await writeFile(file, bytes)
    expect(await verifyImage(damaged)).toMatchObject({ ok: false, problems: [{ kind: 'digest', blob }] })
  })

  test('needs its module before it', async () => {
    const modules = { 'AUD-B': VIEW, 'AUD-I': both['AUD-I'] }
    await expect(buildFirmware(recipe(modules, 'early'), { out: join(folder, 'early') })).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/AUD-B is a view of AUD-I/),
    })
  })

  test('has the seed of its module where weights are random', () => {
    const seedOf = (weights: ModuleRecipe['weights']) => 'random' in weights && weights.random.seed
    const { 'AUD-I': speech, 'AUD-B': sounds, TXT } = randomRecipe(findRecipe('lite')).modules
    expect(seedOf(sounds!.weights)).toBe(seedOf(speech!.weights))
    expect(seedOf(TXT!.weights)).not.toBe(seedOf(speech!.weights))
  })
})

const omitView = ({ view: _, ...rest }: ModuleRecipe): ModuleRecipe => rest

describe('the door of sounds', () => {
  const nearby = (a: Float32Array, b: Float32Array) => Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))

  /** PCM of any width and number of channels. */
  const wav = (
    frames: number,
    { channels = 1, rateHz = RATE, bits = 16 as 8 | 16, value = (_: number, __: number) => 0 },
  ) => {
    const bytes = bits / 8
    const file = Buffer.alloc(44 + frames * channels * bytes)
    file.write('RIFF', 0)
    file.writeUInt32LE(file.length - 8, 4)
    file.write('WAVEfmt ', 8)
    file.writeUInt32LE(16, 16)
    file.writeUInt16LE(1, 20)
    file.writeUInt16LE(channels, 22)
    file.writeUInt32LE(rateHz, 24)
    file.writeUInt32LE(rateHz * channels * bytes, 28)
    file.writeUInt16LE(channels * bytes, 32)
    file.writeUInt16LE(bits, 34)
    file.write('data', 36)
    file.writeUInt32LE(frames * channels * bytes, 40)
    for (let n = 0; n < frames; n++)
      for (let c = 0; c < channels; c++) {
        const at = 44 + (n * channels + c) * bytes
        if (bits === 8) file.writeUInt8(Math.round(127 * value(n, c)) + 128, at)
        else file.writeInt16LE(Math.round(32_767 * value(n, c)), at)
      }
    return { wav: new Uint8Array(file) }
  }
  const tone = (rateHz: number) => (n: number) => 0.5 * Math.sin((2 * Math.PI * 440 * n) / rateHz)

  test('silence is finite, and what nobody can hear is silence', async () => {
    const silent = await featuresOf(wav(RATE, {}))
    expect(silent.every(Number.isFinite)).toBe(true)
    expect(Math.hypot(...silent)).toBeCloseTo(1, 5)
    expect(await featuresOf(samples(noise(RATE).map((x) => 1e-5 * x)))).toEqual(silent)
  })

  test('loudness, sample rate, width and the number of channels matter less than another sound does', async () => {
    const plain = await featuresOf(wav(RATE, { value: tone(RATE) }))
    const other = nearby(await featuresOf(samples(noise(RATE))), plain)
    const far = async (sound: Sound) => nearby(await featuresOf(sound), plain) / other
    expect(await far(wav(RATE, { value: (n) => 0.5 * tone(RATE)(n) }))).toBeLessThan(0.5)
    expect(await far(wav(RATE, { value: tone(RATE), bits: 8 }))).toBeLessThan(0.9)
    expect(await far(wav(6 * RATE, { value: tone(6 * RATE), rateHz: 6 * RATE }))).toBeLessThan(0.5)
    expect(await far(wav(RATE, { value: tone(RATE), channels: 9 }))).toBeLessThan(1e-4)
  })

  test('0.1 s is heard, 0.05 s and nothing are refused', async () => {
    expect((await featuresOf(samples(noise(1600)))).every(Number.isFinite)).toBe(true)
    await expect(featuresOf(samples(noise(800)))).rejects.toMatchObject({ code: 'AUDIO_INVALID' })
    await expect(featuresOf(samples(new Float32Array(0)))).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    await expect(featuresOf({ wav: encodeWav16(noise(1600), RATE).subarray(0, 30) })).rejects.toMatchObject({
      code: 'AUDIO_INVALID',
    })
    await expect(featuresOf(samples(noise(RATE).fill(Number.NaN, 5, 6)))).rejects.toMatchObject({
      code: 'AUDIO_INVALID',
    })
  })

  test('longer than 30 s: clips, and all of them count; ten minutes are heard', async () => {
    const long = noise(61 * RATE)
    const heard = await featuresOf(samples(long))
    expect(nearby(await featuresOf(samples(long.slice().fill(0, 55 * RATE))), heard)).toBeGreaterThan(1e-4)
    const tenMinutes = await featuresOf(samples(noise(600 * RATE)))
    expect(tenMinutes.every(Number.isFinite)).toBe(true)
    expect(Math.hypot(...tenMinutes)).toBeCloseTo(1, 5)
  }, 180_000)
})

describe('abstaining', () => {
  const ask = async (confidence: ModuleRecipe['confidence'] | string, name: string) => {
    const modules = {
      ...both,
      'AUD-B': { ...VIEW, confidence: confidence as ModuleRecipe['confidence'] } as ModuleRecipe,
    }
    const built = await buildFirmware(recipe(modules, name), { out: join(folder, name) })
    using own = await openFirmware(built.path)
    const request = { task: 'match', items: [{ sound: samples(noise(RATE)) }], labels: ['bell', 'dog'] } as const
    return (await own.ask(request)).output.matches[0]!
  }

  test('an answer far from everything is not confident, however its labels compare', async () => {
    const near = (
      await firmware.ask({ task: 'match', items: [{ sound: samples(noise(RATE)) }], labels: ['bell', 'dog'] })
    ).output.matches[0]!
    expect(near.confident).toBe(true)
    const far = await ask({ logitScale: 1, threshold: 0, leastCosine: 1 }, 'far')
    expect(far).toEqual({ ...near, confident: false })
    expect((await ask({ logitScale: 1, threshold: 0.999, leastCosine: -1 }, 'unsure')).confident).toBe(false)
  })

  test('a threshold that is none', async () => {
    await expect(ask({ logitScale: 1, threshold: 0, leastCosine: 7 }, 'wrong')).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
  })
})

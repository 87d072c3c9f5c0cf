/** What the goldens do not reach: odd sizes, bad sounds, and a plain calculation beside each graph. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DataOf, DType } from '../../core/dtypes.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import type { Engine, Session } from '../../engine/types.js'
import { encodeModel, type Graph } from '../../graph/index.js'
import { clipFrames, clipSpans, clipTimes } from '../../media/clips.js'
import { encodeWav16, soundChannels } from '../../media/index.js'
import { fbankFrontEndGraph, imageFrontEndGraph, videoFrontEndGraph } from './index.js'

let engine: Engine
const sessions: Session[] = []
beforeAll(async () => {
  engine = await openEngine()
})
afterAll(() => {
  for (const session of sessions) session.dispose()
})

async function open(
  graph: Graph,
): Promise<(inputs: Record<string, HostTensor>) => Promise<Record<string, HostTensor>>> {
  const chunks: Uint8Array[] = []
  const write = (chunk: Uint8Array) => {
    chunks.push(chunk)
  }
  const bytes = await encodeModel(graph, { externalData: { location: 'weights', write } })
  const weights = chunks.length ? { externalData: { weights: Buffer.concat(chunks) } } : {}
  const session = await engine.createSession({ bytes, ...weights })
  sessions.push(session)
  return async (inputs) => {
    const given = Object.entries(inputs).map(
      ([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data as DataOf<DType>)] as const,
    )
    const outputs = await session.run(Object.fromEntries(given))
    for (const [, tensor] of given) tensor.dispose()
    const copies = Object.entries(outputs).map(([name, tensor]) => {
      const copy = hostTensor(tensor.dtype, tensor.dims, tensor.data.slice() as DataOf<DType>)
      tensor.dispose()
      return [name, copy] as const
    })
    return Object.fromEntries(copies)
  }
}

const noise = (count: number) => Uint8Array.from({ length: count }, (_, i) => (i * 97 + ((i * i) >> 3)) & 255)
const dots = (height: number, width: number) =>
  hostTensor('uint8', [height, width, 3], noise(height * width * 3) as DataOf<'uint8'>)

/** PIL's resize of one axis at one place, in float64, rounded to a byte. */
function pilAt(row: (i: number) => number, from: number, to: number, i: number): number {
  const scale = Math.max(from / to, 1)
  const centre = ((i + 0.5) * from) / to
  let [sum, total] = [0, 0]
  for (let j = Math.max(0, Math.floor(centre - 2 * scale)); j < Math.min(from, centre + 2 * scale + 1); j++) {
    const x = Math.abs((j + 0.5 - centre) / scale)
    const weight = x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((x - 5) * x + 8) * x * -0.5 + 2 : 0
    sum += weight * row(j)
    total += weight
  }
  return Math.floor(Math.min(255, Math.max(0, sum / total)) + 0.5)
}

describe('pictures', () => {
  test.each([
    [1, 1],
    [10, 20000],
    [20000, 10],
    [7, 301],
    [225, 224],
    [227, 229],
  ])('%i × %i as PIL resizes and crops', async (height, width) => {
    const size = 28
    const run = await open(imageFrontEndGraph({ size, mean: [0, 0, 0], std: [1, 1, 1] }, true))
    const picture = dots(height, width)
    const { crop, pixels } = await run({ picture })
    expect([crop!.dims, pixels!.dims]).toEqual([
      [size, size, 3],
      [1, 3, size, size],
    ])
    const to = (side: number, other: number) => Math.max(size, Math.floor((size * side) / other))
    const [tall, wide] = [to(height, width), to(width, height)]
    const half = (spare: number) => (spare % 2 ? 2 * Math.round(spare / 4) : spare / 2)
    const [top, left] = [half(tall - size), half(wide - size)]
    for (const [y, x, c] of [
      [0, 0, 0],
      [size - 1, size - 1, 2],
      [13, 5, 1],
      [6, 20, 0],
    ] as const) {
      const across = (j: number) => pilAt((i) => picture.data[(j * width + i) * 3 + c] as number, width, wide, x + left)
      const expected = pilAt(across, height, tall, y + top)
      const got = crop!.data[(y * size + x) * 3 + c] as number
      expect(Math.abs(got - expected)).toBeLessThanOrEqual(1)
      expect(pixels!.data[(c * size + y) * size + x]).toBeCloseTo(got / 255, 6)
    }
  })

  test('a flat picture stays flat, whatever the scale', async () => {
    const run = await open(imageFrontEndGraph(undefined, true))
    const data = new Uint8Array(1000 * 37 * 3).fill(201)
    const { crop } = await run({ picture: hostTensor('uint8', [1000, 37, 3], data) })
    expect(new Set(crop!.data as Uint8Array)).toEqual(new Set([201]))
  })
})

describe('video', () => {
  test('one frame, smaller than the model, upright', async () => {
    const run = await open(videoFrontEndGraph({ size: 16, mean: [0, 0, 0], std: [1, 1, 1], frames: 2, crops: 3 }))
    const { crops } = await run({ clip: hostTensor('uint8', [3, 1, 13, 8], noise(3 * 13 * 8) as DataOf<'uint8'>) })
    expect(crops!.dims).toEqual([3, 3, 2, 16, 16])
    const crop = (i: number) => crops!.data.slice(i * 3 * 2 * 256, (i + 1) * 3 * 2 * 256)
    // 13 × 8 becomes 26 × 16: top, centre and bottom differ, and both frames are the one there is.
    expect(crop(0)).not.toEqual(crop(1))
    expect(crops!.data.slice(0, 256)).toEqual(crops!.data.slice(256, 512))
    expect(crops!.data[0]).toBeCloseTo(noise(1)[0]! / 255, 6)
  })

  test.each([
    [1, [0]],
    [2, [0, 8]],
    [3, [0, 4, 8]],
    [4, [0, 2, 5, 8]],
  ])('%i of 9 frames', async (frames, expected) => {
    const run = await open(videoFrontEndGraph({ size: 4, mean: [0, 0, 0], std: [1, 1, 1], frames, crops: 1 }))
    const data = Uint8Array.from({ length: 3 * 9 * 16 }, (_, i) => Math.floor(i / 16) % 9)
    const { crops } = await run({ clip: hostTensor('uint8', [3, 9, 4, 4], data) })
    const seen = Array.from({ length: frames }, (_, f) => Math.round((crops!.data[f * 16] as number) * 255))
    expect(seen).toEqual(expected)
  })
})

describe('clips', () => {
  test('spread evenly; shorter than a clip: all from the start', () => {
    expect(clipTimes(10, { clipS: 2, clips: 5 }).map(([start]) => start)).toEqual([0, 2, 4, 6, 8])
    expect(clipTimes(1.5, { clipS: 2, clips: 2 })).toEqual([
      [0, 2],
      [0, 2],
    ])
    expect(clipTimes(10, { clipS: 2, clips: 1 })).toEqual([[0, 2]])
  })

  test('samples are whole, without a step lost to rounding', () => {
    for (let count = 32_000; count < 90_000; count += 411) {
      const spans = clipSpans(count, 16_000, { clipS: 2, clips: 10 })
      // As fractions: what floats leave of an exact position is at most 1 away from it.
      spans.forEach(([start, end], i) => {
        expect(end - start).toBe(32_000)
        expect(Math.abs(start - Math.floor(((count - 32_000) * i) / 9))).toBeLessThanOrEqual(1)
      })
    }
    expect(clipSpans(51_200, 16_000, { clipS: 2, clips: 3 })[1]).toEqual([9600, 41_600])
  })

  test('frames of a video: those that begin in a clip, never none', () => {
    // 7.3 s at 30 frames per second: the second clip lasts from frame 39.75 to 99.75.
    expect(clipFrames(219, 30)).toEqual([
      [0, 59],
      [40, 99],
      [80, 139],
      [120, 179],
      [159, 218],
    ])
    expect(clipFrames(1, 30)).toEqual(Array(5).fill([0, 0]))
    expect(clipFrames(3, 0.5).at(-1)).toEqual([2, 2])
    for (let count = 1; count < 400; count += 7)
      for (const rateHz of [0.5, 0.7, 23.976, 29.97, 60])
        for (const [first, last] of clipFrames(count, rateHz)) {
          expect(first).toBeLessThanOrEqual(last)
          expect(last).toBeLessThan(count)
        }
    expect(() => clipFrames(0, 30)).toThrow(/lasts/)
    for (const rateHz of [0.4, 0, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => clipFrames(9, rateHz)).toThrow(/frames per second/)
  })

  test('nothing at all', () => {
    expect(() => clipSpans(0, 16_000, { clipS: 2, clips: 3 })).toThrow(/EMPTY_INPUT|lasts/)
  })
})

describe('sounds', () => {
  const hear = async (wav: Uint8Array) => {
    const { channels } = soundChannels(wav)
    const length = channels[0]!.length
    const samples = new Float32Array(channels.length * length)
    for (const [i, channel] of channels.entries()) samples.set(channel, i * length)
    const spans = clipSpans(length, 16_000, { clipS: 2, clips: 3 })
    const column = (side: 0 | 1) =>
      int64Tensor(
        [3],
        spans.map((span) => span[side]),
      )
    const run = await open(fbankFrontEndGraph())
    const { melspec } = await run({
      samples: hostTensor('float32', [channels.length, length], samples),
      starts: column(0),
      ends: column(1),
    })
    expect(melspec!.dims).toEqual([1, 3, 1, 128, 204])
    expect((melspec!.data as Float32Array).every(Number.isFinite)).toBe(true)
    return melspec!.data as Float32Array
  }
  const tone = (count: number, rateHz: number, hz = 1000) =>
    Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hz * i) / rateHz))
  /** WAV header for `channels` channels, 16 or 8 bit, of the same samples each. */
  const wavOf = (samples: Float32Array, rateHz: number, channels: number, bits: 8 | 16) => {
    const mono = encodeWav16(samples, rateHz)
    const bytes = new Uint8Array(44 + (samples.length * channels * bits) / 8)
    bytes.set(mono.subarray(0, 44))
    const view = new DataView(bytes.buffer)
    view.setUint32(4, bytes.length - 8, true)
    view.setUint16(22, channels, true)
    view.setUint32(28, (rateHz * channels * bits) / 8, true)
    view.setUint16(32, (channels * bits) / 8, true)
    view.setUint16(34, bits, true)
    view.setUint32(40, bytes.length - 44, true)
    for (let i = 0; i < samples.length * channels; i++) {
      const value = samples[Math.floor(i / channels)]!
      if (bits === 8) view.setUint8(44 + i, Math.round(128 + 127 * value))
      else view.setInt16(44 + 2 * i, Math.round(32767 * value), true)
    }
    return bytes
  }
  /** Band with the most energy of the first clip's column 5. */
  const loudest = (spectrum: Float32Array) => {
    let best = 0
    for (let m = 0; m < 128; m++) if (spectrum[m * 204 + 5]! > spectrum[best * 204 + 5]!) best = m
    return best
  }
  const PADDING = 4.268 / 9.138

  test('silence is the floor, and nothing is divided by zero', async () => {
    const spectrum = await hear(encodeWav16(new Float32Array(40_000), 16_000))
    expect(spectrum[0]).toBeCloseTo((Math.log(1.1920928955078125e-7) + 4.268) / 9.138, 4)
    expect(spectrum[203]).toBeCloseTo(PADDING, 5)
  })

  test.each([
    ['96 kHz', wavOf(tone(200_000, 96_000), 96_000, 1, 16)],
    ['8 bit', wavOf(tone(40_000, 16_000), 16_000, 1, 8)],
    ['9 channels', wavOf(tone(40_000, 16_000), 16_000, 9, 16)],
    ['0.1 s', wavOf(tone(1600, 16_000), 16_000, 1, 16)],
  ])('a tone of 1 kHz, %s', async (_, wav) => {
    const spectrum = await hear(wav)
    // 1 kHz is mel 1000; bands are 22 mel apart from 32 on.
    expect(Math.abs(loudest(spectrum) - Math.round((1000 - 31.7) / ((2840 - 31.7) / 129) - 1))).toBeLessThanOrEqual(1)
  })

  test('0.1 s fills 8 columns, the rest is padding', async () => {
    const spectrum = await hear(encodeWav16(tone(1600, 16_000), 16_000))
    expect(spectrum[7]).not.toBeCloseTo(PADDING, 3)
    expect(spectrum[8]).toBeCloseTo(PADDING, 5)
  })

  test('too short, empty, broken', () => {
    expect(() => soundChannels(encodeWav16(new Float32Array(1599), 16_000))).toThrow(/0\.100 s, expected 0\.1/)
    expect(() => soundChannels(encodeWav16(new Float32Array(0), 16_000))).toThrow(/no samples/)
    expect(() => soundChannels(new Uint8Array(3))).toThrow(/not a WAV/)
  })
})

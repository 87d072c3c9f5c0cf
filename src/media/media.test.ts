/** Sound: WAV variants against torchaudio, resampling against torchaudio and against sines, refusals. */

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../core/errors.js'
import { decodeWav, encodeWav16, mixToMono, resample, speechSamples } from './index.js'

const goldens = new URL('../../test/goldens/', import.meta.url)
const wav = (name: string) => new Uint8Array(readFileSync(new URL(`codec-wav/${name}`, goldens)))

/** float32 tensors of a safetensors file, by name. */
function tensorsOf(file: URL): Map<string, { shape: number[]; data: Float32Array }> {
  const bytes = new Uint8Array(readFileSync(file))
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const header: Record<string, { shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)),
  )
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(
        ([
          name,
          {
            shape,
            data_offsets: [from, to],
          },
        ]) => [
          name,
          { shape, data: new Float32Array(bytes.slice(8 + headerBytes + from, 8 + headerBytes + to).buffer) },
        ],
      ),
  )
}

/** A WAV of any format; `data` is taken as it is. */
function makeWav(parts: {
  tag?: number
  channels?: number
  rate?: number
  bits?: number
  frameBytes?: number
  data: Uint8Array
  riffSize?: number
  dataSize?: number
}): Uint8Array {
  const { tag = 1, channels = 1, rate = 16000, bits = 16, data } = parts
  const bytes = new Uint8Array(44 + data.length)
  const view = new DataView(bytes.buffer)
  bytes.set(new TextEncoder().encode('RIFF    WAVEfmt '), 0)
  view.setUint32(4, parts.riffSize ?? 36 + data.length, true)
  view.setUint32(16, 16, true)
  view.setUint16(20, tag, true)
  view.setUint16(22, channels, true)
  view.setUint32(24, rate, true)
  view.setUint16(32, parts.frameBytes ?? (channels * bits) / 8, true)
  view.setUint16(34, bits, true)
  bytes.set(new TextEncoder().encode('data'), 36)
  view.setUint32(40, parts.dataSize ?? data.length, true)
  bytes.set(data, 44)
  return bytes
}

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (isM4Error(error)) return `${error.code}: ${error.message}`
    throw error
  }
  return 'accepted'
}

describe('decodeWav', () => {
  const expected = tensorsOf(new URL('codec-wav/io.safetensors', goldens))

  test('every golden file, to the last bit of float32', () => {
    expect(expected.size).toBe(9)
    for (const [name, { shape, data }] of expected) {
      const { samples } = decodeWav(wav(name.replace('output.', '')))
      expect([samples.length, samples[0]!.length], name).toEqual(shape)
      for (const [channel, got] of samples.entries())
        expect(got, name).toEqual(data.subarray(channel * got.length, (channel + 1) * got.length))
    }
  })

  test('sample rate and bytes at an odd address', () => {
    const bytes = wav('pcm16_stereo.wav')
    const shifted = new Uint8Array(bytes.length + 1)
    shifted.set(bytes, 1)
    expect(decodeWav(shifted.subarray(1))).toEqual(decodeWav(bytes))
    expect(decodeWav(makeWav({ rate: 44100, data: new Uint8Array(2) })).sampleRateHz).toBe(44100)
  })

  test('A-law: the decision values of G.711', () => {
    const data = Uint8Array.from([0xd5, 0x55, 0x80, 0xaa, 0x2a])
    const [samples] = decodeWav(makeWav({ tag: 6, bits: 8, data })).samples
    expect([...samples!].map((value) => value * 32768)).toEqual([8, -8, 5504, 32256, -32256])
  })

  test('24 bits in a container of 4 bytes are left-justified', () => {
    const data = Uint8Array.from([0, 0, 0, 0x40])
    expect(decodeWav(makeWav({ bits: 24, frameBytes: 4, data })).samples[0]![0]).toBe(0.5)
  })

  test.each([
    ['data size 0xFFFFFFFF', { dataSize: 0xffffffff, riffSize: 0xffffffff }],
    ['data size of SoX', { dataSize: 0x7ffff000, riffSize: 0x7ffff024 }],
    ['sizes 0', { dataSize: 0, riffSize: 0 }],
    ['sizes of the bare header', { dataSize: 0, riffSize: 36 }],
  ])('written to a pipe: %s', (_, sizes) => {
    const data = Uint8Array.from([0, 0x40, 0, 0xc0])
    expect([...decodeWav(makeWav({ data, ...sizes })).samples[0]!]).toEqual([0.5, -0.5])
  })

  test('a chunk that is truly empty is empty', () => {
    const list = new Uint8Array([...new TextEncoder().encode('LIST'), 4, 0, 0, 0, 65, 66, 67, 68])
    expect(decodeWav(makeWav({ data: list, dataSize: 0 })).samples[0]).toHaveLength(0)
    expect(decodeWav(makeWav({ data: new Uint8Array() })).samples[0]).toHaveLength(0)
  })

  const text = (value: string) => new TextEncoder().encode(value)
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /it is empty/],
    ['mp3 with a tag', text('ID3\x03rest of the file'), /an MP3 file/],
    ['mp3 frames', Uint8Array.from([0xff, 0xfb, 0x90, 0x64, ...new Array(20).fill(0)]), /an MP3 file/],
    ['flac', text('fLaC and so on....'), /a FLAC file/],
    ['ogg', text('OggS and so on....'), /an Ogg file/],
    ['mp4', text('\0\0\0\x20ftypM4A and so on'), /MP4 or M4A/],
    ['html', text('\n<!DOCTYPE html><html>'), /an HTML page/],
    ['json', text('{"error": "not found"}'), /JSON text/],
    ['big-endian', text('RIFX    WAVEfmt '), /RIFX/],
    ['other bytes', text('hello world, how are you'), /begins with 68 65 6c 6c/],
    ['the first bytes of a WAV', text('RIFF  '), /cut off after 6 bytes/],
    ['no chunks', text('RIFF    WAVE'), /no "data" chunk/],
    ['ADPCM', makeWav({ tag: 17, bits: 4, frameBytes: 1, data: new Uint8Array(8) }), /17 \(IMA ADPCM\)/],
    ['no channels', makeWav({ channels: 0, data: new Uint8Array(4) }), /0 channels/],
    ['no rate', makeWav({ rate: 0, data: new Uint8Array(4) }), /0 Hz/],
    ['a strange width', makeWav({ bits: 32, frameBytes: 3, data: new Uint8Array(6) }), /32 bits in 3 bytes/],
    ['half floats', makeWav({ tag: 3, bits: 16, data: new Uint8Array(6) }), /16 bits in 2 bytes/],
    ['half a frame', makeWav({ data: new Uint8Array(5) }), /not whole frames of 2 bytes/],
    ['samples before the format', text('RIFF    WAVEdata\0\0\0\0'), /before their format/],
  ])('refuses %s', (_, bytes, message) => {
    expect(refusal(() => decodeWav(bytes))).toMatch(message)
    expect(refusal(() => decodeWav(bytes))).toMatch(/^AUDIO_INVALID: .*ffmpeg/)
  })

  test('refuses a golden file cut off anywhere', () => {
    const bytes = wav('pcm16_list_chunk.wav')
    for (let length = 0; length < bytes.length; length += 7)
      expect(
        refusal(() => decodeWav(bytes.subarray(0, length))),
        String(length),
      ).toMatch(/^AUDIO_INVALID/)
  })
})

describe('encodeWav16', () => {
  test('what is written reads back the same', () => {
    const samples = Float32Array.from([0, 0.5, -0.5, -1, 32767 / 32768, 1 / 32768])
    const decoded = decodeWav(encodeWav16(samples, 22050))
    expect(decoded).toEqual({ samples: [samples], sampleRateHz: 22050 })
  })

  test('clips, and refuses what is no number', () => {
    expect([...decodeWav(encodeWav16(Float32Array.from([2, -2]), 8000)).samples[0]!]).toEqual([32767 / 32768, -1])
    expect(refusal(() => encodeWav16(Float32Array.from([0, Number.NaN]), 8000))).toMatch(
      /AUDIO_INVALID: Sample 1 is NaN/,
    )
    expect(refusal(() => encodeWav16(new Float32Array(1), 0.5))).toMatch(/INVALID_REQUEST/)
  })
})

const sine = (count: number, hz: number, rateHz: number) =>
  Float32Array.from({ length: count }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * i) / rateHz))

describe('resample', () => {
  test.each([
    [44100, 16000, 440],
    [8000, 16000, 1000],
    [48000, 16000, 3000],
    [22050, 16000, 2500],
    [16000, 44100, 440],
  ])('%i → %i Hz keeps a tone of %i Hz', (from, to, hz) => {
    const out = resample(sine(from / 2 + 1, hz, from), from, to)
    expect(out).toHaveLength(Math.ceil(((from / 2 + 1) * to) / from))
    const expected = sine(out.length, hz, to)
    const edge = Math.ceil((20 * to) / Math.min(from, to))
    let worst = 0
    for (let i = edge; i < out.length - edge; i++) worst = Math.max(worst, Math.abs(out[i]! - expected[i]!))
    expect(worst).toBeLessThan(2e-3)
  })

  test('a tone above the new Nyquist frequency is gone', () => {
    const out = resample(sine(44100, 12000, 44100), 44100, 16000).subarray(50, -50)
    expect(Math.max(...out.map(Math.abs))).toBeLessThan(5e-3)
  })

  test('short, empty and equal', () => {
    expect(resample(new Float32Array(1), 44100, 16000)).toHaveLength(1)
    expect(resample(new Float32Array(0), 44100, 16000)).toHaveLength(0)
    const same = new Float32Array(3)
    expect(resample(same, 16000, 16000)).toBe(same)
    expect(refusal(() => resample(same, 0, 16000))).toMatch(/AUDIO_INVALID/)
    expect(refusal(() => resample(same, 16000, 1.5))).toMatch(/AUDIO_INVALID/)
  })

  const shared = new URL('../../../shared/goldens/frontend-imagebind-audio-resample/', import.meta.url)
  test.skipIf(!existsSync(shared))('44.1 kHz speech as torchaudio resamples it', () => {
    const expected = tensorsOf(new URL('io.safetensors', shared)).get('output.resampled_16k')!.data
    const { samples, sampleRateHz } = decodeWav(new Uint8Array(readFileSync(new URL('audio.wav', shared))))
    const got = resample(samples[0]!, sampleRateHz, 16000)
    let worst = 0
    for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(got[i]! - expected[i]!))
    expect(worst).toBeLessThan(1e-5)
  })
})

describe('speechSamples', () => {
  test('mono at 16 kHz, and its duration', () => {
    const { samples, durationS } = speechSamples(encodeWav16(sine(4410, 440, 44100), 44100))
    expect(samples).toHaveLength(1600)
    expect(durationS).toBe(0.1)
    const atRate = sine(3200, 440, 16000)
    expect(speechSamples(encodeWav16(atRate, 16000)).samples).toHaveLength(3200)
  })

  test('channels are averaged', () => {
    expect([...mixToMono([Float32Array.of(1, 0), Float32Array.of(0, 0.5)])]).toEqual([0.5, 0.25])
    expect(refusal(() => mixToMono([]))).toMatch(/at least one channel/)
    expect(refusal(() => mixToMono([new Float32Array(1), new Float32Array(2)]))).toMatch(/one length/)
  })

  test('refuses no samples, too few, and NaN', () => {
    expect(refusal(() => speechSamples(encodeWav16(new Float32Array(0), 16000)))).toMatch(/^EMPTY_INPUT/)
    expect(refusal(() => speechSamples(encodeWav16(new Float32Array(1599), 16000)))).toMatch(
      /^AUDIO_INVALID.*0\.1 s or more/,
    )
    const data = new Uint8Array(Float32Array.from({ length: 3200 }, (_, i) => (i === 9 ? Number.NaN : 0)).buffer)
    expect(refusal(() => speechSamples(makeWav({ tag: 3, bits: 32, data })))).toMatch(/^AUDIO_INVALID: Sample 9/)
  })
})

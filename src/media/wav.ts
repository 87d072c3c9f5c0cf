/**
 * WAV (RIFF WAVE, Microsoft's "Multiple Channel Audio Data and WAVE Files") → float samples, with the scaling of torchaudio
 * and libsndfile: PCM / 2^(bits-1), 8-bit (x-128)/128, companded 16-bit / 32768.
 * An own reader because none of the registry's held against the goldens: audio-decode 3.12, node-wav 0.0.2 and wavefile 11 scale
 * PCM8 and PCM16 by 127 and 32767 on one side; two of them fail on a LIST chunk; truncated files pass as whole ones.
 */

import { M4Error } from '../core/errors.js'
import { describeBytes } from './sniff.js'

export interface DecodedAudio {
  /** One array a channel, all of one length; full scale is [-1, 1]. [N] each */
  readonly samples: readonly Float32Array[]
  readonly sampleRateHz: number
}

interface SampleFormat {
  readonly name: string
  /** Reads the sample at a byte offset. */
  readonly read: (view: DataView, at: number) => number
  readonly bytes: number
}

/** Format tag → bytes of one sample → how to read it. */
const FORMATS: Readonly<Record<number, readonly SampleFormat[]>> = Object.freeze({
  1: [
    { name: 'PCM 8', bytes: 1, read: (view, at) => (view.getUint8(at) - 128) / 128 },
    { name: 'PCM 16', bytes: 2, read: (view, at) => view.getInt16(at, true) / 32768 },
    {
      name: 'PCM 24',
      bytes: 3,
      read: (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608,
    },
    { name: 'PCM 32', bytes: 4, read: (view, at) => view.getInt32(at, true) / 2147483648 },
  ],
  3: [
    { name: 'float 32', bytes: 4, read: (view, at) => view.getFloat32(at, true) },
    { name: 'float 64', bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  ],
  6: [{ name: 'A-law', bytes: 1, read: (view, at) => expandALaw(view.getUint8(at)) / 32768 }],
  7: [{ name: 'mu-law', bytes: 1, read: (view, at) => expandMuLaw(view.getUint8(at)) / 32768 }],
})

const PCM = 1
const EXTENSIBLE = 0xfffe
/** The last 14 bytes of every media GUID that stands for a format tag: 0000-0010-8000-00AA00389B71. */
const GUID_TAIL = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]

/** Tags that occur in the wild and are not uncompressed, for messages. */
const OTHER_FORMATS: Readonly<Record<number, string>> = Object.freeze({
  2: 'Microsoft ADPCM',
  17: 'IMA ADPCM',
  49: 'GSM 6.10',
  80: 'MPEG',
  85: 'MP3',
  255: 'AAC',
})

/**
 * Decodes PCM 8/16/24/32, float 32/64, mu-law and A-law, plain or WAVE_FORMAT_EXTENSIBLE. Files written to a pipe (data size 0
 * or near 4 GB, never filled in) are read to their end; a file with no samples gives empty channels.
 * @throws M4Error `AUDIO_INVALID` for anything else, truncated files included
 */
export function decodeWav(bytes: Uint8Array): DecodedAudio {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12 || tagAt(view, 0) !== 'RIFF' || tagAt(view, 8) !== 'WAVE') {
    const cut = bytes.length > 0 && bytes.length < 12 && 'RIFF'.startsWith(tagAt(view, 0))
    throw invalid(`this is not a WAV file: it is ${cut ? `cut off after ${bytes.length} bytes` : describeBytes(bytes)}`)
  }
  let format: Format | undefined
  for (let at = 12; at + 8 <= bytes.length; ) {
    const tag = tagAt(view, at)
    const size = view.getUint32(at + 4, true)
    const start = at + 8
    if (tag === 'data') {
      if (!format) throw invalid('the samples come before their format (no "fmt " chunk)')
      return readSamples(view, format, start, dataBytes(view, start, size))
    }
    if (start + size > bytes.length)
      throw invalid(
        `chunk "${printable(tag)}" at byte ${at} has ${size} bytes, but the file ends after ${bytes.length - start}`,
      )
    if (tag === 'fmt ') format ??= readFormat(view, start, size)
    at = start + size + (size & 1) // chunks start on even bytes
  }
  throw invalid(`the file has no samples (no "data" chunk in ${bytes.length} bytes)`)
}

interface Format {
  readonly sample: SampleFormat
  readonly channels: number
  readonly sampleRateHz: number
}

function readFormat(view: DataView, start: number, size: number): Format {
  if (size < 16) throw invalid(`the format chunk has ${size} bytes, expected 16 or more`)
  const declared = view.getUint16(start, true)
  const channels = view.getUint16(start + 2, true)
  const sampleRateHz = view.getUint32(start + 4, true)
  const frameBytes = view.getUint16(start + 12, true)
  const bits = view.getUint16(start + 14, true)
  const tag = declared === EXTENSIBLE ? subFormat(view, start, size) : declared
  const variants = FORMATS[tag]
  if (!variants) throw invalid(`format ${tag} (${OTHER_FORMATS[tag] ?? 'unknown'}) is not uncompressed sound`)
  if (channels === 0) throw invalid('the file says that it has 0 channels')
  if (sampleRateHz === 0) throw invalid('the file says that its sample rate is 0 Hz')
  // PCM of fewer bits than its container holds is left-justified in it (20 bits in 24, 24 in 32), so the container decides.
  const fits = (container: number) => bits === container || (tag === PCM && bits > 0 && bits < container)
  const sample = variants.find(({ bytes }) => bytes * channels === frameBytes && fits(bytes * 8))
  if (!sample)
    throw invalid(
      `${bits} bits in ${frameBytes} bytes a frame of ${channels} channel(s) do not fit ${variants.map(({ name }) => name).join(', ')}`,
    )
  return { sample, channels, sampleRateHz }
}

function subFormat(view: DataView, start: number, size: number): number {
  if (size < 40) throw invalid(`the extensible format chunk has ${size} bytes, expected 40`)
  if (GUID_TAIL.some((byte, i) => view.getUint8(start + 26 + i) !== byte))
    throw invalid('the extensible format names a sub-format that is not of Microsoft')
  return view.getUint16(start + 24, true)
}

/** Sizes from here on are what writers put that cannot seek back (0xFFFFFFFF; SoX 0x7FFFF000). */
const STREAMED_SIZE = 0x7ffff000

function dataBytes(view: DataView, start: number, declared: number): number {
  const present = view.byteLength - start
  if (declared >= STREAMED_SIZE && declared > present) return present
  if (declared === 0 && present > 0) {
    // Never filled in, unless the header as a whole was: then the chunk is empty, and others follow.
    const riffSize = view.getUint32(4, true)
    if (riffSize === 0 || riffSize >= STREAMED_SIZE || riffSize + 8 <= start) return present
  }
  if (declared > present)
    throw invalid(`the file is cut off: it announces ${declared} bytes of samples and has ${present}`)
  return declared
}

function readSamples(view: DataView, format: Format, start: number, byteCount: number): DecodedAudio {
  const { sample, channels, sampleRateHz } = format
  const frameBytes = sample.bytes * channels
  if (byteCount % frameBytes !== 0)
    throw invalid(`the file is cut off: ${byteCount} bytes of samples are not whole frames of ${frameBytes} bytes`)
  const count = byteCount / frameBytes
  const samples = Array.from({ length: channels }, (_, channel) => {
    const out = new Float32Array(count)
    for (let i = 0, at = start + channel * sample.bytes; i < count; i++, at += frameBytes)
      out[i] = sample.read(view, at)
    return out
  })
  return { samples, sampleRateHz }
}

/** ITU-T G.711 A-law byte → 16-bit sample. */
function expandALaw(byte: number): number {
  const code = byte ^ 0x55
  const exponent = (code >> 4) & 7
  const mantissa = ((code & 15) << 4) + 8
  const magnitude = exponent === 0 ? mantissa : (mantissa + 0x100) << (exponent - 1)
  return code & 0x80 ? magnitude : -magnitude
}

/** ITU-T G.711 mu-law byte → 16-bit sample. */
function expandMuLaw(byte: number): number {
  const code = ~byte & 0xff
  const magnitude = ((((code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
  return code & 0x80 ? 0 - magnitude : magnitude // 0 - 0 is 0, where -0 would be negative zero
}

function tagAt(view: DataView, at: number): string {
  let tag = ''
  for (let i = at; i < Math.min(at + 4, view.byteLength); i++) tag += String.fromCharCode(view.getUint8(i))
  return tag
}

const printable = (tag: string) => tag.replace(/[^\x20-\x7e]/g, '?')

const invalid = (what: string) =>
  new M4Error('AUDIO_INVALID', `Sound: ${what}.`, {
    hint: 'Give an uncompressed WAV file; `ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav` makes one of most sounds.',
  })

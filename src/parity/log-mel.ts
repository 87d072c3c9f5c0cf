/** Log-mel cases: a sound file through the front-end graph of Whisper. */

import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { SPEECH_RATE_HZ, speechSamples } from '../media/index.js'
import { logMelGraph } from '../models/index.js'
import { type ParityCase, readBytes } from './case.js'
import { openGraph } from './graphs.js'
import type { Runner } from './types.js'

/** Whisper hears 30 s at a time. */
const WINDOW_SAMPLES = 30 * SPEECH_RATE_HZ
export const HOP_SAMPLES = 160

/** Mono, 16 kHz, of the case's sound. @throws M4Error `FORMAT_INVALID`, `AUDIO_INVALID` */
export function samplesOf(parityCase: ParityCase): DataOf<'float32'> {
  const sounds = parityCase.files.filter(({ file }) => /\.wav$/i.test(file))
  if (sounds.length !== 1)
    throw new M4Error('FORMAT_INVALID', `${parityCase.folder}: expected one WAV file, got ${sounds.length}.`)
  return Float32Array.from(speechSamples(readBytes(parityCase.path(sounds[0]!.file))).samples)
}

/** The first `length` samples, zeros behind shorter sounds. */
export function padOrTrim(samples: Float32Array, length: number): DataOf<'float32'> {
  const out = new Float32Array(length)
  out.set(samples.subarray(0, length))
  return out
}

/** Outputs: `…_first_n` and `…_last_n` columns of the padded window, `…_unpadded` of the sound as it is. */
export const runLogMel: Runner = async ({ parityCase, engine, signal }) => {
  const { config } = parityCase
  const size = (key: string, fallback: number) => (typeof config[key] === 'number' ? (config[key] as number) : fallback)
  const graph = logMelGraph({
    sampleRateHz: size('sampleRate', SPEECH_RATE_HZ),
    windowSamples: size('nFft', 400),
    hopSamples: size('hop', HOP_SAMPLES),
    melBands: size('nMels', 80),
  })
  const samples = samplesOf(parityCase)
  const padded = padOrTrim(samples, size('padSamples', WINDOW_SAMPLES))
  using session = await openGraph(engine, graph, signal)
  const melOf = async (wave: DataOf<'float32'>) => {
    using input = engine.tensor('float32', [1, wave.length], wave)
    using mel = (await session.run({ samples: input }, undefined, { signal })).mel!
    return hostTensor('float32', mel.dims.slice(1), (mel.data as Float32Array).slice()) // [M, P]
  }
  const whole = await melOf(padded)
  const tensors = new Map<string, HostTensor>()
  for (const { name, shape } of parityCase.outputs) {
    const kept = shape.at(-1)!
    if (/unpadded/.test(name)) tensors.set(name, await melOf(samples))
    else if (/_last_\d+$/.test(name)) tensors.set(name, columns(whole, whole.dims[1]! - kept, kept))
    else if (/_first_\d+$/.test(name)) tensors.set(name, columns(whole, 0, kept))
    else if (name === 'log_mel') tensors.set(name, whole)
  }
  return { tensors }
}

function columns({ dims, data }: HostTensor, from: number, count: number): HostTensor {
  const [rows, width] = dims as [number, number]
  const out = new Float32Array(rows * count)
  for (let row = 0; row < rows; row++)
    out.set((data as Float32Array).subarray(row * width + from, row * width + from + count), row * count)
  return hostTensor('float32', [rows, count], out)
}

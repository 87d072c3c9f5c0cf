/**
 * Whisper's log-mel front end as a graph: the same numbers in Node and in a browser, no DSP outside the engine.
 * A windowed DFT is one strided Conv; the mel bank is one MatMul.
 *
 * @reference openai/whisper@ba3f3cd:whisper/audio.py `log_mel_spectrogram`
 */

import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../graph/index.js'

export interface LogMelConfig {
  readonly sampleRateHz: number
  /** Window and DFT length, samples. */
  readonly windowSamples: number
  readonly hopSamples: number
  readonly melBands: number
}

export const WHISPER_LOG_MEL: LogMelConfig = { sampleRateHz: 16_000, windowSamples: 400, hopSamples: 160, melBands: 80 }

/** `samples` float32 [B, N] → `mel` float32 [B, M, N / hop] */
export function logMelGraph(config: LogMelConfig = WHISPER_LOG_MEL): Graph {
  const g = new GraphBuilder('logMel')
  g.output('mel', logMel(g, g.input('samples', 'float32', ['B', 'N']), config))
  return g.build()
}

export function logMel(scope: Scope, samples: Value, config: LogMelConfig): Value {
  const { windowSamples, hopSamples, melBands } = config
  const bins = windowSamples / 2 + 1
  const padded = scope.op(
    'Pad',
    [samples, scope.int64([0, windowSamples / 2, 0, windowSamples / 2])],
    { mode: 'reflect' },
    'padded',
  )
  const wave = scope.op('Unsqueeze', [padded, scope.int64([1])], {}, 'wave') // [B, 1, N + window]
  const filters = scope.initializer(
    'dft',
    lazyTensor('float32', [2 * bins, 1, windowSamples], () => bytesOf(dftFilters(windowSamples))),
  )
  const frames = scope.op('Conv', [wave, filters], { strides: [hopSamples] }, 'frames') // [B, 2·bins, N/hop + 1]
  // Whisper drops the last frame.
  const kept = scope.op('Slice', [frames, scope.int64([0]), scope.int64([-1]), scope.int64([2])], {}, 'kept')
  const squared = scope.op('Mul', [kept, kept], {}, 'squared')
  const [real, imaginary] = scope.ops('Split', [squared], { axis: 1, num_outputs: 2 }, ['real', 'imaginary'])
  const power = scope.op('Add', [real!, imaginary!], {}, 'power') // [B, bins, N/hop]
  const bank = scope.initializer(
    'melBank',
    lazyTensor('float32', [melBands, bins], () => bytesOf(slaneyMelBank(config))),
  )
  const mel = scope.op('Max', [scope.op('MatMul', [bank, power], {}, 'bands'), scope.float32(1e-10)], {}, 'floored')
  const log10 = scope.op('Mul', [scope.op('Log', [mel], {}, 'log'), scope.float32(1 / Math.LN10)], {}, 'log10')
  const peak = scope.op('ReduceMax', [log10, scope.int64([1, 2])], { keepdims: 1 }, 'peak') // [B, 1, 1]
  const floor = scope.op('Sub', [peak, scope.float32(8)], {}, 'floor')
  const clipped = scope.op('Max', [log10, floor], {}, 'clipped')
  return scope.op(
    'Mul',
    [scope.op('Add', [clipped, scope.float32(4)], {}, 'shifted'), scope.float32(0.25)],
    {},
    'scaled',
  )
}

/** Periodic Hann window times cos (first half of the channels) and sin: [2·bins, 1, window]. */
function dftFilters(window: number): Float32Array {
  const bins = window / 2 + 1
  const out = new Float32Array(2 * bins * window)
  for (let n = 0; n < window; n++) {
    const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / window)
    for (let k = 0; k < bins; k++) {
      // k·n modulo the window keeps the angle small, so that no precision is lost in the argument.
      const angle = (2 * Math.PI * ((k * n) % window)) / window
      out[k * window + n] = hann * Math.cos(angle)
      out[(bins + k) * window + n] = hann * Math.sin(angle)
    }
  }
  return out
}

/** librosa's default bank: Slaney mel scale, triangles of equal area, 0 Hz to half the sample rate. [M, bins] */
export function slaneyMelBank({ sampleRateHz, windowSamples, melBands }: LogMelConfig): Float32Array {
  const bins = windowSamples / 2 + 1
  const top = hzToMel(sampleRateHz / 2)
  const edges = Array.from({ length: melBands + 2 }, (_, i) => melToHz((top * i) / (melBands + 1)))
  const out = new Float32Array(melBands * bins)
  for (let m = 0; m < melBands; m++) {
    const [low, centre, high] = [edges[m]!, edges[m + 1]!, edges[m + 2]!]
    for (let k = 0; k < bins; k++) {
      const hz = (k * sampleRateHz) / windowSamples
      const weight = Math.min((hz - low) / (centre - low), (high - hz) / (high - centre))
      if (weight > 0) out[m * bins + k] = (weight * 2) / (high - low)
    }
  }
  return out
}

const HZ_PER_MEL = 200 / 3
const LOG_START_HZ = 1000
const LOG_START_MEL = LOG_START_HZ / HZ_PER_MEL
const LOG_STEP = Math.log(6.4) / 27

/** Slaney: linear below 1 kHz, logarithmic above. */
const hzToMel = (hz: number) =>
  hz < LOG_START_HZ ? hz / HZ_PER_MEL : LOG_START_MEL + Math.log(hz / LOG_START_HZ) / LOG_STEP
const melToHz = (mel: number) =>
  mel < LOG_START_MEL ? mel * HZ_PER_MEL : LOG_START_HZ * Math.exp(LOG_STEP * (mel - LOG_START_MEL))

/**
 * ImageBind's sound front end as a graph: clips, Kaldi's log-mel filter bank, padded and normalised.
 * Everything that Kaldi does to a frame before the power spectrum (its mean taken off, pre-emphasis, window, DFT) is linear, so
 * one strided Conv does all of it.
 *
 * @reference facebookresearch/ImageBind@53680b0:imagebind/data.py `load_and_transform_audio_data`, `waveform2melspec`
 * @reference pytorch/audio@v0.13.0:torchaudio/compliance/kaldi.py `fbank`
 */

import { M4Error } from '../../core/errors.js'
import { bytesOf } from '../../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../../graph/index.js'

export interface FbankConfig {
  readonly sampleRateHz: number
  readonly melBands: number
  /** Columns that the model sees: more are cut, fewer are filled with 0 before normalising. */
  readonly columns: number
  readonly clips: number
  readonly mean: number
  readonly std: number
}

export const IMAGEBIND_SOUND: FbankConfig = {
  sampleRateHz: 16_000,
  melBands: 128,
  columns: 204,
  clips: 3,
  mean: -4.268,
  std: 9.138,
}

const WINDOW_S = 0.025
const HOP_S = 0.01
const PRE_EMPHASIS = 0.97
const LOW_HZ = 20
/** float32's epsilon, below which Kaldi's logarithm does not look. */
const FLOOR = 1.1920928955078125e-7

/**
 * `samples` float32 [channels, N], full scale [-1, 1]; `starts`, `ends` int64 [clips] in samples (`clipSpans`); every clip holds
 * 25 ms or more → `melspec` float32 [1, clips, 1, M, columns].
 *
 * The mean of a clip is over all channels, its filter bank over the first alone. The reference takes the mean off in place, on a
 * view: where clips overlap, the later one meets samples that were shifted before. So does this graph.
 */
export function fbankFrontEndGraph(config: FbankConfig = IMAGEBIND_SOUND): Graph {
  const g = new GraphBuilder('soundFrontEnd')
  let samples = g.input('samples', 'float32', ['channels', 'N'])
  const spans = ['starts', 'ends'].map((name) => g.input(name, 'int64', [config.clips]))
  const weights = fbankWeights(g, config)
  const specs = Array.from({ length: config.clips }, (_, i) => {
    const scope = g.scope(`clips.${i}`)
    const [start, end] = spans.map((all, k) =>
      scope.op('Slice', [all, scope.int64([i]), scope.int64([i + 1])], {}, k ? 'end' : 'start'),
    )
    const clip = scope.op('Slice', [samples, start, end, scope.int64([1])], {}, 'samples')
    const mean = scope.op('ReduceMean', [clip, scope.int64([0, 1])], { keepdims: 1 }, 'mean')
    const centred = scope.op('Sub', [clip, mean], {}, 'centred')
    if (i + 1 < config.clips) {
      const before = scope.op('Slice', [samples, scope.int64([0]), start, scope.int64([1])], {}, 'before')
      const after = scope.op('Slice', [samples, end, scope.int64([LAST]), scope.int64([1])], {}, 'after')
      samples = scope.op('Concat', [before, centred, after], { axis: 1 }, 'shifted')
    }
    return clipSpectrum(scope, centred, config, weights)
  })
  const all = config.clips > 1 ? g.op('Concat', specs, { axis: 0 }, 'spectra') : specs[0]!
  const centred = g.op('Sub', [all, g.float32(config.mean)], {}, 'spectra/centred')
  const normal = g.op('Div', [centred, g.float32(config.std)], {}, 'spectra/normal')
  g.output('melspec', g.op('Unsqueeze', [normal, g.int64([0, 2])], {}, 'melspec/batch'))
  return g.build()
}

const LAST = 2 ** 31 - 1

interface FbankWeights {
  readonly filters: Value
  readonly bank: Value
  readonly hopSamples: number
}

/** @throws M4Error `USAGE` for a rate that gives no whole frames */
function fbankWeights(scope: Scope, { sampleRateHz, melBands }: FbankConfig): FbankWeights {
  const window = Math.floor(sampleRateHz * WINDOW_S)
  const hopSamples = Math.floor(sampleRateHz * HOP_S)
  if (window < 2 || hopSamples < 1)
    throw new M4Error('USAGE', `A filter bank needs frames of 25 ms, ${sampleRateHz} Hz gives ${window} samples.`)
  const bins = 2 ** Math.ceil(Math.log2(window)) / 2
  const filters = lazyTensor('float32', [2 * bins, 1, window], () => bytesOf(frameFilters(window)))
  const bank = lazyTensor('float32', [melBands, bins], () => bytesOf(kaldiMelBank(melBands, bins, sampleRateHz)))
  return { filters: scope.initializer('filters', filters), bank: scope.initializer('melBank', bank), hopSamples }
}

/** centred [channels, N] → [1, M, columns], not normalised */
function clipSpectrum(scope: Scope, clip: Value, { melBands, columns }: FbankConfig, weights: FbankWeights): Value {
  const first = scope.op('Slice', [clip, scope.int64([0]), scope.int64([1]), scope.int64([0])], {}, 'first')
  const wave = scope.op('Unsqueeze', [first, scope.int64([0])], {}, 'wave') // [1, 1, N]
  const frames = scope.op('Conv', [wave, weights.filters], { strides: [weights.hopSamples] }, 'frames') // [1, 2·bins, P]
  const squared = scope.op('Mul', [frames, frames], {}, 'squared')
  const [real, imaginary] = scope.ops('Split', [squared], { axis: 1, num_outputs: 2 }, ['real', 'imaginary'])
  const bands = scope.op('MatMul', [weights.bank, scope.op('Add', [real!, imaginary!], {}, 'power')], {}, 'bands')
  const log = scope.op('Log', [scope.op('Max', [bands, scope.float32(FLOOR)], {}, 'floored')], {}, 'log')
  const padded = scope.op('Pad', [log, scope.int64([0, 0, 0, 0, 0, columns])], {}, 'padded')
  const cut = scope.op('Slice', [padded, scope.int64([0]), scope.int64([columns]), scope.int64([2])], {}, 'cut')
  return scope.op('Reshape', [cut, scope.int64([1, melBands, columns])], {}, 'spectrum')
}

/**
 * Frame → DFT of the windowed, pre-emphasised frame without its mean, real parts then imaginary ones. The bin at half the sample
 * rate is left out: no band reaches it. [2·bins, 1, window]
 */
function frameFilters(window: number): Float32Array {
  const size = 2 ** Math.ceil(Math.log2(window))
  const bins = size / 2
  const out = new Float32Array(2 * bins * window)
  const row = new Float64Array(window)
  for (let k = 0; k < 2 * bins; k++) {
    for (let n = 0; n < window; n++) {
      const angle = (2 * Math.PI * (((k % bins) * n) % size)) / size
      // Hann over the whole window, both ends 0.
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (window - 1))
      row[n] = hann * (k < bins ? Math.cos(angle) : -Math.sin(angle))
    }
    // y[n] = x[n] - 0.97·x[n-1], and x[-1] = x[0]: transposed, each weight takes from its left neighbour.
    row[0]! *= 1 - PRE_EMPHASIS
    for (let n = 0; n + 1 < window; n++) row[n]! -= PRE_EMPHASIS * row[n + 1]!
    // Weights without a mean see a frame without its mean.
    const mean = row.reduce((sum, value) => sum + value, 0) / window
    for (let n = 0; n < window; n++) out[k * window + n] = row[n]! - mean
  }
  return out
}

/** Triangles over mel(f) = 1127·ln(1 + f/700), 20 Hz to half the sample rate. [M, bins] */
export function kaldiMelBank(melBands: number, bins: number, sampleRateHz: number): Float32Array {
  const mel = (hz: number) => 1127 * Math.log(1 + hz / 700)
  const low = mel(LOW_HZ)
  const step = (mel(sampleRateHz / 2) - low) / (melBands + 1)
  const out = new Float32Array(melBands * bins)
  for (let m = 0; m < melBands; m++)
    for (let k = 0; k < bins; k++) {
      const place = (mel((k * sampleRateHz) / (2 * bins)) - low) / step - m
      out[m * bins + k] = Math.max(0, Math.min(place, 2 - place))
    }
  return out
}

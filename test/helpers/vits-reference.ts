/**
 * VITS inference in plain loops, after the papers: channels first, flips as flips, transposed convolutions as they are defined,
 * bins of splines by search. Slow, and sharing nothing with the graphs but the names of weights.
 */

import type { VitsConfig, WeightTensor } from '../../src/models/index.js'

/** [channels][time] */
type Signal = readonly Float64Array[]
type Weights = ReadonlyMap<string, WeightTensor>

const signal = (channels: number, length: number, value: (c: number, t: number) => number = () => 0): Float64Array[] =>
  Array.from({ length: channels }, (_, c) => Float64Array.from({ length }, (_, t) => value(c, t)))
const map = (x: Signal, f: (value: number, c: number, t: number) => number): Signal =>
  x.map((row, c) => row.map((value, t) => f(value, c, t)))
const add = (a: Signal, b: Signal): Signal => map(a, (value, c, t) => value + b[c]![b[c]!.length === 1 ? 0 : t]!)
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

class Parts {
  constructor(readonly weights: Weights) {}

  read(name: string): { dims: readonly number[]; data: Float32Array } {
    const tensor = this.weights.get(name)
    if (!tensor) throw new Error(`reference: no ${name}`)
    return { dims: tensor.dims, data: tensor.float32() }
  }

  bias(name: string): Float32Array | undefined {
    return this.weights.get(`${name}/bias`)?.float32()
  }

  conv(x: Signal, name: string, dilation = 1, depthwise = false): Signal {
    const { dims, data } = this.read(name)
    const [outputs, inputs, kernel = 1] = dims as [number, number, number?]
    const bias = this.bias(name)
    const before = Math.floor(((kernel - 1) * dilation) / 2)
    return signal(outputs, x[0]!.length, (o, t) => {
      let sum = bias?.[o] ?? 0
      for (let c = 0; c < inputs; c++)
        for (let k = 0; k < kernel; k++)
          sum += (x[depthwise ? o : c]![t + k * dilation - before] ?? 0) * data[(o * inputs + c) * kernel + k]!
      return sum
    })
  }

  norm(x: Signal, name: string, epsilon: number): Signal {
    const [scale, shift] = [this.read(name).data, this.bias(name)!]
    const length = x[0]!.length
    const stats = Array.from({ length }, (_, t) => {
      const mean = x.reduce((sum, row) => sum + row[t]!, 0) / x.length
      const variance = x.reduce((sum, row) => sum + (row[t]! - mean) ** 2, 0) / x.length
      return { mean, deviation: Math.sqrt(variance + epsilon) }
    })
    return map(x, (value, c, t) => ((value - stats[t]!.mean) / stats[t]!.deviation) * scale[c]! + shift[c]!)
  }

  transposed(x: Signal, name: string, stride: number): Signal {
    const { dims, data } = this.read(name)
    const [inputs, outputs, kernel] = dims as [number, number, number]
    const padding = Math.floor((kernel - stride) / 2)
    const length = (x[0]!.length - 1) * stride - 2 * padding + kernel
    const bias = this.bias(name)!
    const out = signal(outputs, length, (o) => bias[o]!)
    for (let c = 0; c < inputs; c++)
      for (let t = 0; t < x[0]!.length; t++)
        for (let o = 0; o < outputs; o++)
          for (let k = 0; k < kernel; k++) {
            const at = t * stride + k - padding
            if (at >= 0 && at < length) out[o]![at]! += x[c]![t]! * data[(c * outputs + o) * kernel + k]!
          }
    return out
  }
}

/** Gauss' error function by its series. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x)
  let [term, sum] = [x, x]
  for (let n = 1; n < 200; n++) {
    term *= -(x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}
const gelu = (x: number) => (x / 2) * (1 + erf(x / Math.SQRT2))

function encodeText(parts: Parts, config: VitsConfig, ids: readonly number[]): Signal {
  const { width, heads, window } = config
  const embed = parts.read('text/embed').data
  let x: Signal = signal(width, ids.length, (c, t) => embed[ids[t]! * width + c]! * Math.sqrt(width))
  for (let l = 0; l < config.layers; l++) {
    const path = `text/layers.${l}`
    const [q, k, v] = ['q', 'k', 'v'].map((part) => parts.conv(x, `${path}/attn/${part}`)) as [Signal, Signal, Signal]
    const table = (part: string, head: number, distance: number, d: number) => {
      if (window === 0 || Math.abs(distance) > window) return 0
      const { data } = parts.read(`${path}/attn/positions/${part}`)
      const first = config.sharedPositions ? 0 : head
      return data[(first * (2 * window + 1) + distance + window) * (width / heads) + d]!
    }
    const mixed = signal(width, ids.length)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < ids.length; i++) {
        const D = width / heads
        const scores = ids.map((_, j) => {
          let sum = 0
          for (let d = 0; d < D; d++) sum += q[h * D + d]![i]! * (k[h * D + d]![j]! + table('k', h, j - i, d))
          return sum / Math.sqrt(D)
        })
        const top = Math.max(...scores)
        const weights = scores.map((score) => Math.exp(score - top))
        const total = weights.reduce((a, b) => a + b, 0)
        for (let d = 0; d < D; d++)
          for (let j = 0; j < ids.length; j++)
            mixed[h * D + d]![i]! += (weights[j]! / total) * (v[h * D + d]![j]! + table('v', h, j - i, d))
      }
    x = parts.norm(add(x, parts.conv(mixed, `${path}/attn/o`)), `${path}/attn/norm`, config.normEpsilon)
    const active = map(parts.conv(x, `${path}/mlp/conv1`), (value) => Math.max(value, 0))
    x = parts.norm(add(x, parts.conv(active, `${path}/mlp/conv2`)), `${path}/mlp/norm`, config.normEpsilon)
  }
  return x
}

function inverseSpline(y: number, raw: readonly number[], bins: number, bound: number, divisor: number): number {
  if (y < -bound || y > bound) return y
  const knots = (values: readonly number[]) => {
    const exps = values.map((value) => Math.exp(value / divisor))
    const total = exps.reduce((a, b) => a + b, 0)
    const out = [-bound]
    for (const value of exps) out.push(out.at(-1)! + 2 * bound * (1e-3 + (1 - 1e-3 * bins) * (value / total)))
    out[bins] = bound
    return out
  }
  const [xs, ys] = [knots(raw.slice(0, bins)), knots(raw.slice(bins, 2 * bins))]
  const slopes = [1, ...raw.slice(2 * bins).map((value) => 1e-3 + Math.log1p(Math.exp(value))), 1]
  let bin = 0
  while (bin < bins - 1 && y >= ys[bin + 1]!) bin++
  const [width, height] = [xs[bin + 1]! - xs[bin]!, ys[bin + 1]! - ys[bin]!]
  const slope = height / width
  const [d0, d1] = [slopes[bin]!, slopes[bin + 1]!]
  const above = y - ys[bin]!
  const bend = above * (d0 + d1 - 2 * slope)
  const [a, b, c] = [height * (slope - d0) + bend, height * d0 - bend, -slope * above]
  return ((2 * c) / (-b - Math.sqrt(b * b - 4 * a * c))) * width + xs[bin]!
}

function logDurations(
  parts: Parts,
  config: VitsConfig,
  hidden: Signal,
  noise: Signal,
  speaker: Signal | undefined,
): Signal {
  const { durations: d, normEpsilon } = config
  if (d.kind === 'plain') {
    let x = speaker ? add(hidden, parts.conv(speaker, 'durations/speaker')) : hidden
    for (const name of ['durations/conv1', 'durations/conv2'])
      x = parts.norm(
        map(parts.conv(x, name), (value) => Math.max(value, 0)),
        `${name}/norm`,
        normEpsilon,
      )
    return parts.conv(x, 'durations/project')
  }
  const separable = (input: Signal, path: string) => {
    let x = input
    for (let i = 0; i < d.separableLayers; i++) {
      const at = `${path}/layers.${i}`
      const deep = parts.conv(x, `${at}/depthwise`, d.kernel ** i, true)
      const h = map(parts.norm(deep, `${at}/depthwise/norm`, normEpsilon), gelu)
      x = add(x, map(parts.norm(parts.conv(h, `${at}/pointwise`), `${at}/pointwise/norm`, normEpsilon), gelu))
    }
    return x
  }
  let h = parts.conv(hidden, 'durations/in')
  if (speaker) h = add(h, parts.conv(speaker, 'durations/speaker'))
  const condition = parts.conv(separable(h, 'durations'), 'durations/out')
  let z: Signal = noise
  for (let i = d.flows - 2; i >= 0; i--) {
    z = z.toReversed()
    const path = `durations/splines.${i}`
    const raw = parts.conv(separable(add(parts.conv([z[0]!], `${path}/in`), condition), path), `${path}/out`)
    const moved = z[1]!.map((value, t) =>
      inverseSpline(
        value,
        raw.map((row) => row[t]!),
        d.bins,
        d.tailBound,
        Math.sqrt(d.width),
      ),
    )
    z = [z[0]!, moved]
  }
  z = z.toReversed()
  const [shift, scale] = ['shift', 'logScale'].map((part) => parts.read(`durations/affine/${part}`).data)
  return [z[0]!.map((value) => (value - shift![0]!) * Math.exp(-scale![0]!))]
}

function reverseFlow(parts: Parts, config: VitsConfig, prior: Signal, speaker: Signal | undefined): Signal {
  const { flows, width, layers, dilationRate } = config.coupling
  const half = config.latentWidth / 2
  let z = prior
  for (let f = flows - 1; f >= 0; f--) {
    z = z.toReversed()
    const path = `flow/couplings.${f}`
    let x = parts.conv(z.slice(0, half), `${path}/in`)
    const terms = speaker && parts.conv(speaker, `${path}/speaker`)
    let sum: Signal = signal(width, x[0]!.length)
    for (let l = 0; l < layers; l++) {
      let wide = parts.conv(x, `${path}/layers.${l}/in`, dilationRate ** l)
      if (terms) wide = add(wide, terms.slice(2 * width * l, 2 * width * (l + 1)))
      const gated = signal(width, x[0]!.length, (c, t) => Math.tanh(wide[c]![t]!) * sigmoid(wide[c + width]![t]!))
      const out = parts.conv(gated, `${path}/layers.${l}/out`)
      if (l < layers - 1) x = add(x, out.slice(0, width))
      sum = add(sum, l < layers - 1 ? out.slice(width) : out)
    }
    const mean = parts.conv(sum, `${path}/out`)
    z = [...z.slice(0, half), ...map(z.slice(half), (value, c, t) => value - mean[c]![t]!)]
  }
  return z
}

function decode(parts: Parts, config: VitsConfig, latents: Signal, speaker: Signal | undefined): Signal {
  const { rates, blockKernels, dilations, slope } = config.decoder
  const leaky = (x: Signal, low: number) => map(x, (value) => (value < 0 ? value * low : value))
  let x = parts.conv(latents, 'decoder/in')
  if (speaker) x = add(x, parts.conv(speaker, 'decoder/speaker'))
  for (const [i, rate] of rates.entries()) {
    const long = parts.transposed(leaky(x, slope), `decoder/stages.${i}/up`, rate)
    const blocks = blockKernels.map((_, j) => {
      let y = long
      for (const [d, dilation] of dilations[j]!.entries()) {
        const path = `decoder/stages.${i}/blocks.${j}`
        const wide = parts.conv(leaky(y, slope), `${path}/conv1.${d}`, dilation)
        y = add(y, parts.conv(leaky(wide, slope), `${path}/conv2.${d}`))
      }
      return y
    })
    x = map(blocks.reduce(add), (value) => value / blocks.length)
  }
  return map(parts.conv(leaky(x, 0.01), 'decoder/out'), Math.tanh)
}

export interface VitsReference {
  readonly logDurations: readonly number[]
  readonly durations: readonly number[]
  readonly latents: Signal
  readonly waveform: readonly number[]
}

/** `priorNoise(frames)` gives [C][frames], called once the durations are known. */
export function vitsReference(
  config: VitsConfig,
  weights: Weights,
  given: {
    ids: readonly number[]
    speaker: number | undefined
    lengthScale: number
    noise: Signal
    priorNoise: (frames: number) => Signal
  },
): VitsReference {
  const parts = new Parts(weights)
  const { speakerWidth } = config
  const speaker =
    given.speaker === undefined
      ? undefined
      : signal(speakerWidth, 1, (c) => parts.read('speakers').data[given.speaker! * speakerWidth + c]!)
  const hidden = encodeText(parts, config, given.ids)
  const stats = parts.conv(hidden, 'text/project')
  const log = [...logDurations(parts, config, hidden, given.noise, speaker)[0]!]
  const durations = log.map((value) => Math.ceil(Math.exp(value) * given.lengthScale))
  const frames = durations.flatMap((count, t) => Array.from({ length: count }, () => t))
  const noise = given.priorNoise(frames.length)
  const prior = signal(config.latentWidth, frames.length, (c, f) => {
    const [mean, logScale] = [stats[c]![frames[f]!]!, stats[c + config.latentWidth]![frames[f]!]!]
    return mean + noise[c]![f]! * Math.exp(logScale)
  })
  const latents = reverseFlow(parts, config, prior, speaker)
  return { logDurations: log, durations, latents, waveform: [...decode(parts, config, latents, speaker)[0]!] }
}

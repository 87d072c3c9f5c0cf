/** HiFi-GAN from its own checkpoint, against its definition in float64, on the engine. */

import { expect, test } from 'vitest'
import { normalSource } from '../../core/random.js'
import { openEngine } from '../../engine/index.js'
import { openGraph } from '../../parity/graphs.js'
import type { WeightTensor } from '../weights.js'
import { HIFI_GAN_V1, TTS_TRANSFORMER_ARCHITECTURES, type VocoderConfig, vocoderConfig } from './index.js'

const vocoder = TTS_TRANSFORMER_ARCHITECTURES['hifi-gan']
const OPTIONS = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: [] } as const
const count = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
type Rows = readonly (readonly number[])[]

const SMALL: VocoderConfig = {
  ...HIFI_GAN_V1,
  melBands: 3,
  width: 8,
  rates: [4, 2],
  kernels: [8, 4],
  blockKernels: [3],
  dilations: [[1, 3]],
}
const json = { upsample_rates: [4, 2], resblock_dilation_sizes: [[1, 3]] }
const next = normalSource(9)
/** `hifigan.bin`: gains and directions apart, below `generator`. */
const file = new Map<string, WeightTensor>()
const add = (name: string, dims: readonly number[]) => {
  const data = Float32Array.from({ length: count(dims) }, () => 0.4 * next())
  const perRow = count(dims.slice(1))
  file.set(`generator/${name}`, {
    name,
    dims,
    float32: (rows) => (rows ? data.slice(rows.from * perRow, rows.to * perRow) : data.slice()),
  })
}
const conv = (name: string, dims: readonly [number, number, number], outputs: number = dims[0]) => {
  add(`${name}.weight_g`, [dims[0], 1, 1])
  add(`${name}.weight_v`, dims)
  add(`${name}.bias`, [outputs])
}
conv('conv_pre', [8, 3, 7])
for (const [i, [inputs, kernel]] of [[8, 8] as const, [4, 4] as const].entries()) {
  const outputs = inputs / 2
  conv(`ups.${i}`, [inputs, outputs, kernel], outputs)
  for (const convs of ['convs1', 'convs2'])
    for (const d of [0, 1]) conv(`resblocks.${i}.${convs}.${d}`, [outputs, outputs, 3])
}
conv('conv_post', [1, 2, 7])

/** The generator as it is defined: transposed convolutions scatter. [channel][time] */
function generate(mel: Rows): readonly number[] {
  const get = (name: string) => file.get(`generator/${name}`)!
  const weight = (name: string) => {
    const [{ dims }, v, g] = [
      get(`${name}.weight_v`),
      get(`${name}.weight_v`).float32(),
      get(`${name}.weight_g`).float32(),
    ]
    const perRow = count(dims.slice(1))
    const data = Array.from(v, (value, i) => {
      const row = Math.floor(i / perRow)
      const squares = v.subarray(row * perRow, (row + 1) * perRow).reduce((sum, each) => sum + each ** 2, 0)
      return (g[row]! * value) / Math.sqrt(squares)
    })
    return { dims: dims as [number, number, number], data, bias: get(`${name}.bias`).float32() }
  }
  const conv1d = (x: Rows, name: string, dilation = 1): Rows => {
    const { dims, data, bias } = weight(name)
    const [outputs, inputs, kernel] = dims
    return Array.from({ length: outputs }, (_, o) =>
      x[0]!.map((__, t) => {
        let sum = bias[o]!
        for (let c = 0; c < inputs; c++)
          for (let k = 0; k < kernel; k++)
            sum += (x[c]![t + (k - (kernel - 1) / 2) * dilation] ?? 0) * data[(o * inputs + c) * kernel + k]!
        return sum
      }),
    )
  }
  const transposed = (x: Rows, name: string, stride: number): Rows => {
    const { dims, data, bias } = weight(name)
    const [inputs, outputs, kernel] = dims
    const padding = (kernel - stride) / 2
    const out = Array.from({ length: outputs }, (_, o) => new Array<number>(x[0]!.length * stride).fill(bias[o]!))
    for (let c = 0; c < inputs; c++)
      for (const [t, value] of x[c]!.entries())
        for (let o = 0; o < outputs; o++)
          for (let k = 0; k < kernel; k++) {
            const at = t * stride + k - padding
            if (at >= 0 && at < out[o]!.length) out[o]![at]! += value * data[(c * outputs + o) * kernel + k]!
          }
    return out
  }
  const leaky = (x: Rows, slope: number): Rows => x.map((row) => row.map((v) => (v > 0 ? v : slope * v)))
  let x = conv1d(mel, 'conv_pre')
  for (const [i, rate] of SMALL.rates.entries()) {
    x = transposed(leaky(x, 0.1), `ups.${i}`, rate)
    for (const [d, dilation] of [1, 3].entries()) {
      const first = conv1d(leaky(x, 0.1), `resblocks.${i}.convs1.${d}`, dilation)
      const second = conv1d(leaky(first, 0.1), `resblocks.${i}.convs2.${d}`)
      x = x.map((row, c) => row.map((v, t) => v + second[c]![t]!))
    }
  }
  return conv1d(leaky(x, 0.01), 'conv_post')[0]!.map(Math.tanh)
}

test('reads hifigan.bin and its JSON, and gives the samples of the definition', async () => {
  const config = vocoderConfig({ format: 'torch', metadata: { config: json }, weights: file })
  expect(config).toEqual(SMALL)
  const engine = await openEngine()
  using session = await openGraph(engine, vocoder.graphs(config, vocoder.weights(config, file), OPTIONS).vocode!())
  const mel = Array.from({ length: 3 }, () => Array.from({ length: 5 }, next))
  using given = engine.tensor('float32', [1, 3, 5], Float32Array.from(mel.flat()))
  const { waveform } = await session.run({ mel: given })
  using made = waveform!
  expect(made.dims).toEqual([1, 40])
  const worst = Math.max(...generate(mel).map((value, i) => Math.abs(value - (made.data as Float32Array)[i]!)))
  expect(worst / Math.max(...generate(mel).map(Math.abs))).toBeLessThan(1e-4)
})

test('without its JSON it is refused', () => {
  expect(() => vocoderConfig({ format: 'torch', metadata: {}, weights: file })).toThrow(/upsample_rates|dilation/)
  const odd = new Map([...file].filter(([name]) => !name.includes('convs1')))
  expect(() => vocoderConfig({ format: 'torch', metadata: { config: json }, weights: odd })).toThrow(/type 1/)
})

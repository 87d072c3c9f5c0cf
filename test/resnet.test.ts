/** ResNet from a Keras checkpoint in TensorFlow.js's layout, against a plain implementation in float64, at toy size. */

import { expect, test } from 'vitest'
import { randomSource } from '../src/core/random.js'
import { openEngine } from '../src/engine/index.js'
import { architecture, type ResnetConfig, type Weights, type WeightTensor } from '../src/models/index.js'
import { EXACT, openGraph } from '../src/parity/graphs.js'

const [SIZE, CLASSES, EPSILON] = [32, 5, 1e-3]
const STAGES = [1, 2, 1]
const WIDTHS = [2, 3, 4]

const TENSORS = new Map<string, { dims: number[]; data: Float32Array }>()
let seed = 1
const put = (name: string, dims: number[], low: number, high: number) => {
  const uniform = randomSource(seed++)
  const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => low + (high - low) * uniform())
  TENSORS.set(name, { dims, data })
}
function putConv(conv: string, norm: string, kernel: number, inner: number, out: number) {
  const spread = 1.5 / Math.sqrt(kernel * kernel * inner)
  put(`${conv}/kernel`, [kernel, kernel, inner, out], -spread, spread)
  put(`${conv}/bias`, [out], -0.2, 0.2)
  put(`${norm}/gamma`, [out], 0.7, 1.3)
  put(`${norm}/beta`, [out], -0.2, 0.4)
  put(`${norm}/moving_mean`, [out], -0.3, 0.3)
  put(`${norm}/moving_variance`, [out], 0.5, 1.5)
}
putConv('conv1', 'bn_conv1', 7, 3, 3)
let inner = 3
for (const [stage, blocks] of STAGES.entries())
  for (let block = 0; block < blocks; block++) {
    const name = `${stage + 2}${'abc'[block]}_branch`
    const width = WIDTHS[stage]!
    putConv(`res${name}2a`, `bn${name}2a`, 1, inner, width)
    putConv(`res${name}2b`, `bn${name}2b`, 3, width, width)
    putConv(`res${name}2c`, `bn${name}2c`, 1, width, 4 * width)
    if (block === 0) putConv(`res${name}1`, `bn${name}1`, 1, inner, 4 * width)
    inner = 4 * width
  }
put('fc1000/kernel', [inner, CLASSES], -0.5, 0.5)
put('fc1000/bias', [CLASSES], -0.1, 0.1)

const WEIGHTS: Weights = new Map(
  [...TENSORS].map(([name, { dims, data }]): [string, WeightTensor] => [name, { name, dims, float32: () => data }]),
)

/** Planes [channels][side][side]. */
type Planes = number[][][]
const at = (name: string) => TENSORS.get(name)!.data

function conv(x: Planes, name: string, norm: string, strides: number, padding: number): Planes {
  const [kernel, , channels, out] = TENSORS.get(`${name}/kernel`)!.dims as [number, number, number, number]
  const side = Math.floor((x[0]!.length + 2 * padding - kernel) / strides) + 1
  const weights = at(`${name}/kernel`)
  const axis = Array.from({ length: side }, (_, i) => i)
  return Array.from({ length: out }, (_, o) =>
    axis.map((row) =>
      axis.map((column) => {
        let sum = at(`${name}/bias`)[o]!
        for (let i = 0; i < kernel; i++)
          for (let j = 0; j < kernel; j++) {
            const [y, z] = [row * strides + i - padding, column * strides + j - padding]
            for (let c = 0; c < channels; c++)
              sum += (x[c]![y]?.[z] ?? 0) * weights[((i * kernel + j) * channels + c) * out + o]!
          }
        const scale = at(`${norm}/gamma`)[o]! / Math.sqrt(at(`${norm}/moving_variance`)[o]! + EPSILON)
        return (sum - at(`${norm}/moving_mean`)[o]!) * scale + at(`${norm}/beta`)[o]!
      }),
    ),
  )
}
const each = (x: Planes, of: (value: number, c: number, y: number, z: number) => number): Planes =>
  x.map((plane, c) => plane.map((row, y) => row.map((value, z) => of(value, c, y, z))))
const relu = (x: Planes) => each(x, (value) => Math.max(value, 0))
const pooled = (x: Planes) => x.map((plane) => plane.flat().reduce((a, b) => a + b, 0) / plane.flat().length)

/** @param pixels red, green and blue less their means */
function reference(pixels: Planes): { features: number[][]; patches: number[]; probabilities: number[] } {
  const stem = relu(conv(pixels.slice().reverse(), 'conv1', 'bn_conv1', 2, 3))
  const half = stem[0]!.length / 2
  let x: Planes = stem.map((plane) =>
    Array.from({ length: half }, (_, y) =>
      Array.from({ length: half }, (__, z) =>
        Math.max(...[-1, 0, 1].flatMap((i) => [-1, 0, 1].map((j) => plane[2 * y + i]?.[2 * z + j] ?? 0))),
      ),
    ),
  )
  const features: number[][] = []
  let patches: number[] = []
  for (const [stage, blocks] of STAGES.entries())
    for (let block = 0; block < blocks; block++) {
      const name = `${stage + 2}${'abc'[block]}_branch`
      const strides = stage > 0 && block === 0 ? 2 : 1
      const a = relu(conv(x, `res${name}2a`, `bn${name}2a`, strides, 0))
      const b = relu(conv(a, `res${name}2b`, `bn${name}2b`, 1, 1))
      const c = conv(b, `res${name}2c`, `bn${name}2c`, 1, 0)
      const beside = block === 0 ? conv(x, `res${name}1`, `bn${name}1`, strides, 0) : x
      x = relu(each(c, (value, k, y, z) => value + beside[k]![y]![z]!))
      features.push(pooled(x))
      // The last stage but one ends here: places row by row, all channels of each.
      if (features.length === 3)
        patches = x[0]!.flatMap((row, y) => row.flatMap((_, z) => x.map((plane) => plane[y]![z]!)))
    }
  const last = features.at(-1)!
  const scores = Array.from({ length: CLASSES }, (_, k) =>
    last.reduce((sum, value, i) => sum + value * at('fc1000/kernel')[i * CLASSES + k]!, at('fc1000/bias')[k]!),
  )
  const total = scores.reduce((sum, score) => sum + Math.exp(score), 0)
  return { features, patches, probabilities: scores.map((score) => Math.exp(score) / total) }
}

const difference = (a: ArrayLike<number>, b: readonly number[]) =>
  b.reduce((most, value, i) => Math.max(most, Math.abs(value - a[i]!)), a.length === b.length ? 0 : 1)

test('classes, pooled middle layers and places', async () => {
  const model = architecture('resnet')
  const topology = {
    model_config: { config: { layers: [{ class_name: 'BatchNormalization', config: { epsilon: EPSILON } }] } },
  }
  const facts = { format: 'tfjs', metadata: { config: { size: SIZE }, topology }, weights: WEIGHTS }
  const config = model.configure(facts) as ResnetConfig
  expect(config).toEqual({
    size: SIZE,
    stages: STAGES,
    classes: CLASSES,
    widths: WIDTHS,
    stemWidth: 3,
    normEpsilon: EPSILON,
  })
  const graphs = model.graphs(config as never, model.weights(config as never, WEIGHTS), EXACT)
  const engine = await openEngine()
  using frontEnd = await openGraph(engine, graphs.frontEnd!())
  using encode = await openGraph(engine, graphs.encode!())
  const uniform = randomSource(99)
  const dots = Uint8Array.from({ length: SIZE * SIZE * 3 }, () => Math.floor(uniform() * 256))
  using picture = engine.tensor('uint8', [SIZE, SIZE, 3], dots)
  using pixels = (await frontEnd.run({ picture })).pixels!
  const planes: Planes = [123.68, 116.779, 103.939].map((mean, c) =>
    Array.from({ length: SIZE }, (_, y) =>
      Array.from({ length: SIZE }, (__, x) => dots[(y * SIZE + x) * 3 + c]! - mean),
    ),
  )
  expect(difference(pixels.data as Float32Array, planes.flat(2))).toBeLessThan(1e-4)
  const results = await encode.run({ pixels })
  const { features, patches, probabilities } = reference(planes)
  const names = Object.keys(results).sort()
  expect(names).toEqual(['patches', 'pooled/s3', 'pooled/s2', 'pooled/s4', 'probabilities'].sort())
  const data = (name: string) => results[name]!.data as Float32Array
  for (const block of [2, 3, 4]) expect(difference(data(`pooled/s${block}`), features[block - 1]!)).toBeLessThan(2e-3)
  expect(difference(data('probabilities'), probabilities)).toBeLessThan(1e-4)
  expect(results.patches!.dims).toEqual([1, 16, 12])
  expect(difference(data('patches'), patches)).toBeLessThan(2e-3)
  for (const tensor of Object.values(results)) tensor.dispose()
})

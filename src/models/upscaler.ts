/**
 * More dots for a picture: a few convolutions over one plane of colour say s² planes, which are laid out as one of s times the size.
 * One of them starts as bicubic interpolation; the others learn what that lacks.
 *
 * @paper arXiv:1609.05158 (sub-pixel convolution); cubic kernel with a = −½: Keys 1981
 */

import { bytesOf } from '../core/tensor.js'
import { type Graph, GraphBuilder, lazyTensor, type Scope, type Value } from '../graph/index.js'
import type { Architecture, CheckpointFacts } from './architecture.js'
import { dimsOf } from './facts.js'
import { vector } from './linear.js'
import { randomWeights } from './random-weights.js'
import { need } from './transformer.js'
import { type NameTable, resolveWeights, type Weights, type WeightTensor } from './weights.js'

export interface UpscalerConfig {
  /** How many times as wide and as high, s. */
  readonly scale: number
  /** Channels behind the first and the second layer. */
  readonly widths: readonly [number, number]
}

/** Dots along each side of the kernels; the first is also that of the interpolation. */
const KERNELS = [5, 3, 3]
const REACH = 4

const NAMES = ['cubic', 'layers.0', 'layers.0/bias', 'layers.1', 'layers.1/bias', 'layers.2', 'layers.2/bias']
const LAYOUT: NameTable = { names: Object.fromEntries(NAMES.map((name) => [name, name])) }

export function upscalerConfig({ weights }: CheckpointFacts): UpscalerConfig {
  const width = (name: string) => dimsOf(weights, [name])[0]!
  return { scale: Math.sqrt(width('cubic')), widths: [width('layers.0'), width('layers.1')] }
}

export function upscalerShapes({ scale, widths }: UpscalerConfig): Record<string, readonly number[]> {
  const channels = [1, ...widths, scale * scale]
  const layers = KERNELS.flatMap((kernel, i): [string, readonly number[]][] => [
    [`layers.${i}`, [channels[i + 1]!, channels[i]!, kernel, kernel]],
    [`layers.${i}/bias`, [channels[i + 1]!]],
  ])
  return { cubic: [scale * scale, 1, 5, 5], ...Object.fromEntries(layers) }
}

const upscalerWeights = (config: UpscalerConfig, weights: Weights): Map<string, WeightTensor> =>
  resolveWeights(weights, LAYOUT, 0, upscalerShapes(config))

/** `plane` [B, 1, Y, X] in [0, 1] → `larger` [B, 1, s·Y, s·X], not clipped. */
export function upscalerGraph({ scale }: UpscalerConfig, weights: ReadonlyMap<string, WeightTensor>): Graph {
  const g = new GraphBuilder('picture.upscale')
  const plane = g.input('plane', 'float32', ['B', 1, 'Y', 'X'])
  const read = (name: string) => vector(g, need(weights, name), `${name}/weight`)
  const conv = (x: Value, name: string) =>
    g.op('Conv', [x, read(name), vector(g, need(weights, `${name}/bias`), `${name}/bias`)], {}, name)
  let x = edged(g, plane, REACH, 'edged')
  for (const i of [0, 1]) x = g.op('Relu', [conv(x, `layers.${i}`)], {}, `layers.${i}/relu`)
  const learned = conv(x, 'layers.2') // [B, s·s, Y, X]
  const cubic = g.op('Conv', [edged(g, plane, 2, 'cubic/edged'), read('cubic')], {}, 'cubic')
  const sum = g.op('Add', [cubic, learned], {}, 'phases')
  g.output('larger', laidOut(g, sum, scale))
  return g.build()
}

/** Dots of the edge repeated outwards. */
const edged = (g: Scope, x: Value, by: number, name: string): Value =>
  g.op('Pad', [x, g.int64([0, 0, by, by, 0, 0, by, by])], { mode: 'edge' }, name)

/** Phase (i, j) of each dot to its place in a square of s × s: a transposed convolution with ones where they belong. */
function laidOut(g: Scope, phases: Value, scale: number): Value {
  const count = scale * scale
  const ones = Float32Array.from({ length: count * count }, (_, at) => Number(Math.floor(at / count) === at % count))
  const places = g.initializer(
    'places',
    lazyTensor('float32', [count, 1, scale, scale], () => bytesOf(ones)),
  )
  return g.op('ConvTranspose', [phases, places], { strides: [scale, scale] }, 'laidOut')
}

/** Bicubic interpolation as s² kernels of 5 × 5: what training starts with. [s·s, 1, 5, 5] */
export function cubicKernels(scale: number): Float32Array {
  const rows = Array.from({ length: scale }, (_, phase) => {
    const at = (phase + 0.5) / scale - 0.5
    return Array.from({ length: 5 }, (_, tap) => cubicKernel(tap - 2 - at))
  })
  return Float32Array.from(rows.flatMap((y) => rows.flatMap((x) => y.flatMap((a) => x.map((b) => a * b)))))
}

/** Keys' kernel with a = −½, at an offset in dots. */
export function cubicKernel(offset: number): number {
  const x = Math.abs(offset)
  if (x <= 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1
  return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0
}

export const upscaler: Architecture<UpscalerConfig> = {
  configure: upscalerConfig,
  weights: upscalerWeights,
  random: (config, seed) => randomWeights(upscalerShapes(config), () => 1, seed),
  graphs: (config, weights) => ({ upscale: () => upscalerGraph(config, weights) }),
  runtimeConfig: ({ scale }) => ({ scale }),
}

/**
 * Twice the dots of a picture, trained on photographs that were made half as large: the part `upscale` of lite's IMG-gen.
 */

import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { m4fmHome } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import { randomSource } from '../../core/random.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import { encodeModel } from '../../graph/index.js'
import {
  ARCHITECTURES,
  cubicKernels,
  type UpscalerConfig,
  upscalerGraph,
  type WeightTensor,
  withOrigins,
} from '../../models/index.js'
import { differentiable } from '../autodiff/frozen.js'
import { fitSubject } from '../fit.js'
import { checkpointTensors, trainable, withTrained } from '../full.js'
import { mseLoss } from '../losses/index.js'
import { OPTIMISER_DEFAULTS } from '../schedule.js'
import { type Program, stepGraph } from '../step-graph.js'
import { cubicResize } from './cubic-resize.js'
import { digestOf, halves, type LiteModule, type LiteRequest, parameterCount } from './module.js'

const CONFIG: UpscalerConfig = { scale: 2, widths: [32, 16] }
/** Dots along each side of what a sample shows before it is enlarged. */
const CROP = 24
const FULL = { pictures: 70, heldOut: 15, batch: 16, steps: 1500, evalEvery: 250, evalSamples: 15 }
const SMOKE = { pictures: 4, heldOut: 2, batch: 2, steps: 40, evalEvery: 20, evalSamples: 2 }
const OPTIMISER = { ...OPTIMISER_DEFAULTS, lr: 2e-3, beta2: 0.99, decay: 0 }

/** Rooms, as a robot sees them; free to use. */
const PHOTOGRAPHS = 'voc_detection_samples/input/images-optional'

/** Made so many times smaller first: noise of the camera and marks of compression go, edges stay. */
const CLEANER = 2

/** One plane, and the same at half the size; both in [0, 1]. */
interface Pair {
  readonly large: Float32Array
  readonly small: Float32Array
  /** Of the small one. */
  readonly width: number
  readonly height: number
}

/** @throws M4Error `FILE_NOT_FOUND` without `voc_detection_samples` in the folder of data, `ABORTED` */
export async function trainUpscaler(request: LiteRequest): Promise<LiteModule> {
  const { engine, home = m4fmHome(), seed = 7, smoke = false, signal, onLine } = request
  const { pictures, heldOut, ...plan } = smoke ? SMOKE : FULL
  const files = smoke ? undefined : await photographs(join(request.data, PHOTOGRAPHS), pictures + heldOut)
  const pairs = files ? await Promise.all([...files.values()].map(pairOf)) : madeUpPairs(pictures + heldOut)
  const [train, held] = [pairs.slice(heldOut), pairs.slice(0, heldOut)]
  const weights = startWeights(seed)
  const { parameters, program } = upscalerProgram(weights)
  const folder = join(home, 'train', `lite-upscaler${smoke ? '-smoke' : ''}`)
  await mkdir(folder, { recursive: true })
  let step = 0
  const fit = await fitSubject(
    engine,
    {
      shapes: parameters,
      initial: new Map(parameters.map(({ name, initial }) => [name, initial()])),
      trainCount: train.length,
      evalCount: held.length,
      batch: (side, indices) => {
        const random = randomSource(side === 'train' ? seed * 1_000_003 + step : 1)
        const chosen = indices.map((i) => (side === 'train' ? train : held)[i]!)
        return { feeds: crops(chosen, random), weight: indices.length, units: indices.length }
      },
      weightOf: (indices) => indices.length,
      open: async (kind) => {
        const bytes = await encodeModel(stepGraph('upscaler', parameters, program, kind))
        return engine.createSession({ bytes }, { memoryPattern: false })
      },
      openOptimiser: () => Promise.reject(new Error('Batches are run whole.')),
    },
    {
      ...plan,
      optimiser: { ...OPTIMISER, warmupSteps: plan.steps / 20 },
      seed,
      patience: 0,
      signal,
      beforeStep: (next) => {
        step = next
      },
      onStep: ({ step: done, steps, evalLoss }) => {
        if (evalLoss !== undefined) onLine?.(`step ${done} of ${steps}, held out ${decibels(evalLoss).toFixed(2)} dB`)
      },
      checkpoint: { folder, key: sha256Hex(JSON.stringify({ CONFIG, plan, OPTIMISER, seed })), everySeconds: 60 },
    },
  )
  const tensors = halves(checkpointTensors(withTrained(weights, fit.parameters)))
  const least = fit.evaluations.find(({ step: at }) => at === fit.step)!.loss
  return {
    tensors,
    record: {
      about: 'IMG-gen, part upscale: twice the dots of a picture (architecture upscaler).',
      command: 'npm run train:lite -- --only upscaler',
      seed,
      data: [
        {
          name: `Cartucho/mAP, the first ${pictures + heldOut} photographs by name`,
          digest: digestOf(files ?? new Map()),
          samples: pictures,
          licence: 'Apache-2.0',
        },
      ],
      metrics: {
        heldOutPsnrDb: { value: decibels(least), count: heldOut, note: 'one crop of the luminance of each photograph' },
      },
      licence: 'Apache-2.0',
      parameters: parameterCount(tensors),
      seconds: Math.round(fit.seconds),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

const decibels = (meanSquare: number) => -10 * Math.log10(meanSquare)

/** Interpolation, and layers of which the last adds nothing yet. */
function startWeights(seed: number): Map<string, WeightTensor> {
  const weights = ARCHITECTURES.upscaler.random(CONFIG, seed)
  const set = (name: string, data: Float32Array) => weights.set(name, { ...weights.get(name)!, float32: () => data })
  set('cubic', cubicKernels(CONFIG.scale))
  set('layers.2', new Float32Array(weights.get('layers.2')!.dims.reduce((a, b) => a * b, 1)))
  return withOrigins(weights)
}

function upscalerProgram(weights: ReadonlyMap<string, WeightTensor>) {
  const graph = upscalerGraph(CONFIG, weights)
  const full = trainable(graph, weights)
  const program: Program = (tape, parameter) => {
    const { g } = tape
    const substitutes = full.substitutes(tape, parameter, 'up/')
    const plane = g.input('plane', 'float32', ['B', 1, CROP, CROP])
    const values = new Map([...substitutes.values, ['plane', plane]])
    const larger = differentiable(tape, graph, { ...substitutes, values, prefix: 'up/', wanted: ['larger'] }).get(
      'larger',
    )!
    const side = CROP * CONFIG.scale
    return { loss: mseLoss(tape, g.scope('loss'), larger, g.input('target', 'float32', ['B', 1, side, side])) }
  }
  return { parameters: full.parameters, program }
}

/** One place of each pair, mirrored or not. */
function crops(pairs: readonly Pair[], random: () => number): Record<string, HostTensor> {
  const side = CROP * CONFIG.scale
  const plane = hostTensor('float32', [pairs.length, 1, CROP, CROP])
  const target = hostTensor('float32', [pairs.length, 1, side, side])
  for (const [row, { large, small, width, height }] of pairs.entries()) {
    const [left, top] = [width, height].map((size) => Math.floor(random() * (size - CROP + 1))) as [number, number]
    const isMirrored = random() < 0.5
    const copy = (from: Float32Array, to: Float32Array, factor: number) => {
      const [size, stride] = [CROP * factor, width * factor]
      for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++) {
          const column = isMirrored ? size - 1 - x : x
          to[(row * size + y) * size + x] = from[(top * factor + y) * stride + left * factor + column]!
        }
    }
    copy(small, plane.data, 1)
    copy(large, target.data, CONFIG.scale)
  }
  return { plane, target }
}

/** Name → bytes, the first of the folder. */
async function photographs(folder: string, count: number): Promise<Map<string, Uint8Array>> {
  const names = (await readdir(folder)).filter((name) => /\.jpe?g$/i.test(name)).sort()
  return new Map(
    await Promise.all(
      names.slice(0, count).map(async (name) => [name, new Uint8Array(await readFile(join(folder, name)))] as const),
    ),
  )
}

/** Its luminance, and that at half the size. */
async function pairOf(bytes: Uint8Array): Promise<Pair> {
  const { default: sharp } = await import('sharp')
  const { width: dots = 0 } = await sharp(bytes).metadata()
  const grey = sharp(bytes)
    .resize(Math.floor(dots / CLEANER))
    .removeAlpha()
    .toColourspace('b-w')
    .raw()
  const { data, info } = await grey.toBuffer({ resolveWithObject: true })
  const [width, height] = [info.width >> 1, info.height >> 1]
  const whole = { width: 2 * width, height: 2 * height }
  const large = Float32Array.from({ length: 4 * width * height }, (_, i) => {
    const [x, y] = [i % whole.width, Math.floor(i / whole.width)]
    return data[(y * info.width + x) * info.channels]! / 255
  })
  const small = cubicResize({ data: large, ...whole }, { width, height }).data
  // A file holds whole levels.
  return {
    large,
    small: small.map((share) => Math.min(255, Math.max(0, Math.round(255 * share))) / 255),
    width,
    height,
  }
}

/** Bars of different widths. */
function madeUpPairs(count: number): Pair[] {
  const side = 2 * CROP
  return Array.from({ length: count }, (_, n) => {
    const bright = (x: number) => Number(Math.floor((x + n) / (3 + n)) % 2)
    const large = Float32Array.from({ length: side * side }, (_, i) => bright(i % side))
    const small = Float32Array.from({ length: CROP * CROP }, (_, i) => {
      const x = 2 * (i % CROP)
      return (bright(x) + bright(x + 1)) / 2
    })
    return { large, small, width: CROP, height: CROP }
  })
}

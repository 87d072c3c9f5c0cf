/**
 * The module IMG-gen of `lite`: 28 × 28 shades of grey after a sentence about a digit or a piece of clothing. Stops when asked and goes on from there; the same seed gives the same weights.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { m4fmHome } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import { randomSource } from '../../core/random.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel } from '../../graph/index.js'
import {
  ARCHITECTURES,
  SMALL_FLOW_28,
  type SmallFlowConfig,
  type WeightTensor,
  withOrigins,
} from '../../models/index.js'
import { openFirmware } from '../../runtime/index.js'
import { type FitSubject, fitSubject } from '../fit.js'
import { checkpointTensors, withTrained } from '../full.js'
import { OPTIMISER_DEFAULTS } from '../schedule.js'
import { stepGraph } from '../step-graph.js'
import { type FlowSample, flowBatch, flowProgram } from './flow-matching.js'
import { digestOfPins, halves, type LiteModule, type LiteRequest, parameterCount } from './module.js'
import { PICTURE_FAMILIES, type PictureFamily, promptsOf } from './picture-prompts.js'
import { PICTURE_SIZE, type PictureSet, type Pictures, pictureAt, readClothes, readDigits } from './picture-sets.js'
import { PICTURE_FILES } from './picture-sources.js'

/** A set to learn from, and what each class is called. */
export interface TaughtSet extends PictureSet {
  readonly family: Pick<PictureFamily, 'name'>
  /** Vectors of the sentences of each class. [classes][sentences][E] */
  readonly vectors: readonly (readonly Float32Array[])[]
}

const OPTIMISER = { ...OPTIMISER_DEFAULTS, lr: 1.5e-3, beta2: 0.99 }

const FULL = {
  config: SMALL_FLOW_28,
  batch: 128,
  steps: 650,
  evalEvery: 130,
  evalSamples: 256,
} as const

const SMOKE = {
  config: { ...SMALL_FLOW_28, width: 16, feedForward: 32, layers: 1, heads: 2, joint: 8, conditionWidth: 8 },
  batch: 8,
  steps: 60,
  evalEvery: 20,
  evalSamples: 16,
} as const

/**
 * Goes on from where an earlier call was stopped.
 * @throws M4Error `ABORTED` (what was reached is saved), `OFFLINE`, `NETWORK`; `FILE_NOT_FOUND` without an image `lite`, whose
 * module TXT reads the sentences
 */
export async function trainPictureGenerator(request: LiteRequest): Promise<LiteModule> {
  const { engine, home = m4fmHome(), seed = 7, smoke = false, signal, onLine } = request
  const { config, ...plan } = smoke ? SMOKE : FULL
  const sets = smoke ? [madeUpSet(config.joint)] : await readSets(home, engine, signal)
  const weights = startWeights(config, seed)
  const folder = join(home, 'train', `lite-picture-generator${smoke ? '-smoke' : ''}`)
  await mkdir(folder, { recursive: true })
  const subject = flowSubject(engine, config, weights, sets, seed)
  const { beforeStep } = subject
  const key = sha256Hex(JSON.stringify({ config, plan, OPTIMISER, seed, files: PICTURE_FILES, PICTURE_FAMILIES }))
  const fit = await fitSubject(engine, subject, {
    ...plan,
    optimiser: { ...OPTIMISER, warmupSteps: plan.steps / 20 },
    seed,
    patience: 0,
    signal,
    beforeStep,
    onStep: ({ step, steps, loss, evalLoss, unitsPerSecond }) => {
      if (evalLoss === undefined) return
      const speed = `${unitsPerSecond.toFixed(0)} pictures a second`
      onLine?.(`step ${step} of ${steps}, loss ${loss.toFixed(4)}, held out ${evalLoss.toFixed(4)}, ${speed}`)
    },
    checkpoint: { folder, key, everySeconds: 120 },
  })
  const tensors = halves(checkpointTensors(withTrained(weights, fit.parameters)))
  const held = fit.evaluations.find(({ step }) => step === fit.step)!
  return {
    tensors,
    record: {
      about:
        'IMG-gen: 28 × 28 shades of grey after a vector of all-MiniLM-L6-v2, by flow matching (architecture small-flow).',
      command: 'npm run train:lite -- --only picture-generator',
      seed,
      data: sets.map(({ family: { name }, train }) => ({
        name: PICTURE_FILES[name].about,
        digest: digestOfPins(PICTURE_FILES[name].files),
        samples: train.labels.length,
        licence: PICTURE_FILES[name].files[0]!.licence,
      })),
      metrics: {
        heldOutVelocityMse: {
          value: held.loss,
          count: Math.min(plan.evalSamples, subject.evalCount),
          note: `mean square of the velocity's error, dots in [-1, 1]; step ${fit.step} of ${plan.steps}, batches of ${plan.batch}`,
        },
      },
      licence: 'CC-BY-SA-3.0',
      parameters: parameterCount(tensors),
      seconds: Math.round(fit.seconds),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

/** Gates and the last layer start at 0: every block then passes its input through, and training starts calmly (arXiv:2212.09748). */
function startWeights(config: SmallFlowConfig, seed: number): Map<string, WeightTensor> {
  const weights = ARCHITECTURES['small-flow'].random(config, seed)
  for (const [name, tensor] of weights)
    if (name.includes('modulate') || name === 'patches/out') weights.set(name, zeros(tensor))
  return withOrigins(weights)
}

const zeros = ({ name, dims }: WeightTensor): WeightTensor => ({
  name,
  dims,
  float32: (rows) => {
    const perRow = dims.slice(1).reduce((a, b) => a * b, 1)
    return new Float32Array((rows ? rows.to - rows.from : dims[0]!) * perRow)
  },
})

/** What `fitSubject` trains. Noise depends on the step alone, so that a run that goes on gives the same weights. */
function flowSubject(
  engine: Engine,
  config: SmallFlowConfig,
  weights: ReadonlyMap<string, WeightTensor>,
  sets: readonly TaughtSet[],
  seed: number,
): FitSubject & { readonly beforeStep: (step: number) => void } {
  const { parameters, program } = flowProgram(config, weights)
  const train = rowsOf(sets, 'train')
  const heldOut = shuffled(rowsOf(sets, 'heldOut'), seed)
  let step = 0
  return {
    shapes: parameters,
    initial: new Map(parameters.map(({ name, initial }) => [name, initial()])),
    trainCount: train.length,
    evalCount: heldOut.length,
    beforeStep: (next) => {
      step = next
    },
    batch: (side, indices) => {
      const own = side === 'train' ? mixed(seed, step) : mixed(seed, -1 - indices[0]!)
      const random = randomSource(own)
      const rows = indices.map((i) => (side === 'train' ? train : heldOut)[i]!)
      const samples = rows.map((row) => sampleOf(row, random))
      return { feeds: flowBatch(config, samples, own ^ 0xf10), weight: indices.length, units: indices.length }
    },
    weightOf: (indices) => indices.length,
    open: async (kind) => {
      const graph = stepGraph('picture-generator', parameters, program, kind)
      return engine.createSession({ bytes: await encodeModel(graph) }, { memoryPattern: false })
    },
    openOptimiser: () => Promise.reject(new Error('Batches are run whole.')),
  }
}

/** Two numbers as one seed. */
const mixed = (seed: number, step: number) => Math.imul(seed ^ Math.imul(step, 0x9e3779b1), 0x85ebca6b) >>> 0

interface Row {
  readonly set: TaughtSet
  readonly pictures: Pictures
  readonly index: number
}

function rowsOf(sets: readonly TaughtSet[], side: 'train' | 'heldOut'): Row[] {
  return sets.flatMap((set) => {
    const pictures = set[side]
    return Array.from({ length: pictures.labels.length }, (_, index) => ({ set, pictures, index }))
  })
}

function shuffled<T>(items: T[], seed: number): T[] {
  const random = randomSource(seed)
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[items[i], items[j]] = [items[j]!, items[i]!]
  }
  return items
}

/** A picture in [-1, 1] and one of its sentences. */
function sampleOf({ set, pictures, index }: Row, random: () => number): FlowSample {
  const sentences = set.vectors[pictures.labels[index]!]!
  return {
    picture: Float32Array.from(pictureAt(pictures, index), (dot) => dot / 127.5 - 1),
    joint: sentences[Math.floor(random() * sentences.length)]!,
  }
}

async function readSets(home: string, engine: Engine, signal?: AbortSignal): Promise<TaughtSet[]> {
  const readers = { digits: readDigits, clothes: readClothes }
  using firmware = await openFirmware('lite', { home, engine })
  const sets: TaughtSet[] = []
  for (const family of PICTURE_FAMILIES) {
    const vectors: Float32Array[][] = []
    for (const names of family.classes) {
      const { output } = await firmware.ask({ task: 'embed', texts: promptsOf(family.templates, names), signal })
      vectors.push([...output.embeddings])
    }
    sets.push({ ...(await readers[family.name](home, signal)), family, vectors })
  }
  return sets
}

/** Two classes of bright bars, across and down. */
function madeUpSet(width: number): TaughtSet {
  const side = (count: number): Pictures => {
    const labels = Uint8Array.from({ length: count }, (_, i) => i % 2)
    const dots = Uint8Array.from({ length: count * PICTURE_SIZE ** 2 }, (_, i) => {
      const [x, y] = [i % PICTURE_SIZE, Math.floor(i / PICTURE_SIZE) % PICTURE_SIZE]
      return Math.floor((labels[Math.floor(i / PICTURE_SIZE ** 2)] ? x : y) / 4) % 2 ? 255 : 0
    })
    return { dots, labels }
  }
  const unit = (at: number) => Float32Array.from({ length: width }, (_, i) => Number(i === at))
  const vectors = [[unit(0)], [unit(1)]]
  return { family: { name: 'digits' }, train: side(64), heldOut: side(16), vectors }
}

/**
 * `join` of AUD-B: features of Whisper's middle layers → the space of the text encoder. InfoNCE against the texts of all classes at
 * once, another wording each step, and the cosine to the own text, so that closeness means something by itself: an answer abstains
 * by it.
 *
 * @paper arXiv:2103.00020 · arXiv:2106.13043 (AudioCLIP: sounds beside texts)
 */

import { M4Error, throwIfAborted } from '../../core/errors.js'
import { normalSource, randomSource } from '../../core/random.js'
import { hostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel } from '../../graph/index.js'
import { type Firmware, openFirmware } from '../../runtime/index.js'
import { type FeatureCache, featureBatch } from '../encoders/features.js'
import { type FitSubject, fitSubject } from '../fit.js'
import { initialValues } from '../heads/index.js'
import { linear, linearParameters } from '../heads/layers.js'
import { cosineLoss, crossEntropy, unitLength } from '../losses/index.js'
import { foldScaling, scaled, scalingOf } from '../media/standardise.js'
import { OPTIMISER_DEFAULTS } from '../schedule.js'
import { type Program, stepGraph } from '../step-graph.js'
import { digestOf, type LiteModule, type LiteRequest, type LiteTraining } from './module.js'
import { measureSounds } from './sound-metrics.js'
import { classOf, type PromptSide, promptsOf, type Subjects, wordings } from './sound-prompts.js'
import { readSoundSets, type TaughtSound } from './sound-sets.js'

/** Width of the space, and between the two layers. */
const JOINT = 384
const HIDDEN = 256
/** What cosines are multiplied with before the softmax of the loss. */
const SCALE = 30
const BATCH = 128
const STEPS = 800
/** Deviation of the noise on standardised features: speakers are few, and it stands for those that are missing. */
const NOISE = 0.5
const SMOKE = { steps: 20, files: 24 }

/** The image whose encoders are joined: only its features and its texts are asked for, so an older `join` in it does no harm. */
const IMAGE = 'lite'

const program =
  (width: number): Program =>
  (tape, parameter) => {
    const { g } = tape
    const emit = { tape, scope: g.scope('join'), parameter }
    const hidden = g.op('Gelu', [linear(emit, g.input('features', 'float32', ['B', width]), 'first')], {}, 'hidden')
    const unit = unitLength(tape, g.scope('unit'), linear(emit, hidden, 'last')) // [B, E]
    const prompts = g.input('prompts', 'float32', ['K', JOINT])
    const cosines = g.op('FusedMatMul', [unit, prompts], { transB: 1 }, 'cosines') // [B, K]
    const logits = g.op('Mul', [cosines, g.float32(SCALE)], {}, 'logits')
    const labels = g.input('labels', 'int64', ['B'])
    const apart = crossEntropy(tape, g.scope('apart'), logits, labels, g.input('weights', 'float32', ['B']))
    const near = cosineLoss(tape, g.scope('near'), unit, g.input('pair', 'float32', ['B', JOINT]))
    return { loss: g.op('Add', [apart, near], {}, 'loss') }
  }

const parametersOf = (width: number) => [
  ...linearParameters('first', width, HIDDEN),
  ...linearParameters('last', HIDDEN, JOINT),
]

/** Vectors of the texts: subjects → wording → class. */
type Prompts = Readonly<Record<Subjects, readonly (readonly Float32Array[])[]>>

interface Taught {
  readonly sounds: readonly TaughtSound[]
  readonly features: FeatureCache
}

/** One of the two ways to ask, digits or kinds; sounds that have no class in it weigh nothing in the choice, and lie near `speech`. */
function soundSubject(engine: Engine, { sounds, features }: Taught, prompts: Prompts, seed: number): FitSubject {
  const width = features.dims[0]!
  const shapes = parametersOf(width)
  const random = randomSource(seed)
  const normal = normalSource(seed + 1)
  const batch: FitSubject['batch'] = (_, indices) => {
    const subjects: Subjects = random() < 0.7 ? 'digits' : 'kinds'
    const vectors = prompts[subjects][Math.floor(random() * wordings('train'))]!
    const speech = prompts.kinds[0]![0]!
    const classes = indices.map((i) => classOf(subjects, sounds[i]!))
    const counted = classes.filter((each) => each !== undefined).length
    const given = featureBatch(features, indices)
    for (let i = 0; i < given.data.length; i++) given.data[i]! += NOISE * normal()
    const rows = (list: readonly Float32Array[]) => {
      const all = new Float32Array(list.length * JOINT)
      for (const [i, row] of list.entries()) all.set(row, i * JOINT)
      return hostTensor('float32', [list.length, JOINT], all)
    }
    const weights = Float32Array.from(classes, (each) => (each === undefined ? 0 : 1 / counted))
    const feeds = {
      features: given,
      prompts: rows(vectors),
      labels: int64Tensor(
        [indices.length],
        classes.map((each) => each ?? 0),
      ),
      weights: hostTensor('float32', [indices.length], weights),
      pair: rows(classes.map((each) => (each === undefined ? speech : vectors[each]!))),
    }
    return { feeds, weight: indices.length, units: indices.length }
  }
  return {
    shapes,
    initial: initialValues(shapes, seed),
    trainCount: sounds.length,
    // What is measured on must not choose: the last step counts.
    evalCount: 0,
    batch,
    weightOf: (indices) => indices.length,
    open: async (kind) =>
      engine.createSession(
        { bytes: await encodeModel(stepGraph('sounds', shapes, program(width), kind)) },
        { memoryPattern: false },
      ),
    openOptimiser: () => Promise.reject(new M4Error('USAGE', 'Batches are run whole.')),
  }
}

async function featuresOf(firmware: Firmware, sounds: readonly TaughtSound[], { signal }: LiteRequest) {
  const rows: Float32Array[] = []
  for (const { sound } of sounds) {
    throwIfAborted(signal)
    const { output } = await firmware.ask({ task: 'embed', items: [{ sound }], of: 'features', signal })
    rows.push(output.embeddings[0]!)
  }
  const width = rows[0]!.length
  const data = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) data.set(row, i * width)
  return { count: rows.length, dims: [width], data }
}

async function promptVectors(firmware: Firmware, side: PromptSide): Promise<Prompts> {
  const embed = async (subjects: Subjects) => {
    const all: (readonly Float32Array[])[] = []
    for (let wording = 0; wording < wordings(side); wording++)
      all.push((await firmware.ask({ task: 'embed', texts: promptsOf(subjects, side, wording) })).output.embeddings)
    return all
  }
  return { digits: await embed('digits'), kinds: await embed('kinds') }
}

async function train(request: LiteRequest): Promise<LiteModule> {
  const { engine, data, home, seed = 7, smoke = false, signal, onLine } = request
  const started = performance.now()
  const sets = await readSoundSets(data, seed, smoke ? SMOKE.files : undefined)
  const sounds = sets.flatMap((set) => set.sounds)
  const sideOf = (heldOut: boolean) => sounds.filter((sound) => sound.heldOut === heldOut)
  using firmware = await openFirmware(IMAGE, { engine, ...(home ? { home } : {}) })
  const [taught, kept] = [sideOf(false), sideOf(true)]
  onLine?.(`features of ${sounds.length} sounds`)
  const features = {
    train: await featuresOf(firmware, taught, request),
    eval: await featuresOf(firmware, kept, request),
  }
  const scaling = scalingOf(features.train)
  const prompts = await promptVectors(firmware, 'train')
  const subject = soundSubject(engine, { sounds: taught, features: scaled(features.train, scaling) }, prompts, seed)
  const steps = smoke ? SMOKE.steps : STEPS
  const fit = await fitSubject(engine, subject, {
    steps,
    batch: Math.min(BATCH, taught.length),
    optimiser: { ...OPTIMISER_DEFAULTS, decay: 0.05, warmupSteps: Math.round(steps / 20) },
    seed,
    evalEvery: steps,
    patience: 0,
    signal,
    onStep: ({ step, loss }) => step % 100 === 0 && onLine?.(`step ${step} of ${steps}, loss ${loss.toFixed(3)}`),
  })
  const first = foldScaling(fit.parameters.get('first')!, fit.parameters.get('first/bias')!, scaling)
  const width = features.train.dims[0]!
  const tensor = (dims: readonly number[], values: Float32Array) =>
    hostTensor('float32', dims, Float32Array.from(values))
  const tensors = {
    'join.first.weight': tensor([HIDDEN, width], first.weight),
    'join.first.bias': tensor([HIDDEN], first.bias),
    'join.weight': tensor([JOINT, HIDDEN], fit.parameters.get('last')!),
    'join.bias': tensor([JOINT], fit.parameters.get('last/bias')!),
  }
  const heldOut = { sounds: kept, features: features.eval }
  return {
    tensors,
    record: {
      about:
        'Sounds in the space of all-MiniLM-L6-v2. It knows the ten English digits as single words, speech as such, and tones, noise, clicks and silence that were made up; it has learned no other sound, word or feeling.',
      command: 'npm run train:lite -- --only sounds',
      seed,
      data: sets.map(({ name, licence, files, sounds: own }) => ({
        name,
        licence,
        digest: files.size ? digestOf(files) : `made up from seed ${seed}`,
        samples: own.length,
      })),
      metrics: measureSounds(tensors, heldOut, prompts, await promptVectors(firmware, 'heldOut')),
      licence: 'CC-BY-SA-4.0',
      parameters: Object.values(tensors).reduce((sum, { data: own }) => sum + own.length, 0),
      seconds: Math.round((performance.now() - started) / 1000),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

export const SOUNDS: LiteTraining = {
  about: 'join of AUD-B: spoken digits, speech, tones, noise, clicks and silence beside texts',
  train,
}
